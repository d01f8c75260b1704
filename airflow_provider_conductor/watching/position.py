"""How far a watcher has read the ends of a server: what was reported, and what may still appear. No I/O.

All times are the server's, in ms, and taken from the ends themselves. So neither our clock nor an index that stands
still for hours matters; only that an end appears in the index not more than ``lag`` later than one that ended after it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

FORMAT = 1

OpenEnd: TypeAlias = tuple[str, int]
"""A workflow's id and the time of its end: it was reported, but what came of that is not yet known."""


@dataclass(slots=True)
class Position:
    """Where a watcher is.

    ==========================================  =====================================
    an end                                      is
    ==========================================  =====================================
    at or before ``known``                      reported, or from before the watcher
    later, of a workflow not in ``seen``        new
    later than in ``seen``                      new: a retry has ended again
    as in ``seen``, or before it                reported
    ==========================================  =====================================

    Attributes:
        known: ends up to here are not reported any more.
        lag: how much later than others an end may appear in the index.
        seen: by workflow, in short, the newest end that was reported, if that was after ``known``.
    """

    known: int
    lag: int
    seen: dict[str, int] = field(default_factory=dict)

    def is_new(self, workflow_id: str, time: int) -> bool:
        """Whether this end has not been reported."""
        return time > self.known and time > self.seen.get(_short(workflow_id), 0)

    def report(self, workflow_id: str, time: int) -> None:
        self.seen[_short(workflow_id)] = time

    def advance(self, newest: int, now: int, unconfirmed: Iterable[OpenEnd] = ()) -> None:
        """All ends up to ``newest`` were read.

        Args:
            newest: whoever wanted it; an end that lies in the future must not hide those of the present.
            now: the server's time.
            unconfirmed: what stays in ``seen``, so that :meth:`stored` can leave it out.
        """
        known = min([min(newest, now) - self.lag, *(time - 1 for _, time in unconfirmed)])
        if known > self.known:
            self.known = known
            self.seen = {key: time for key, time in self.seen.items() if time > known}

    def stored(self, unconfirmed: Iterable[OpenEnd] = ()) -> dict[str, Any]:
        """As JSON, from which another process continues; it finds the unconfirmed ends once more."""
        unconfirmed = list(unconfirmed)
        open_ends = {_short(workflow_id): time for workflow_id, time in unconfirmed}
        seen = {key: time for key, time in self.seen.items() if open_ends.get(key) != time}
        known = min([self.known, *(time - 1 for time in open_ends.values())])
        return {"format": FORMAT, "known": known, "seen": seen}

    @classmethod
    def restored(cls, stored: Any, lag: int) -> Position | None:
        """What :meth:`stored` made; None where that cannot be read."""
        if not isinstance(stored, Mapping) or stored.get("format") != FORMAT:
            return None
        try:
            seen = {str(key): int(time) for key, time in stored["seen"].items()}
            return cls(int(stored["known"]), lag, seen)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def _short(workflow_id: str) -> str:
    """A workflow's id in 11 characters: a thousand ends in a minute must fit into one row of the state store."""
    return base64.urlsafe_b64encode(hashlib.blake2b(workflow_id.encode(), digest_size=8).digest()).decode().rstrip("=")
