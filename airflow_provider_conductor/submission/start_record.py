"""What a try saves for the tries after it, where Airflow has a task state store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_conductor.submission.identity import StartKey


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecord:
    """A start: saved just before it is sent, and again with the workflow's id when that is known.

    Times are seconds since the epoch on this Airflow's clock.

    Args:
        max_tries: the task instance's, which names the series: a clear changes it, and an automatic retry does not,
            even if a deploy changes ``retries``.
        sent_at: when the start was sent, or None where nothing can have reached the server.
        clear_number: how often tasks of the dag run had been cleared (Airflow 3.3), or None.
        by_label: whether it was found by a label of the user's own, and so may be another task's.
    """

    max_tries: int
    first_try: int
    generation: int = 0
    series_began: float = 0.0
    sent_at: float | None = None
    workflow_id: str | None = None
    by_label: bool = False
    clear_number: int | None = None

    def of_series(self, *, max_tries: int, retries: int, clear_number: int | None) -> bool:
        """Whether the record is of the present series, of which this is known.

        ========== ============== ==================================== ============ ====================================
        max_tries  clear_number   first try, by max_tries and retries  the same?    what has happened
        ========== ============== ==================================== ============ ====================================
        another    any            any                                  no           the task was cleared
        the same   the same       any                                  yes          an automatic retry
        the same   not known      any                                  yes          an automatic retry, or a clear after
                                                                                    ``retries`` was lowered (before 3.3)
        the same   another        the record's, or earlier             yes          another task was cleared
        the same   another        later                                no           ``retries`` was lowered, and then
                                                                                    the task cleared
        ========== ============== ==================================== ============ ====================================
        """
        if self.max_tries != max_tries:
            return False
        if None in (self.clear_number, clear_number) or self.clear_number == clear_number:
            return True
        return max_tries - retries + 1 <= self.first_try

    @property
    def key(self) -> StartKey:
        return StartKey(self.first_try, self.generation)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> StartRecord | None:
        """Read what an earlier try saved; None where that is nothing that this version can read."""
        if not isinstance(value, Mapping):
            return None
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        try:
            record = cls(**known)
            times = (record.series_began, record.sent_at or 0)
            numbers = (record.max_tries, record.first_try, record.generation, record.clear_number or 0, *times)
        except TypeError:
            return None
        if not all(isinstance(number, (int, float)) for number in numbers):
            return None
        return record if record.workflow_id is None or isinstance(record.workflow_id, str) else None


def first_try_of_series(record: StartRecord | None, *, max_tries: int, retries: int) -> int:
    """With which try the series began: from its record, or computed where there is none."""
    if record is not None and record.max_tries == max_tries:
        return record.first_try
    return max_tries - retries + 1
