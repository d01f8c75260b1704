"""Where a batch stands: plain data, small enough to be put down between two processes."""

from __future__ import annotations

import base64
import itertools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.formatting import duration

__all__ = ["GONE", "REASON_LIMIT", "REFUSED", "Batch", "Item"]

PENDING, ACTIVE, COMPLETED, FAILED = 0, 1, 2, 3

REFUSED = "REFUSED"
"""The status of an item that the server did not take."""

GONE = "GONE"
"""The status of an item that was started, and of whose workflow the server knows nothing any more."""

REASON_LIMIT = 500
"""Characters kept of why an item failed."""

WHYS_PUT_DOWN = 20
"""Items of which it is put down why they failed, where no workflow tells it; with ``WHY_LIMIT`` 5 kB at most."""

WHY_LIMIT = 200
"""Characters of each of them."""

TOLD_BY_SERVER = frozenset({"FAILED", "TIMED_OUT", "TERMINATED"})
"""Statuses that the server still tells, with the reason, when somebody asks for the results."""


@dataclass(slots=True)
class Item:
    """What is known of an item beyond where it stands; ``status`` and ``reason`` once it has ended."""

    workflow_id: str = ""
    status: str = ""
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Batch:
    """The items of a batch, by their places in the list: to be started, active (started, not ended), or ended.

    Args:
        keys: what tells the items apart, and the same at every rendering.
        began: when this try began with the batch, seconds since the epoch.
        before: how many had ended before that, in earlier tries.
    """

    keys: Sequence[str]
    began: float
    before: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    """What this process knows of the items it has met."""
    counts: list[int] = field(default_factory=list)
    _where: bytearray = field(default_factory=bytearray)
    _first: int = 0
    """No item before this place is to be started."""

    def __post_init__(self) -> None:
        if not self._where:
            self._where = bytearray(len(self.keys))
        self._count()

    def _count(self) -> None:
        self.counts = [self._where.count(state) for state in (PENDING, ACTIVE, COMPLETED, FAILED)]

    @property
    def total(self) -> int:
        return len(self.keys)

    @property
    def pending(self) -> int:
        return self.counts[PENDING]

    @property
    def active(self) -> int:
        return self.counts[ACTIVE]

    @property
    def completed(self) -> int:
        return self.counts[COMPLETED]

    @property
    def failed(self) -> int:
        return self.counts[FAILED]

    @property
    def ended(self) -> int:
        return self.completed + self.failed

    def is_pending(self, index: int) -> bool:
        return self._where[index] == PENDING

    def has_failed(self, index: int) -> bool:
        return self._where[index] == FAILED

    def next_to_start(self) -> int | None:
        """The first place of an item that is to be started."""
        self._first = self._where.find(PENDING, self._first)
        if self._first < 0:
            self._first = self.total
            return None
        return self._first

    def pending_from(self, index: int, count: int) -> list[int]:
        """Up to ``count`` places of items to be started, from ``index`` on."""
        places: list[int] = []
        while len(places) < count and (index := self._where.find(PENDING, index)) >= 0:
            places.append(index)
            index += 1
        return places

    def active_ids(self) -> dict[int, str]:
        """Place → workflow id of what is active; "" where it is being started and its id is not known."""
        return {
            index: item.workflow_id if (item := self.items.get(index)) else ""
            for index, state in enumerate(self._where)
            if state == ACTIVE
        }

    def _move(self, index: int, state: int) -> None:
        self.counts[self._where[index]] -= 1
        self.counts[state] += 1
        self._where[index] = state
        if state == PENDING:
            self._first = min(self._first, index)

    def begin(self, index: int, workflow_id: str = "") -> None:
        """It is being started, or (with its id) has been."""
        if workflow_id:
            self.items.setdefault(index, Item()).workflow_id = workflow_id
        self._move(index, ACTIVE)

    def put_back(self, index: int) -> None:
        """It was not started after all."""
        self.items.pop(index, None)
        self._move(index, PENDING)

    def complete(self, index: int, workflow_id: str = "") -> None:
        item = self.items.setdefault(index, Item())
        item.workflow_id = workflow_id or item.workflow_id
        item.status = "COMPLETED"
        self._move(index, COMPLETED)

    def fail(self, index: int, status: str, reason: str = "", workflow_id: str = "") -> None:
        """``status`` is the workflow's, REFUSED or GONE where there is none, or how the wait for it ended."""
        item = self.items.setdefault(index, Item())
        item.workflow_id = workflow_id or item.workflow_id
        item.status, item.reason = status, one_line(reason, REASON_LIMIT)
        self._move(index, FAILED)

    def take_again(self) -> None:
        """For another try: what has failed, or was under way, is to be looked at anew; what has completed stays."""
        for index, state in enumerate(self._where):
            if state in (ACTIVE, FAILED):
                self.put_back(index)

    # Told to people

    def line(self, now: float) -> str:
        """``1,200 of 10,000 ended (5 failed), 100 running, 8,700 to start; 12.3 a second, about 12 min left``."""
        failed = f" ({self.failed:,} failed)" if self.failed else ""
        text = f"{self.ended:,} of {self.total:,} ended{failed}, {self.active:,} running, {self.pending:,} to start"
        ended, seconds = self.ended - self.before, now - self.began
        if ended <= 0 or seconds <= 0:
            return text
        left = (self.total - self.ended) * seconds / ended
        return f"{text}; {_rate(ended / seconds)}, about {duration(left * 1000)} left"

    # Put down and taken up again

    @property
    def fingerprint(self) -> str:
        """Which items these are, in which order."""
        return sha256("\0".join(self.keys).encode(errors="surrogatepass")).hexdigest()[:32]

    def to_json(self) -> dict[str, Any]:
        """Where everything stands: some bytes for each thousand items, and about 45 for each active one.

        Of the first items whose failure no workflow tells it says why.
        """
        # As it is now: while this is read, the driver's thread may go on filling both.
        items, where = self.items.copy(), bytes(self._where)
        untold = (
            (index, item)
            for index, item in items.items()
            if where[index] == FAILED and item.status and item.status not in TOLD_BY_SERVER
        )
        return {
            "items": self.fingerprint,
            "began": self.began,
            "before": self.before,
            "completed": _packed(state == COMPLETED for state in where),
            "failed": _packed(state == FAILED for state in where),
            "active": {
                str(index): item.workflow_id if (item := items.get(index)) else ""
                for index, state in enumerate(where)
                if state == ACTIVE
            },
            "why": {
                str(index): [item.workflow_id, item.status, item.reason[:WHY_LIMIT]]
                for index, item in itertools.islice(untold, WHYS_PUT_DOWN)
            },
        }

    @classmethod
    def from_json(cls, keys: Sequence[str], data: object) -> Batch | None:
        """Take up what :meth:`to_json` put down; None where it is of other items, or of another kind."""
        try:
            batch = cls(keys=keys, began=float(data["began"]), before=int(data["before"]))  # type: ignore[index]
            if data["items"] != batch.fingerprint:  # type: ignore[index]
                return None
            for name, state in (("completed", COMPLETED), ("failed", FAILED)):
                for index, is_so in enumerate(_unpacked(data[name], batch.total)):  # type: ignore[index]
                    if is_so:
                        batch._where[index] = state
            active: Mapping[str, str] = data["active"]  # type: ignore[index]
            batch._count()
            for text, workflow_id in active.items():
                batch.begin(int(text), str(workflow_id))
            whys: Mapping[str, list[str]] = data.get("why", {})  # type: ignore[attr-defined]
            for text, (workflow_id, status, reason) in whys.items():
                batch.fail(int(text), str(status), str(reason), str(workflow_id))
        except (KeyError, IndexError, ValueError, TypeError, AttributeError, zlib.error):
            return None
        return batch


def _rate(per_second: float) -> str:
    """``12.3 a second``, ``40 a minute``, ``3 an hour``: a number that people can picture."""
    for factor, unit in ((1, "second"), (60, "minute")):
        if per_second * factor >= 1:
            return f"{per_second * factor:.3g} a {unit}"
    return f"{per_second * 3600:.3g} an hour"


def _packed(flags: Iterable[bool]) -> str:
    bits = "".join("1" if flag else "0" for flag in flags)
    return base64.b64encode(zlib.compress(int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "big"), 9)).decode()


def _unpacked(text: str, count: int) -> list[bool]:
    bits = bin(int.from_bytes(zlib.decompress(base64.b64decode(text)), "big"))[3:]
    if len(bits) != count:
        raise ValueError("of another length")
    return [bit == "1" for bit in bits]
