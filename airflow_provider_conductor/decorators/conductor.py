"""``@task.conductor``: a function makes the input, a workflow does the work, its output is the task's result."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.plain import model_fields
from airflow_provider_conductor.exceptions import AirflowTaskKilledError, ConductorStartRefusedError
from airflow_provider_conductor.operators.execute import ConductorExecuteWorkflowOperator
from airflow_provider_conductor.submission.start_arguments import ARGUMENTS, read_request

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskDecorator

MARK = "workflow_input"
"""The key that distinguishes a dict of start arguments from an input."""


class _ConductorDecoratedOperator(DecoratedOperator, ConductorExecuteWorkflowOperator):
    """Calls the function on the worker, once a try and before anything is sent; a deferred wait resumes without it."""

    custom_operator_name = "@task.conductor"
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in ConductorExecuteWorkflowOperator.template_fields if name != "workflow_input"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **ConductorExecuteWorkflowOperator.template_fields_renderers,
    }
    shallow_copy_attrs: Sequence[str] = (*DecoratedOperator.shallow_copy_attrs, "workflow_def")

    _named_later = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        workflow_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if "workflow_input" in kwargs:
            raise TypeError("@task.conductor takes no workflow_input: the function returns it")
        if inspect.iscoroutinefunction(python_callable):
            raise TypeError(f"@task.conductor cannot call the coroutine function {python_callable.__name__}: use def")
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            workflow_name=workflow_name,
            workflow_input=None,  # not left out: Airflow would add what the DAG's default_args have for other operators
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        context_merge(context, self.op_kwargs)
        kwargs = determine_kwargs(self.python_callable, self.op_args, context)
        returned = self.python_callable(*self.op_args, **kwargs)
        if self._guard.killed:  # Airflow 3 lets the task go on after on_kill until it is killed for good
            raise AirflowTaskKilledError(
                f"the task was killed while {self.python_callable.__name__} ran; no workflow was started"
            )
        try:
            self._take(returned)
        except ConductorInputError as error:
            raise ConductorStartRefusedError(
                f"nothing was started, since what {self.python_callable.__name__} returned cannot be used: {error}"
            ) from None
        return super().execute(context)

    @staticmethod
    def xcom_push(context: Context, key: str, value: Any, *_: Any) -> None:
        """Push one of several outputs. The ``DecoratedOperator`` of Airflow 3.0 wants this method, and lacks it."""
        context["ti"].xcom_push(key=key, value=value)

    def _take(self, returned: Any) -> None:
        """Make the arguments of the start of what the function returned.

        Raises:
            ConductorInputError: it is neither an input nor a request, or contradicts the decorator.
        """
        arguments, further = read_returned(returned)
        name = arguments.get("workflow_name")
        if name and self.workflow_name and name != self.workflow_name:
            raise ConductorInputError(
                f"it names the workflow {name!r}, and the decorator {self.workflow_name!r}: name it once"
            )
        if not any((name, self.workflow_name, arguments.get("workflow_def"), self.workflow_def, self.request)):
            raise ConductorInputError("neither it nor the decorator (workflow_name) names the workflow")
        for argument, value in arguments.items():
            setattr(self, argument, value)
        self._take_request(rendered=True)
        self.request = {**(self.request or {}), **further} or None


def read_returned(returned: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The operator's arguments it gives, and what else of a request, by the server's names.

    ===============================================  ==========================================================
    returned                                         read as
    ===============================================  ==========================================================
    a dict without the key ``workflow_input``        the input
    a dict with it                                   start arguments, as the operator calls them, and no others
    a ``StartWorkflowRequest``, ours or the SDK's    the request; what is not set there is the decorator's
    anything else                                    refused
    ===============================================  ==========================================================

    Raises:
        ConductorInputError: it cannot be used; the message says what was expected.
    """
    from airflow_provider_conductor.client.models import StartWorkflowRequest

    if isinstance(returned, Mapping):
        if MARK not in returned:
            return {"workflow_input": dict(returned)}, {}
        unknown = sorted(str(key) for key in returned if key not in ARGUMENTS)
        if unknown:
            raise ConductorInputError(
                f"a dict with the key {MARK!r} is read as start arguments, and {', '.join(map(repr, unknown))} is "
                f"none of {', '.join(ARGUMENTS)}; an input with such a key goes into {MARK!r} as a whole"
            )
        if not isinstance(returned[MARK] or {}, Mapping):
            raise ConductorInputError(f"{MARK} must be a dict, not {type(returned[MARK]).__name__}")
        return {name: value for name, value in returned.items() if value is not None}, {}
    if not isinstance(returned, StartWorkflowRequest) and model_fields(returned) is None:
        raise ConductorInputError(
            f"it must be a dict (the workflow's input, or start arguments with {MARK!r}) or a StartWorkflowRequest, "
            f"not {type(returned).__name__}"
        )
    return read_request(returned)


def conductor_task(
    python_callable: Callable[..., Any] | None = None, *, multiple_outputs: bool = False, **kwargs: Any
) -> TaskDecorator:
    """Make a task of a function that returns a workflow's input: the workflow is started and waited for.

    The function returns the input, a dict; or a request: a dict of start arguments with the key ``workflow_input``,
    or a ``StartWorkflowRequest`` of this package's or of the Python SDK's.

    Args:
        python_callable: the function; given by the bare form ``@task.conductor``.
        multiple_outputs: give each key of the workflow's output an XCom of its own. Not inferred from the function's
            return annotation, which is that of the input.
        kwargs: the arguments of
            :class:`~airflow_provider_conductor.operators.execute.ConductorExecuteWorkflowOperator` but
            ``workflow_input``, and those that every task takes.
    """
    decorator: TaskDecorator = task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_ConductorDecoratedOperator,
        **kwargs,
    )
    return decorator
