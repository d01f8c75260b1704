"""What the operators and sensors raise, on Airflow's own exceptions so that retries follow from the kind.

::

    AirflowException                                        retried as the DAG says
    ├── ConductorWorkflowFailedError                        the workflow ended, and not as COMPLETED
    │   ├── ConductorWorkflowFailedPermanentlyError         … and a retry cannot help (also AirflowFailException)
    │   └── ConductorBatchFailedError                       more workflows failed than ``failure_policy`` allows
    │       └── ConductorBatchFailedPermanentlyError        … and a retry cannot help (also AirflowFailException)
    ├── ConductorTaskUnreachableError                       the task cannot reach the expected status any more
    ├── ConductorTaskNotReadyError                          the workflow has not reached the task yet
    └── ConductorWorkflowTimeoutError                       a timeout of the wait; the workflow had not ended
    AirflowFailException                                    never retried
    ├── ConductorDefinitionRefusedError                     a definition cannot be registered
    ├── ConductorStartRefusedError                          there is no such definition, or the input was refused
    ├── ConductorOutputTooLargeError                        the output is over ``max_output_bytes``
    ├── ConductorOutputNotStorableError                     Airflow's database cannot hold the output
    ├── ConductorOutputMissingError                         ``output_path`` is not in the output, or the output is gone
    └── ConductorStateError                                 the workflow's state does not allow what was asked
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, redact

from airflow_provider_conductor.client.text import one_line, readable

if TYPE_CHECKING:
    from airflow_provider_conductor.polling.root_cause import Failure

__all__ = [
    "ConductorBatchFailedError",
    "ConductorBatchFailedPermanentlyError",
    "ConductorDefinitionRefusedError",
    "ConductorOperatorError",
    "ConductorOutputMissingError",
    "ConductorOutputNotStorableError",
    "ConductorOutputTooLargeError",
    "ConductorStartRefusedError",
    "ConductorStateError",
    "ConductorTaskNotReadyError",
    "ConductorTaskUnreachableError",
    "ConductorWorkflowFailedError",
    "ConductorWorkflowFailedPermanentlyError",
    "ConductorWorkflowTimeoutError",
]


NAME_LIMIT = 255
REASON_LIMIT = 2_000
"""Characters kept of foreign names, and of reasons and log lines, in the attributes."""


def _shown(text: Any) -> str:
    """Text with foreign parts, for whoever gets it: logs, mails, callbacks. Airflow masks secrets in the first only."""
    return str(redact(readable(text)))


def _readable(failure: Failure) -> Failure:
    """The same with each of its texts on one line, cut, and masked as the message is."""
    texts: dict[str, Any] = {}
    for field in fields(failure):
        limit = NAME_LIMIT if field.name.endswith("_name") else REASON_LIMIT
        value = getattr(failure, field.name)
        if type(value) is str:
            texts[field.name] = _shown(one_line(value, limit))
        elif isinstance(value, tuple):
            texts[field.name] = tuple(_shown(one_line(text, limit)) for text in value)
    return replace(failure, **texts)


class ConductorOperatorError(AirflowException):
    """What operators and sensors raise. Its message is readable, and what Airflow knows as a secret is masked in it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*map(_shown, args))


class ConductorWorkflowFailedError(ConductorOperatorError):
    """The workflow ended as FAILED, TIMED_OUT or TERMINATED, or is gone from the server.

    The message is for people; the attributes are the same for ``on_failure_callback``. In both, what servers and
    workers wrote is on one line, readable, cut, and without what Airflow masks.

    Attributes:
        failure: everything that is known about it, as one object; the most useful parts of it are attributes, too.
        workflow_id, workflow_name, status: the workflow that was waited for.
        url: its page in Conductor's UI.
        reason: why the root-cause task (or the workflow) did not complete, or "".
        task_reference_name: the root-cause task, found through sub-workflows, or "".
        failed_workflow_id: the (sub-)workflow that task belongs to.
        attempts: how often that task was tried, 0 where no task failed.
        log_lines: the last lines its worker logged.
    """

    def __init__(self, message: str, failure: Failure, *, url: str = "") -> None:
        super().__init__(message)
        self.failure = failure = _readable(failure)
        self.url = url
        self.workflow_id = failure.workflow_id
        self.workflow_name = failure.workflow_name
        self.status = failure.status
        self.reason = failure.reason
        self.task_reference_name = failure.task_reference_name
        self.failed_workflow_id = failure.failed_workflow_id
        self.attempts = failure.attempts
        self.log_lines = failure.log_lines


class ConductorWorkflowFailedPermanentlyError(ConductorWorkflowFailedError, AirflowFailException):
    """The same where an Airflow retry cannot help: a terminal error, or somebody terminated it on purpose."""


def _cause(value: Any) -> Any:
    return _shown(one_line(value, REASON_LIMIT)) if isinstance(value, str) else value


class ConductorBatchFailedError(ConductorWorkflowFailedError):
    """More workflows of a batch failed than its ``failure_policy`` bears.

    Attributes:
        failed, total: how many.
        causes: ``[{"count", "status", "reason", "item", "workflow_id"}]``, the most frequent first; item and workflow
            are an example of each.
    """

    def __init__(
        self,
        message: str,
        failure: Failure,
        *,
        failed: int = 0,
        total: int = 0,
        causes: Sequence[Mapping[str, Any]] = (),
        url: str = "",
    ) -> None:
        super().__init__(message, failure, url=url)
        self.failed = failed
        self.total = total
        self.causes = tuple({key: _cause(value) for key, value in cause.items()} for cause in causes)


class ConductorBatchFailedPermanentlyError(ConductorBatchFailedError, AirflowFailException):
    """The same where an Airflow retry cannot help any of those that failed."""


class ConductorTaskUnreachableError(ConductorOperatorError):
    """The task that is waited for cannot come any more, or not to the expected status; the message says why.

    Attributes:
        workflow_id, task_reference_name: the task that was waited for.
        url: the workflow's page in Conductor's UI.
    """

    def __init__(self, message: str, *, workflow_id: str = "", task_reference_name: str = "", url: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.task_reference_name = task_reference_name
        self.url = url


class ConductorTaskNotReadyError(ConductorOperatorError):
    """The workflow has not come to the task that is to be ended; a later try may find it there."""


class ConductorWorkflowTimeoutError(ConductorOperatorError):
    """``timeout``, ``stall_timeout`` or ``execution_timeout`` ended the wait; ``workflow_id`` names the workflow."""

    def __init__(self, message: str, *, workflow_id: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id


class ConductorOutputTooLargeError(ConductorOperatorError, AirflowFailException):
    """The workflow completed, but its output is over ``max_output_bytes``; nothing was written to XCom."""


class ConductorOutputNotStorableError(ConductorOperatorError, AirflowFailException):
    """The workflow completed, but Airflow's database cannot hold its output; the message names the field and a way."""


class ConductorOutputMissingError(ConductorOperatorError, AirflowFailException):
    """The workflow completed, but its output has no part at ``output_path``, or was removed before it was read."""


class ConductorStateError(ConductorOperatorError, AirflowFailException):
    """The workflow's state does not allow this; the message names the state and what would do."""


class ConductorStartRefusedError(ConductorOperatorError, AirflowFailException):
    """Nothing was started, and trying again cannot help."""


class ConductorDefinitionRefusedError(ConductorOperatorError, AirflowFailException):
    """A definition is wrong, here or to the server; nothing was registered, and trying again cannot help."""
