"""Who starts a workflow: an Airflow task in one try series, as a correlation id.

A *try series* is a first try and its automatic retries. A clear begins a new series. A *generation* counts the
deliberate new starts within a series.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256

MAX_ID_LENGTH = 128
"""Characters of ``correlation_id`` in Conductor's Postgres index; MySQL's has 255."""

HASH_LENGTH = 32

_ITEM = re.compile(r"([^:]+):([1-9]\d*)(?:\.([1-9]\d*))?")
"""What follows ``i`` in the id of an item: the item, the series, and the generation if it is not the first."""


@dataclass(frozen=True, slots=True)
class StartKey:
    """One deliberate start: the series (by its first try's number) and the generation within it."""

    first_try: int
    generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskIdentity:
    """One try of one Airflow task.

    Args:
        prefix: names this Airflow where several share a Conductor.
        try_number: counts from 1 over all series.
        first_try: try number with which the series began, computed from ``max_tries`` and ``retries``.
            A deploy that changes ``retries`` in the middle of a series makes it wrong, sometimes impossible.
        item: which of a task's many starts, "" where it makes only one.
    """

    prefix: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    first_try: int
    item: str = ""

    @property
    def series_is_known(self) -> bool:
        """False where ``first_try`` is impossible: then no try can be recognized as another series'."""
        return 1 <= self.first_try <= self.try_number

    @property
    def series(self) -> int:
        return self.first_try if self.series_is_known else 1

    @property
    def begins_series(self) -> bool:
        """Whether this is the first try of its series, which has started nothing yet; an earlier series may have."""
        return self.first_try == self.try_number

    @property
    def may_have_started(self) -> bool:
        """Whether an earlier try may have started a workflow."""
        return self.try_number > 1

    def correlation_id(self, key: StartKey) -> str:
        """The id of a start, at most 128 characters; ends in a hash where the text would be too long or ambiguous."""
        tail = f"{key.first_try}.{key.generation}" if key.generation else f"{key.first_try}"
        # A map index is a number, so one start of many ("i7") cannot read like a task's only one.
        item = (f"i{self.item}",) if self.item else ()
        parts = (self.prefix, self.dag_id, self.run_id, self.task_id, str(self.map_index), *item, tail)
        text = ":".join(parts)
        # Airflow keeps colons out of the names of DAGs and tasks but not out of run ids; one more part with a
        # colon, and two identities could read alike.
        if len(text) <= MAX_ID_LENGTH and not any(
            ":" in part for part in (self.prefix, self.dag_id, self.task_id, self.item)
        ):
            return text
        digest = sha256(json.dumps(parts).encode()).hexdigest()[:HASH_LENGTH]
        return f"{text[: MAX_ID_LENGTH - HASH_LENGTH - 1]}~{digest}"

    @property
    def items_begin_with(self) -> str:
        """What the ids of a task's many starts begin with; "" where they end in a hash and their beginning says little.

        An id of which this and the item make more than 128 characters does not begin so, either.
        """
        parts = (self.prefix, self.dag_id, self.run_id, self.task_id, str(self.map_index), "i")
        text = ":".join(parts)
        readable = not any(":" in part for part in (self.prefix, self.dag_id, self.task_id))
        return text if readable and len(text) < MAX_ID_LENGTH - len("0:1") else ""

    def item_start(self, correlation_id: str) -> tuple[str, StartKey] | None:
        """The item and the start that an id names; None if it is none of this task's many, or ends in a hash."""
        begins = self.items_begin_with
        match = _ITEM.fullmatch(correlation_id[len(begins) :]) if begins and correlation_id.startswith(begins) else None
        if match is None:
            return None
        key = StartKey(int(match[2]), int(match[3] or 0))
        return (match[1], key) if key in self.all_keys() else None

    def first_keys(self) -> list[StartKey]:
        """What to look up first: every generation of the present series, and the first start of each other one."""
        earlier = [StartKey(first_try) for first_try in range(1, self.try_number + 1) if first_try != self.series]
        return [StartKey(self.series), *self.later_keys(self.series), *earlier]

    def later_keys(self, first_try: int) -> list[StartKey]:
        """The further generations a series can have: a try makes at most one."""
        return [StartKey(first_try, generation) for generation in range(1, self.try_number - first_try + 1)]

    def all_keys(self) -> list[StartKey]:
        """Every start that this task can have made in this dag run."""
        tries = range(1, self.try_number + 1)
        return [key for first_try in tries for key in (StartKey(first_try), *self.later_keys(first_try))]
