"""What a batch saves in Airflow 3.3's task state store for later tries: which items have completed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_conductor._airflow import TaskStateStore
from airflow_provider_conductor.batch.state import Batch

__all__ = ["CHECKPOINT_KEY", "BatchCheckpoint"]

CHECKPOINT_KEY = "conductor_batch"
"""Key in the task state store."""


@dataclass(frozen=True, slots=True)
class BatchCheckpoint:
    """The checkpoint of one series of tries.

    Attributes:
        store: the task's store; it keeps nothing before Airflow 3.3.
        first_try, max_tries: tell the series from others of the task.
    """

    store: TaskStateStore
    first_try: int
    max_tries: int

    @property
    def _series(self) -> dict[str, int]:
        return {"first_try": self.first_try, "max_tries": self.max_tries}

    def load(self, keys: Sequence[str], now: float) -> Batch | None:
        """What an earlier try of the series has saved; its completed items need not even be looked up."""
        saved = self.store.get(CHECKPOINT_KEY)
        if not isinstance(saved, Mapping) or {name: saved.get(name) for name in self._series} != self._series:
            return None
        batch = Batch.from_json(keys, saved.get("batch"))
        if batch is not None:
            batch.reset_for_retry()
            batch.began, batch.before = now, batch.ended
        return batch

    def save(self, batch: Batch) -> None:
        """Save it, but for what is active: a later try has to look that up in any case."""
        if self.store:
            self.store.set(CHECKPOINT_KEY, {**self._series, "batch": {**batch.to_json(), "active": {}}})
