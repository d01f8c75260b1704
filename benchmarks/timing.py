"""Taking time side by side: the competitors of a run take turns, so that a busy machine is busy for all of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Spent", "Taken", "side_by_side", "spent"]


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds on the wall's clock, and of this process's CPU."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Taken:
    """All rounds of one competitor."""

    rounds: tuple[Spent, ...]

    @property
    def wall(self) -> float:
        return statistics.median(item.wall for item in self.rounds)

    @property
    def cpu(self) -> float:
        return statistics.median(item.cpu for item in self.rounds)


def spent(body: Callable[[], Any]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    body()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def side_by_side(rounds: int, bodies: Mapping[str, Callable[[], Any]]) -> dict[str, Taken]:
    """Run each body once to warm up, then ``rounds`` times in turn, each round beginning with another one."""
    for body in bodies.values():
        body()
    names = list(bodies)
    taken: dict[str, list[Spent]] = {name: [] for name in names}
    for turn in range(rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            gc.collect()
            taken[name].append(spent(bodies[name]))
    return {name: Taken(tuple(rounds)) for name, rounds in taken.items()}
