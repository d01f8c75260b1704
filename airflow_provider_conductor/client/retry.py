"""When a request is sent, and when again: the pace of a connection, and the policy of retries (tenacity runs it)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from airflow_provider_conductor.client.errors import ConductorRequestError

__all__ = ["Pace", "policy", "worth_repeating"]

log = logging.getLogger(__name__)

BACKOFF = wait_random_exponential(multiplier=0.5, max=15)
"""Full jitter: between 0 and 0.5 s, 1 s, 2 s … 15 s, so that many callers do not return in step."""

LONGEST_RETRY_AFTER = 60.0
"""Seconds; a server that asks for more is left to the caller, who knows its own deadline."""


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
    return (
        isinstance(error, ConductorRequestError)
        and error.repeatable
        and (error.retry_after or 0) <= LONGEST_RETRY_AFTER
    )


def policy(max_attempts: int) -> Mapping[str, Any]:
    """Arguments for tenacity's ``Retrying`` or ``AsyncRetrying``."""
    return {
        "stop": stop_after_attempt(max_attempts),
        "wait": _wait,
        "retry": retry_if_exception(worth_repeating),
        "before_sleep": _log_retry,
        "reraise": True,
    }


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None) or 0.0
    return max(float(asked), BACKOFF(state))


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    seconds = state.next_action.sleep if state.next_action else 0
    log.info("%s; sent again in %.1f s (attempt %d)", error, seconds, state.attempt_number + 1)


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
