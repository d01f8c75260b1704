"""How a worker works. In a module of its own: each command of Airflow's reads the defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from airflow_provider_conductor.client.errors import ConductorConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """How a worker works; times in seconds.

    Attributes:
        domain: the task domain that it polls; None: the queue without one.
        concurrency: tasks that it handles at the same time.
        max_active_runs: DAG runs of all workers that may be open, approximately.
        poll_interval: between two polls of an empty queue.
        status_interval: between two reads of a DAG run, at least.
        reconcile_interval: between two searches for DAG runs whose workflow was terminated.

    Raises:
        ConductorConfigError: a number that is not over 0.
    """

    domain: str | None = None
    concurrency: int = 16
    max_active_runs: int = 256
    poll_interval: float = 1.0
    status_interval: float = 5.0
    reconcile_interval: float = 30.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "domain" and not 0 < value < math.inf:
                raise ConductorConfigError(f"{item.name} must be a number over 0, not {value}")
