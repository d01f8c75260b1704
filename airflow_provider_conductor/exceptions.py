"""Every error that an operator, a sensor, the hook or a client raises: import them from here.

What operators and sensors raise of their own is an ``AirflowException``, which Airflow retries as the DAG says, or an
``AirflowFailException``, which it never retries::

    AirflowException
    └── ConductorOperatorError                              has workflow_id, url, reason
        ├── ConductorWorkflowFailedError                    the workflow ended, and not as COMPLETED, or is gone
        │   ├── ConductorWorkflowFailedPermanentlyError     … and a retry cannot help (also AirflowFailException)
        │   └── ConductorBatchFailedError                   more workflows failed than ``failure_policy`` allows
        │       └── ConductorBatchFailedPermanentlyError    … and a retry cannot help (also AirflowFailException)
        ├── ConductorWorkflowTimeoutError                   a timeout ended the wait; the workflow had not ended
        │   └── ConductorSensorTimeoutError                 … of a sensor: not retried (also AirflowSensorTimeout)
        ├── ConductorTaskUnreachableError                   the task cannot reach the expected status any more
        ├── ConductorTaskNotReadyError                      the workflow has not reached the task yet
        ├── ConductorControlFailedError                     the server did not carry out a pause, retry, deletion …
        ├── ConductorBatchInputsChangedError                a deferred batch was resumed with other inputs
        ├── ConductorTriggerEventError                      the trigger sent an event of an unknown shape
        ├── AirflowTaskKilledError                          Airflow killed the task
        └── ConductorPermanentError                         never retried (also AirflowFailException)
            ├── ConductorApprovalRejectedError              somebody rejected, and ``on_reject`` is "fail"
            ├── ConductorArgumentRefusedError               an argument was rendered to something unusable
            ├── ConductorDefinitionRefusedError             a definition cannot be registered
            ├── ConductorStartRefusedError                  there is no such definition, or the input was refused
            ├── ConductorOutputTooLargeError                the output is over ``max_output_bytes``
            ├── ConductorOutputNotStorableError             Airflow's database cannot hold the output
            ├── ConductorOutputMissingError                 ``output_path`` is not in the output, or it is gone
            └── ConductorInvalidStateError                  the workflow's state does not allow what was asked

What requests to Conductor raise is a ``ConductorError``, from the clients as from operators, and Airflow retries it::

    ConductorError                                          has workflow_id, url, reason where a wait ended with it
    ├── ConductorConfigError                                the connection's settings cannot be used
    ├── ConductorInputError                                 an argument was refused before anything was sent
    ├── ConductorDryRunIncompleteError                      a dry run came to a task for which no output is left
    ├── PayloadNotOfferedError                              a stored output cannot be read from where it is stored
    └── ConductorRequestError                               a request failed
        ├── ConductorUnreachableError                       nothing was sent
        │   └── ConductorTlsError                           … since the TLS handshake failed
        ├── ConductorConnectionLostError                    the answer did not arrive whole
        │   └── ConductorTimeoutError                       … within the timeout
        ├── NotConductorError                               something in front of Conductor answered
        └── ConductorAnswerError                            the server answered with an error
            ├── ConductorBadRequestError                    400 and other 4xx
            ├── ConductorAuthError                          401, 403
            ├── ConductorNotFoundError                      no such workflow, task or definition
            │   └── ConductorDefinitionNotFoundError        no such workflow definition
            ├── ConductorMissingRouteError                  this server has no such endpoint
            ├── ConductorConflictError                      the state does not allow it
            ├── ConductorTooManyRequestsError               429
            └── ConductorServerError                        5xx

Arguments that are unusable as the DAG file has them are a ``ValueError`` or ``TypeError`` when it is parsed. With
``soft_fail`` or ``never_fail`` a sensor raises Airflow's ``AirflowSkipException``, whose ``__cause__`` is the error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypedDict

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    redact,
)

from airflow_provider_conductor.client import errors
from airflow_provider_conductor.client.errors import *
from airflow_provider_conductor.client.text import one_line, readable

if TYPE_CHECKING:
    from airflow_provider_conductor.polling.root_cause import Failure

__all__ = [
    "AirflowTaskKilledError",
    "ConductorApprovalRejectedError",
    "ConductorArgumentRefusedError",
    "ConductorBatchFailedError",
    "ConductorBatchFailedPermanentlyError",
    "ConductorBatchInputsChangedError",
    "ConductorControlFailedError",
    "ConductorDefinitionRefusedError",
    "ConductorInvalidStateError",
    "ConductorOperatorError",
    "ConductorOutputMissingError",
    "ConductorOutputNotStorableError",
    "ConductorOutputTooLargeError",
    "ConductorPermanentError",
    "ConductorSensorTimeoutError",
    "ConductorStartRefusedError",
    "ConductorTaskNotReadyError",
    "ConductorTaskUnreachableError",
    "ConductorTriggerEventError",
    "ConductorWorkflowFailedError",
    "ConductorWorkflowFailedPermanentlyError",
    "ConductorWorkflowTimeoutError",
]
__all__ += errors.__all__

NAME_LIMIT = 255
REASON_LIMIT = 2_000
"""Characters kept of foreign names, and of reasons and log lines, in the attributes."""


def _masked(text: object) -> str:
    """Text with foreign parts, for logs, mails and callbacks. Airflow masks secrets in the first only."""
    return str(redact(readable(text)))


def _readable(failure: Failure) -> Failure:
    """The same with each of its texts on one line, cut, and masked as the message is."""
    texts: dict[str, Any] = {}
    for field in fields(failure):
        limit = NAME_LIMIT if field.name.endswith("_name") else REASON_LIMIT
        value = getattr(failure, field.name)
        if type(value) is str:
            texts[field.name] = _masked(one_line(value, limit))
        elif isinstance(value, tuple):
            texts[field.name] = tuple(_masked(one_line(text, limit)) for text in value)
    return replace(failure, **texts)


class ConductorOperatorError(AirflowException):
    """What operators and sensors raise. Its message is readable, and what Airflow knows as a secret is masked in it.

    Attributes:
        workflow_id: the workflow it is about, or "" where there is none, or several.
        url: its page in Conductor's UI, or "".
        reason: why, in the server's or a worker's words, on one line; "" where neither gave a reason.
    """

    def __init__(self, message: str, *, workflow_id: str = "", url: str = "", reason: str = "") -> None:
        super().__init__(_masked(message))
        self.workflow_id = workflow_id
        self.url = url
        self.reason = _masked(one_line(reason, REASON_LIMIT))

    def __reduce__(self) -> tuple[Any, ...]:
        """Airflow carries exceptions between processes; the arguments of some are not only the message."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[ConductorOperatorError], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class AboutWorkflow(TypedDict):
    """The arguments by which an error names its workflow."""

    workflow_id: str
    url: str


class ConductorPermanentError(ConductorOperatorError, AirflowFailException):
    """The task fails, and a retry cannot help."""


class ConductorWorkflowFailedError(ConductorOperatorError):
    """The workflow ended as FAILED, TIMED_OUT or TERMINATED, or is gone from the server.

    The message is for the task's log; the attributes are the same for ``on_failure_callback``. In both, what servers
    and workers wrote is on one line, readable, cut, and without what Airflow masks.

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

    def __init__(self, message: str, failure: Failure | None = None, *, url: str = "") -> None:
        from airflow_provider_conductor.polling.root_cause import Failure

        self.failure = failure = _readable(Failure(workflow_id="") if failure is None else failure)
        super().__init__(message, workflow_id=failure.workflow_id, url=url, reason=failure.reason)
        self.workflow_name = failure.workflow_name
        self.status = failure.status
        self.task_reference_name = failure.task_reference_name
        self.failed_workflow_id = failure.failed_workflow_id
        self.attempts = failure.attempts
        self.log_lines = failure.log_lines


class ConductorWorkflowFailedPermanentlyError(ConductorWorkflowFailedError, AirflowFailException):
    """The same where an Airflow retry cannot help: a terminal error, or a user terminated it on purpose."""


class ConductorBatchFailedError(ConductorWorkflowFailedError):
    """More workflows of a batch failed than its ``failure_policy`` allows.

    Attributes:
        failed, total: how many.
        causes: ``[{"count", "status", "reason", "item", "workflow_id"}]``, the most frequent first; item and workflow
            are an example of each.
    """

    def __init__(
        self,
        message: str,
        failure: Failure | None = None,
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


def _cause(value: Any) -> Any:
    return _masked(one_line(value, REASON_LIMIT)) if isinstance(value, str) else value


class ConductorBatchFailedPermanentlyError(ConductorBatchFailedError, AirflowFailException):
    """The same where an Airflow retry cannot help any of those that failed."""


class ConductorTaskUnreachableError(ConductorOperatorError):
    """The task that is waited for cannot run any more, or not reach the expected status; the message says why.

    Attributes:
        task_reference_name: the task that was waited for.
    """

    def __init__(self, message: str, *, task_reference_name: str = "", **more: str) -> None:
        super().__init__(message, **more)
        self.task_reference_name = task_reference_name


class ConductorTaskNotReadyError(ConductorOperatorError):
    """The workflow has not reached the task that is to be completed; a later try may find it there."""


class ConductorWorkflowTimeoutError(ConductorOperatorError):
    """``timeout``, ``stall_timeout`` or ``execution_timeout`` ended the wait.

    Attributes:
        waits_for: what the workflow was waiting for: ``no worker``, or one of ``working``, ``retry due``, ``queued``,
            ``rate limited``, ``join blocked``, ``retry delay``, ``postponed``, ``start delay``, ``timed wait``,
            ``waiting for a signal``, ``waiting for a person``, ``paused``, ``inside a sub-workflow``; "" if unknown.
    """

    def __init__(self, message: str, *, waits_for: str = "", **more: str) -> None:
        super().__init__(message, **more)
        self.waits_for = waits_for


class ConductorSensorTimeoutError(ConductorWorkflowTimeoutError, AirflowSensorTimeout):
    """A sensor's ``timeout`` or ``stall_timeout`` ended the wait; Airflow does not retry after it."""


class ConductorControlFailedError(ConductorOperatorError):
    """The server did not carry out what was asked of it, though the state of the workflows allows it."""


class ConductorBatchInputsChangedError(ConductorOperatorError):
    """A deferred batch was resumed, and its inputs were rendered to something else that cannot be used."""


class ConductorTriggerEventError(ConductorOperatorError):
    """The trigger sent an event of an unknown shape, as one of another version of this package may."""


class AirflowTaskKilledError(ConductorOperatorError):
    """Airflow killed the task (cleared, marked, SIGTERM); what it had running was terminated, or left as asked."""


class ConductorApprovalRejectedError(ConductorPermanentError):
    """Somebody rejected what was to be approved.

    Attributes:
        answer: the operator's result: who rejected, when, where and with what.
    """

    def __init__(self, message: str, *, answer: Mapping[str, Any] | None = None, **more: str) -> None:
        super().__init__(message, **more)
        self.answer = dict(answer or {})


class ConductorArgumentRefusedError(ConductorPermanentError):
    """An argument was rendered to something that cannot be used, or that selects too many workflows."""


class ConductorOutputTooLargeError(ConductorPermanentError):
    """The workflow completed, but its output is over ``max_output_bytes``; nothing was written to XCom."""


class ConductorOutputNotStorableError(ConductorPermanentError):
    """The workflow completed, but Airflow's database cannot hold its output; the message names the field and a way."""


class ConductorOutputMissingError(ConductorPermanentError):
    """The workflow completed, but its output has no part at ``output_path``, or was removed before it was read."""


class ConductorInvalidStateError(ConductorPermanentError):
    """The workflow's state does not allow this; the message names the state and what to do instead."""


class ConductorStartRefusedError(ConductorPermanentError):
    """Nothing was started, and trying again cannot help."""


class ConductorDefinitionRefusedError(ConductorPermanentError):
    """A definition is wrong, here or to the server; nothing was registered, and trying again cannot help."""
