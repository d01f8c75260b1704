"""One line of the table: what we cost, what the peer costs in the same run, and what is to be reached."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["AtLeast", "AtMost", "Comparison"]

Judged = Literal["ours", "ratio", "inverse ratio", "difference"]


@dataclass(frozen=True, slots=True)
class AtMost:
    """To reach: no more than ``bound``."""

    bound: float
    judged: Judged = "ours"


@dataclass(frozen=True, slots=True)
class AtLeast:
    """To reach: no less than ``bound``."""

    bound: float
    judged: Judged = "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A measurement of ours beside a peer's.

    Attributes:
        what: what was measured.
        unit: of ``ours`` and ``theirs``.
        ours: the median of ``n`` measurements, or the one measured where ``n`` is 1.
        peer: what it is compared with; "" where it stands alone.
        theirs: the peer's median, in the same run; None where it stands alone.
        n: how many measurements.
        goal: what is to be reached; None where a line is there to compare by.
        note: what bounds it, or how it was taken.
    """

    what: str
    unit: str
    ours: float
    n: int
    peer: str = ""
    theirs: float | None = None
    goal: AtMost | AtLeast | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to the peer's."""
        return self.ours / self.theirs if self.theirs else None

    @property
    def judged(self) -> float | None:
        """The figure that the goal is about."""
        if self.goal is None:
            return None
        match self.goal.judged:
            case "ours":
                return self.ours
            case "ratio":
                return self.ratio
            case "inverse ratio":
                return self.theirs / self.ours if self.theirs is not None and self.ours else None
            case "difference":
                return self.ours - self.theirs if self.theirs is not None else None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is; None where there is none. What could not be judged is not reached."""
        if self.goal is None:
            return None
        if self.judged is None:
            return False
        return self.judged <= self.goal.bound if isinstance(self.goal, AtMost) else self.judged >= self.goal.bound

    def to_json(self) -> dict[str, Any]:
        """``{what, unit, ours, peer, theirs, n, goal, note, ratio, judged, reached}``; plain values."""
        data = asdict(self)
        if self.goal is not None:
            data["goal"] = {"sense": "at most" if isinstance(self.goal, AtMost) else "at least", **asdict(self.goal)}
        return data | {"ratio": self.ratio, "judged": self.judged, "reached": self.reached}
