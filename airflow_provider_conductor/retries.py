"""Airflow's retries by what went wrong in Conductor (Airflow 3.3 and later)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING

from airflow_provider_conductor import exceptions
from airflow_provider_conductor.exceptions import ConductorWorkflowFailedError, ConductorWorkflowTimeoutError
from airflow_provider_conductor.polling.root_cause import Cause
from airflow_provider_conductor.polling.wait_event import NO_WORKER

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

try:
    from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy
except ImportError as error:
    raise ImportError(
        "ConductorRetryPolicy needs Airflow 3.3, which has retry policies. On this version set retries and "
        "retry_delay; what a retry cannot help fails at once on every version"
    ) from error

__all__ = ["DEFAULT_RULES", "ConductorRetryPolicy", "causes_of"]

TIMEOUT = "timeout"

WORKER_WAIT = timedelta(minutes=15)
"""How long a retry waits for workers: a deployment of them is usually over by then."""

DEFAULT_RULES: Mapping[str, RetryDecision] = {
    NO_WORKER: RetryDecision.retry(WORKER_WAIT, "no worker polls a task's queue"),
    TIMEOUT: RetryDecision.retry(reason="the workflow did not end in time; it continues from the task that was open"),
    str(Cause.TERMINATE_TASK): RetryDecision.fail("a TERMINATE task has ended the workflow: a decision of its own"),
}
"""Cause → what to do. What has no rule is retried as the task's ``retries`` and ``retry_delay`` say."""


class ConductorRetryPolicy(RetryPolicy):
    """Decide by its cause whether, and when, a task that has failed in Conductor is tried again.

    As ``retry_policy=`` of an operator. The default rules::

        no worker                    a worker's queue is not polled: retry, after 15 minutes
        timeout                      a timeout ended the wait: retry, from the task that was open
        ended by a TERMINATE task    the workflow's own decision: fail
        anything else                the task's own retries and retry_delay

    What a retry cannot help (a worker's FAILED_WITH_TERMINAL_ERROR, a workflow that a user has terminated, an unusable
    argument) fails in any case: Airflow does not ask a policy then.

    Args:
        rules: cause → Airflow's ``RetryDecision``; they replace default rules of the same cause. A cause is one of
            :func:`causes_of`.

    Raises:
        ValueError: a rule for something that is no cause.
    """

    def __init__(self, rules: Mapping[str, RetryDecision] | None = None) -> None:
        for cause in rules or {}:
            if cause not in KNOWN:
                near = "".join(f"; did you mean {name!r}?" for name in get_close_matches(cause, KNOWN, n=1))
                raise ValueError(f"rules: no error has the cause {cause!r}{near}")
        self.rules: Mapping[str, RetryDecision] = {**DEFAULT_RULES, **(rules or {})}

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """The decision of the first rule that fits, the most exact cause first."""
        for cause in causes_of(exception):
            if cause in self.rules:
                return self.rules[cause]
        return RetryDecision.default()


def causes_of(error: BaseException) -> Iterator[str]:
    """The causes of an error, the most exact first.

    =========================================  ==================================================================
    error                                      causes
    =========================================  ==================================================================
    ``ConductorWorkflowFailedError``           ``no worker``; what made it fail (values of ``failure.cause``:
                                               ``task failed``, ``task timed out``, ``workflow timed out``, …); its
                                               status
    ``ConductorWorkflowTimeoutError``          ``no worker``, or what the workflow was waiting for (``working``,
                                               ``retry delay``, ``waiting for a person``, …); ``timeout``
    every error of this package                the name of its class, then those of its base classes
    =========================================  ==================================================================
    """
    if isinstance(error, ConductorWorkflowFailedError):
        if error.failure.cause is Cause.NOT_POLLED:
            yield NO_WORKER
        if error.failure.cause is not None:
            yield str(error.failure.cause)
        yield error.status
    elif isinstance(error, ConductorWorkflowTimeoutError):
        yield error.waits_for
        yield TIMEOUT
    yield from (kind.__name__ for kind in type(error).__mro__ if kind.__name__ in exceptions.__all__)


def _known() -> frozenset[str]:
    from airflow_provider_conductor.client.statuses import WorkflowStatus
    from airflow_provider_conductor.polling.blocker import Phase

    ends = (status for status in WorkflowStatus if status.ended and status is not WorkflowStatus.COMPLETED)
    return frozenset({NO_WORKER, TIMEOUT, *map(str, (*Cause, *Phase, *ends)), *exceptions.__all__} - {str(Phase.ENDED)})


KNOWN = _known()
"""All causes that an error can have."""
