"""The state of a batch: plain data, small enough to be stored between two processes."""

from __future__ import annotations

import base64
import itertools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.formatting import duration

if TYPE_CHECKING:
    from airflow_provider_conductor.client.models import Workflow

PENDING, ACTIVE, COMPLETED, FAILED = range(4)

REFUSED = "REFUSED"
"""The status of an item that the server did not accept."""

GONE = "GONE"
"""The status of an item that was started, and whose workflow the server does not know any more."""

REASON_LIMIT = 500
"""Characters kept of why an item failed."""

STORED_FAILURES = 20
"""Items whose failure is stored, where no workflow has the reason; with ``STORED_REASON_LIMIT`` 5 kB at most."""

STORED_REASON_LIMIT = 200
"""Characters of each of their reasons."""

KEPT_BY_SERVER = frozenset({"FAILED", "TIMED_OUT", "TERMINATED"})
"""Statuses that the server still has, with the reason, when the results are read."""


@dataclass(slots=True)
class Item:
    """What is known of an item beyond its state; ``status`` and ``reason`` once it has ended."""

    workflow_id: str = ""
    status: str = ""
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Batch:
    """The items of a batch, by their places in the list: to be started, active (started, not ended), or ended.

    Attributes:
        keys: what identifies each item, the same at every rendering.
        began: when this try began with the batch, seconds since the epoch.
        before: how many had ended before that, in earlier tries.
        items: what this process knows of the items it has met.
    """

    keys: Sequence[str]
    began: float
    before: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    _states: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._states = self._states or bytearray(len(self.keys))

    @property
    def total(self) -> int:
        return len(self.keys)

    @property
    def pending(self) -> int:
        return self._states.count(PENDING)

    @property
    def active(self) -> int:
        return self._states.count(ACTIVE)

    @property
    def completed(self) -> int:
        return self._states.count(COMPLETED)

    @property
    def failed(self) -> int:
        return self._states.count(FAILED)

    @property
    def ended(self) -> int:
        return self.completed + self.failed

    def is_pending(self, index: int) -> bool:
        return self._states[index] == PENDING

    def has_completed(self, index: int) -> bool:
        return self._states[index] == COMPLETED

    def has_failed(self, index: int) -> bool:
        return self._states[index] == FAILED

    def pending_from(self, index: int, count: int) -> list[int]:
        """Up to ``count`` places of items to be started, from ``index`` on."""
        places: list[int] = []
        while len(places) < count and (index := self._states.find(PENDING, index)) >= 0:
            places.append(index)
            index += 1
        return places

    def active_ids(self) -> dict[int, str]:
        """Place → workflow id of the active items; "" while the id is not known."""
        return _active_ids(self._states, self.items)

    def begin(self, index: int, workflow_id: str = "") -> None:
        """It is being started, or (with its id) has been."""
        if workflow_id:
            self.items.setdefault(index, Item()).workflow_id = workflow_id
        self._states[index] = ACTIVE

    def put_back(self, index: int) -> None:
        """It was not started after all."""
        self.items.pop(index, None)
        self._states[index] = PENDING

    def observe(self, index: int, workflow: Workflow) -> None:
        """Note the workflow's status, if it has ended."""
        if workflow.status.successful:
            self.complete(index)
        elif workflow.status.ended:
            self.fail(index, str(workflow.status), workflow.reason)

    def complete(self, index: int, workflow_id: str = "") -> None:
        self._end(index, COMPLETED, workflow_id, "COMPLETED", "")

    def fail(self, index: int, status: str, reason: str = "", workflow_id: str = "") -> None:
        """``status`` is the workflow's, REFUSED or GONE if there is none, or how the wait for it ended."""
        self._end(index, FAILED, workflow_id, status, one_line(reason, REASON_LIMIT))

    def _end(self, index: int, state: int, workflow_id: str, status: str, reason: str) -> None:
        item = self.items.setdefault(index, Item())
        item.workflow_id = workflow_id or item.workflow_id
        item.status, item.reason = status, reason
        self._states[index] = state

    def reset_for_retry(self) -> None:
        """For another try: what has failed, or was under way, is pending again; what has completed stays."""
        for index, state in enumerate(self._states):
            if state in (ACTIVE, FAILED):
                self.put_back(index)

    @property
    def summary(self) -> str:
        """``1,200 of 10,000 ended (5 failed), 100 running, 8,700 to start``."""
        failed = f" ({self.failed:,} failed)" if self.failed else ""
        return f"{self.ended:,} of {self.total:,} ended{failed}, {self.active:,} running, {self.pending:,} to start"

    def progress(self, now: float) -> str:
        """The summary with this try's rate, and how long the rest takes at that: ``…; 12.3 a second, about 12 min``."""
        ended, seconds = self.ended - self.before, now - self.began
        if ended <= 0 or seconds <= 0:
            return self.summary
        left = (self.total - self.ended) * seconds / ended
        units = {1: "a second", 60: "a minute", 3600: "an hour"}
        per = next((per for per in units if ended / seconds * per >= 1), 3600)
        return f"{self.summary}; {ended / seconds * per:.3g} {units[per]}, about {duration(left * 1000)} left"

    @property
    def fingerprint(self) -> str:
        """Which items these are, in which order."""
        return sha256("\0".join(self.keys).encode(errors="surrogatepass")).hexdigest()[:32]

    def to_json(self) -> dict[str, Any]:
        """All states: some hundred bytes for each thousand items, and about 45 for each active one.

        It has the reasons of the first failed items that no workflow has a reason for.
        """
        # As it is now: the driver's thread may change both while this is read.
        items, states = self.items.copy(), bytes(self._states)
        failures = (
            (index, item)
            for index, item in items.items()
            if states[index] == FAILED and item.status and item.status not in KEPT_BY_SERVER
        )
        return {
            "items": self.fingerprint,
            "began": self.began,
            "before": self.before,
            "states": base64.b64encode(zlib.compress(states, 9)).decode(),
            "active": {str(index): workflow_id for index, workflow_id in _active_ids(states, items).items()},
            "failures": {
                str(index): [item.workflow_id, item.status, item.reason[:STORED_REASON_LIMIT]]
                for index, item in itertools.islice(failures, STORED_FAILURES)
            },
        }

    @classmethod
    def from_json(cls, keys: Sequence[str], data: object) -> Batch | None:
        """Read what :meth:`to_json` made; None if it is of other items, or of an unknown kind."""
        if not isinstance(data, Mapping):
            return None
        try:
            states = bytearray(zlib.decompress(base64.b64decode(data["states"])))
            batch = cls(keys=keys, began=float(data["began"]), before=int(data["before"]), _states=states)
            if data["items"] != batch.fingerprint or len(states) != batch.total:
                return None
            for text, workflow_id in data["active"].items():
                batch.begin(int(text), str(workflow_id))
            for text, (workflow_id, status, reason) in data["failures"].items():
                batch.fail(int(text), str(status), str(reason), str(workflow_id))
        except (KeyError, IndexError, ValueError, TypeError, AttributeError, zlib.error):
            return None
        return batch


def stored_active_ids(data: object) -> list[str]:
    """The ids of what was active when a batch, of whichever items, was stored."""
    active = data.get("active") if isinstance(data, Mapping) else None
    return [str(workflow_id) for workflow_id in active.values() if workflow_id] if isinstance(active, Mapping) else []


def _active_ids(states: bytes | bytearray, items: Mapping[int, Item]) -> dict[int, str]:
    return {
        # One look-up: the other thread may remove the item between two.
        index: item.workflow_id if (item := items.get(index)) else ""
        for index, state in enumerate(states)
        if state == ACTIVE
    }
