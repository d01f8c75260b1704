"""Two clocks: ours and the server's.

Our moments are seconds since the epoch (``time.time()``), the server's are milliseconds, as its JSON has them: the
units differ, so mixing them up shows at once. Deadlines are ours, task times the server's; a skew of minutes between
the two changes nothing as long as every crossing goes through a :class:`ServerClock`.
"""

from __future__ import annotations

from dataclasses import dataclass

RESOLUTION = 1.0
"""Seconds. A ``Date`` header is cut to whole seconds, so a smaller offset cannot be told from none."""


@dataclass(frozen=True, slots=True)
class ServerClock:
    """How far the server's clock is ahead of ours, in seconds."""

    ahead: float = 0.0

    @classmethod
    def observed(cls, server_time: int, *, sent: float, received: float) -> ServerClock:
        """Read it off the ``Date`` of one answer, in ms; 0 where it had none: then the clocks count as equal."""
        ahead = server_time / 1000 + RESOLUTION / 2 - (sent + received) / 2
        return EQUAL if not server_time or abs(ahead) <= RESOLUTION + (received - sent) / 2 else cls(ahead)

    def server(self, ours: float) -> int:
        """What the server's clock says at this moment of ours, in ms."""
        return round((ours + self.ahead) * 1000)

    def ours(self, server: int) -> float:
        """What our clock says at this moment of the server's, in seconds."""
        return server / 1000 - self.ahead


EQUAL = ServerClock()
"""Both say the same."""
