"""What a try puts down for the tries after it, where Airflow has a place for that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_conductor.starting.identity import StartKey

__all__ = ["StartRecord", "first_try_of_series"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecord:
    """A start: put down just before it is sent, and again with the workflow's id when that is known.

    Times are seconds since the epoch on this Airflow's clock.

    Args:
        max_tries: the task instance's, which names the series: a clear changes it, and an automatic retry does not,
            whatever a deploy did to ``retries``.
        first_try, generation: the start's key.
        series_began: when the first try of the series began.
        sent_at: when the start was sent, or None where nothing can have reached the server.
        workflow_id: the workflow, or None where it is not known.
        by_label: whether it was found by a label of the user's own, and so may be another task's.
    """

    max_tries: int
    first_try: int
    generation: int = 0
    series_began: float = 0.0
    sent_at: float | None = None
    workflow_id: str | None = None
    by_label: bool = False

    @property
    def key(self) -> StartKey:
        return StartKey(self.first_try, self.generation)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> StartRecord | None:
        """Read what an earlier try put down; None where it put down nothing that this version can read."""
        if not isinstance(value, Mapping):
            return None
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        try:
            record = cls(**known)
            numbers = (record.max_tries, record.first_try, record.generation, record.series_began, record.sent_at or 0)
        except TypeError:
            return None
        if not all(isinstance(number, (int, float)) for number in numbers):
            return None
        return record if record.workflow_id is None or isinstance(record.workflow_id, str) else None


def first_try_of_series(record: StartRecord | None, *, max_tries: int, retries: int) -> int:
    """With which try the present series began; a record of this series knows better than arithmetic does."""
    if record is not None and record.max_tries == max_tries:
        return record.first_try
    return max_tries - retries + 1
