"""When a request is sent, and when again: the pace of a connection, and its retries (by tenacity)."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Generator

from tenacity import (
    DoAttempt,
    DoSleep,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from airflow_provider_conductor.client.errors import ConductorRequestError
from airflow_provider_conductor.client.flow import S, Sleep, T

log = logging.getLogger(__name__)

BACKOFF = wait_random_exponential(multiplier=0.5, max=15)
"""Full jitter: between 0 and 0.5 s, 1 s, 2 s … 15 s, so that many callers do not return in step."""

LONGEST_RETRY_AFTER = 60.0
"""Seconds; a server that asks for more is left to the caller, who knows its own deadline."""


def repeat(attempt: Callable[[], Generator[S, object, T]], max_attempts: int) -> Generator[S | Sleep, object, T]:
    """The attempt's result; it is made again where that is allowed and can help."""
    retrying = Retrying(
        stop=stop_after_attempt(max_attempts),
        wait=_pause,
        retry=retry_if_exception(worth_repeating),
        before_sleep=_log_retry,
        reraise=True,
    )
    state = RetryCallState(retrying, fn=None, args=(), kwargs={})
    retrying.begin()
    while True:
        # The loop of tenacity's own Retrying, with the sleep left to whoever drives the flow.
        action = retrying.iter(retry_state=state)
        if isinstance(action, DoAttempt):
            try:
                return (yield from attempt())
            except ConductorRequestError:
                state.set_exception(sys.exc_info())  # type: ignore[arg-type]  # as tenacity calls it itself
        elif isinstance(action, DoSleep):
            state.prepare_for_next_attempt()
            yield Sleep(float(action))


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return max(float(getattr(error, "retry_after", None) or 0.0), BACKOFF(state))


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    seconds = state.next_action.sleep if state.next_action else 0
    log.info("%s; sent again in %.1f s (attempt %d)", error, seconds, state.attempt_number + 1)


def worth_repeating(error: BaseException) -> bool:
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
    if not isinstance(error, ConductorRequestError):
        return False
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
