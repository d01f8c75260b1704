"""The rows of the table: each a function that measures and returns its comparisons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.comparison import Comparison
from benchmarks.lab import Lab

__all__ = ["ROWS", "Bench", "Row", "row"]


@dataclass(frozen=True, slots=True)
class Bench:
    """What a row measures with.

    Attributes:
        quick: a tenth of the work, to see that it runs; the figures are then not worth reporting.
        lab: the server, and workflows on it; a row that does not touch it does not start it.
    """

    lab: Lab
    quick: bool = False

    def count(self, full: int, quick: int) -> int:
        return quick if self.quick else full


Measure: TypeAlias = Callable[[Bench], list[Comparison]]


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    title: str
    needs_server: bool
    measure: Measure


ROWS: dict[str, Row] = {}


def row(name: str, title: str, *, needs_server: bool = True) -> Callable[[Measure], Measure]:
    """Put the function into the table, under a name for ``--only``."""

    def register(measure: Measure) -> Measure:
        ROWS[name] = Row(name, title, needs_server, measure)
        return measure

    return register
