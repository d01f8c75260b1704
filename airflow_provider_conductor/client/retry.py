"""When a request is sent, and when again: the pace of a connection, and its retries."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Generator

from airflow_provider_conductor.client.errors import ConductorRequestError
from airflow_provider_conductor.client.flow import S, Sleep, T

log = logging.getLogger(__name__)

LONGEST_BACKOFF = 15.0

LONGEST_RETRY_AFTER = 60.0
"""Seconds; a server that asks for more is left to the caller, who knows its own deadline."""


def repeat(attempt: Callable[[], Generator[S, object, T]], max_attempts: int) -> Generator[S | Sleep, object, T]:
    """The attempt's result; it is made again where that is allowed and can help.

    The pauses have full jitter (between 0 and 0.5 s, 1 s, 2 s … 15 s), so that many callers do not return in step.
    """
    number = 1
    while True:
        try:
            return (yield from attempt())
        except ConductorRequestError as error:
            if number >= max_attempts or not worth_repeating(error):
                raise
            backoff = random.uniform(0, min(2.0 ** min(number - 2, 10), LONGEST_BACKOFF))
            pause = max(error.retry_after or 0.0, backoff)
            number += 1
            log.info("%s; sent again in %.1f s (attempt %d)", error, pause, number)
        yield Sleep(pause)


def worth_repeating(error: ConductorRequestError) -> bool:
    """Whether the request that failed so may and should be sent once more.

    ===========================================  =====================  ================
    error                                        call safe to repeat    any other call
    ===========================================  =====================  ================
    refused, unknown host (nothing was sent)     yes                    yes
    TLS handshake failed                         no                     no
    timeout, reset, truncated answer             yes                    no
    429, 502-504, ``retryable: true``            yes                    no
    the same with a longer ``Retry-After``       no                     no
    anything else                                no                     no
    ===========================================  =====================  ================

    ``repeatable`` is set where the error is made, for its own request: the one for a token may be repeated before a
    start that may not.
    """
    return error.repeatable and (error.retry_after or 0) <= LONGEST_RETRY_AFTER


class Pace:
    """Keeps to a number of requests a second; None is no limit.

    Nothing is saved up: a second without requests does not allow twice as many in the next. Threads may share it.
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
