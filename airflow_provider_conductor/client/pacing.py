"""Keeping to a number of requests a second."""

from __future__ import annotations

import threading

__all__ = ["Pace"]


class Pace:
    """Hands out moments that are ``1 / per_second`` apart; None hands out the present.

    Nothing is saved up: a second without requests does not allow twice as many in the next. Safe to share between
    threads, as the client is.
    """

    def __init__(self, per_second: float | None) -> None:
        self._apart = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def delay(self, now: float) -> float:
        """Seconds to wait before the request that is asked for now."""
        with self._lock:
            at = max(now, self._next)
            self._next = at + self._apart
        return at - now
