"""What follows from requests that fail: how long nothing is sent, and by how much the polls slow down."""

from __future__ import annotations

import math
from dataclasses import dataclass

from airflow_provider_conductor.client.errors import (
    ConductorRequestError,
    ConductorTooManyRequestsError,
    ConductorUnreachableError,
)
from airflow_provider_conductor.polling.next_poll import next_poll_after_failure

MAX_STRETCH = 16.0
"""How far "too many requests" can stretch the pauses; each of them doubles it, each good sweep takes back a tenth."""

BRIEF = 5.0
"""Seconds that a wait's own poll waits if the server asks for a pause; the wait gets to know of a longer one."""

RENEW_EVERY = 5
"""Failures in a row after which the connection is looked up again: it may have been changed."""


@dataclass(slots=True)
class Outage:
    """The server's state as the last answers show it. Moments are the caller's, on a clock that nobody sets.

    ==========================  =======================================  ======================================
    answer                      nothing is sent                          pauses between polls
    ==========================  =======================================  ======================================
    unreachable, first          for 1 s, or as long as it asks for       unchanged
    unreachable, again          2, 4 … 60 s                              unchanged
    too many requests           likewise                                 doubled, up to 16 times as long
    any failure before that     (one of several that were under way)     unchanged
    pause is over
    good, in such a pause       the pause stays                          unchanged
    after too many requests
    good, after a failure       until the next failure, always           unchanged
    good, again                 always                                   shortened by a tenth, down to normal
    ==========================  =======================================  ======================================

    Attributes:
        error: the last failure; None while the server answers.
        number: how many outages there have been, so that each wait gets to know each once.
        failures: failures in a row.
        until: nothing is sent before, except at deadlines.
        stretch: by how much pauses between polls are longer than normal.
    """

    error: ConductorRequestError | None = None
    number: int = 0
    failures: int = 0
    until: float = -math.inf
    stretch: float = 1.0

    def failed(self, error: ConductorRequestError, now: float, jitter: float) -> None:
        """A request has failed."""
        if now < self.until:
            return
        self.failures += 1
        self.until = next_poll_after_failure(self.failures, now, jitter=jitter, retry_after=error.retry_after)
        if isinstance(error, ConductorTooManyRequestsError):
            self.stretch = min(MAX_STRETCH, self.stretch * 2)
        elif self.error is None or self.is_rate_limit:
            self.number += 1
        self.error = error

    def answered(self, now: float) -> None:
        """A request has succeeded."""
        if self.is_rate_limit and now < self.until:
            return  # a wait at its deadline was answered all the same; the others keep to the pause
        if self.error is None:
            self.stretch = max(1.0, self.stretch * 0.9)
        self.failures, self.error, self.until = 0, None, -math.inf

    @property
    def is_rate_limit(self) -> bool:
        """Whether the server only asks for fewer requests; waits are not told of that."""
        return isinstance(self.error, ConductorTooManyRequestsError)

    @property
    def wants_renewal(self) -> bool:
        """Whether the connection should be looked up again after the last failure."""
        return self.failures % RENEW_EVERY == 0

    def own_poll_after(self, now: float) -> float:
        """Seconds after which a wait may poll by itself.

        Raises:
            ConductorRequestError: the outage's, if that takes long; that it is over is found out once for all waits.
        """
        pause = self.until - now
        error = self.error
        # An answer that shows a wrong address ends a wait, so that must be the answer to its own request.
        if pause <= 0 or error is None or not (error.temporary or isinstance(error, ConductorUnreachableError)):
            return 0.0
        if pause > BRIEF or not self.is_rate_limit:
            raise error.with_traceback(None)
        return pause
