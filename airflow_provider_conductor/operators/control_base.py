"""The base of the operators that control workflows: selection, outcome, and the wait for one that runs again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_conductor.client.errors import ConductorNotFoundError
from airflow_provider_conductor.client.text import LINE_LIMIT, one_line, readable, to_log
from airflow_provider_conductor.control.conditions import ARGUMENTS, conditions_of_arguments, conditions_of_query
from airflow_provider_conductor.exceptions import (
    AirflowTaskKilledError,
    ConductorArgumentRefusedError,
    ConductorControlFailedError,
    ConductorInvalidStateError,
)
from airflow_provider_conductor.operators.arguments import check_output_path, is_template
from airflow_provider_conductor.operators.base import KILLED, ConductorOperator
from airflow_provider_conductor.operators.waiting import WaitOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor.control.apply import Outcome
    from airflow_provider_conductor.control.commands import Command

DEFAULT_MAX_WORKFLOWS = 100
"""Enough for what a user has in mind when writing a query, too few to end all work of a server by mistake."""


class WorkflowControlOperator(ConductorOperator):
    """One verb for one workflow, several, or those that match conditions."""

    template_fields: Sequence[str] = ("conductor_conn_id", "workflow_id", *ARGUMENTS, "query")

    _verb: ClassVar[str]
    """The function of ``control.commands`` that makes the command, and the attributes that are its arguments."""
    _verb_arguments: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        *,
        workflow_id: str | Sequence[str] | None = None,
        workflow_name: str | Sequence[str] | None = None,
        correlation_id: str | Sequence[str] | None = None,
        status: str | Sequence[str] | None = None,
        started_after: datetime | timedelta | str | None = None,
        started_before: datetime | timedelta | str | None = None,
        ended_after: datetime | timedelta | str | None = None,
        ended_before: datetime | timedelta | str | None = None,
        query: str | None = None,
        max_workflows: int = DEFAULT_MAX_WORKFLOWS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workflow_id = workflow_id
        self.workflow_name = workflow_name
        self.correlation_id = correlation_id
        self.status = status
        self.started_after, self.started_before = started_after, started_before
        self.ended_after, self.ended_before = ended_after, ended_before
        self.query = query
        self.max_workflows = max_workflows
        self._check_selection()

    def _check_selection(self) -> None:
        """Refuse, with a ValueError, contradictions and empty texts when the DAG is parsed."""
        given = {name: getattr(self, name) for name in ("workflow_id", *ARGUMENTS, "query")}
        given = {name: value for name, value in given.items() if value is not None}
        names = set(given)
        narrow = names >= {"workflow_name", "correlation_id"} or names - {"workflow_name", "correlation_id"}
        if names not in ({"workflow_id"}, {"query"}) and not (names and names <= ARGUMENTS.keys() and narrow):
            raise ValueError(
                "select workflows by exactly one of workflow_id, query, or conditions "
                f"({', '.join(ARGUMENTS)}). Workflows must match all conditions; a name or a correlation id alone is "
                f"not enough: give both, or add a status or a time. Given: {', '.join(given) or 'none of them'}"
            )
        for name, value in given.items():
            for item in value if isinstance(value, (list, tuple)) else [value]:
                if item is None or (isinstance(item, str) and not item.strip()):
                    raise ValueError(f"{name} must not be empty: {value!r}")
        # By name: an argument whose template renders to None must not count as omitted, and widen the selection.
        self._given = tuple(given)
        known = {name: value for name, value in given.items() if name in ARGUMENTS and not is_template(value)}
        conditions_of_arguments(known, time.time())
        if self.query is not None and not is_template(self.query):
            conditions_of_query(self.query)
        if isinstance(self.max_workflows, bool) or not isinstance(self.max_workflows, int) or self.max_workflows < 1:
            raise ValueError(f"max_workflows must be a whole number from 1 on, not {self.max_workflows!r}")

    def _command(self) -> Command:
        """The verb with its arguments."""
        from airflow_provider_conductor.control import commands

        command: Command = getattr(commands, self._verb)(**{name: getattr(self, name) for name in self._verb_arguments})
        return command

    def execute(self, context: Context) -> Any:
        self._begin(context)
        workflow_ids = self._select()
        if workflow_ids:
            self._announce(workflow_ids[0])
        return self._apply(workflow_ids).done

    def _select(self) -> list[str]:
        """The ids of the selected workflows."""
        from airflow_provider_conductor.control.selection import Selection, given_ids, select

        if "workflow_id" in self._given:
            return self._checked(lambda: given_ids(self.workflow_id))
        selection = Selection(
            limit=self.max_workflows,
            arguments={name: getattr(self, name) for name in self._given if name in ARGUMENTS},
            query=(self.query or "") if "query" in self._given else None,
        )
        found = self._checked(lambda: self.hook.client.run(select(selection, log=to_log(self.log.info))))
        shown = one_line(selection, LINE_LIMIT)
        if found:
            self.log.info("%s selects %d workflows", shown, len(found))
        else:
            self.log.warning("%s selects no workflow", shown)
        return found

    def _apply(self, workflow_ids: list[str]) -> Outcome:
        """Apply the command where it is due."""
        from airflow_provider_conductor.control.apply import apply
        from airflow_provider_conductor.control.eligibility import Kind

        attempted = not self._run.identity(None, retries=self.retries).begins_series
        command = self._checked(self._command)
        try:
            outcome = self._send(apply(command, workflow_ids, log=to_log(self.log.info), attempted=attempted))
            if self._guard.killed:
                raise AirflowTaskKilledError(KILLED)
        except AirflowTaskKilledError:
            self.on_kill()  # again, for the request that was under way when the task was killed
            raise
        kinds = {refusal.kind for refusal in outcome.refusals.values()}
        if not kinds:
            return outcome
        if len(outcome.refusals) > 1:
            self.log.error("Failed, with reasons: %s", readable(outcome.all_failures, limit=1_000_000))
        if kinds == {Kind.MISSING}:
            raise ConductorNotFoundError(outcome.failure)
        kind = ConductorControlFailedError if Kind.DUE in kinds else ConductorInvalidStateError
        if len(outcome.refusals) > 1:
            raise kind(outcome.failure)
        ((workflow_id, refusal),) = outcome.refusals.items()
        raise kind(outcome.failure, reason=refusal.why, **self._about(workflow_id))


class WaitingControlOperator(WaitOperator, WorkflowControlOperator):
    """A verb after which a workflow runs, and optionally the wait for its end."""

    template_fields: Sequence[str] = (*WorkflowControlOperator.template_fields, "output_path")

    def __init__(self, *, wait_for_completion: bool = False, cancel_on_kill: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.cancel_on_kill = cancel_on_kill
        if wait_for_completion and (self.workflow_id is None or isinstance(self.workflow_id, (list, tuple))):
            raise ValueError(
                "wait_for_completion waits for one workflow: give its id as workflow_id. For several, map this "
                "operator over the ids, or add a mapped ConductorWorkflowSensor after it"
            )

    def execute(self, context: Context) -> Any:
        check_output_path(self.output_path)
        if not self.wait_for_completion:
            return super().execute(context)
        self._begin(context)
        workflow_ids = self._select()
        if len(workflow_ids) != 1:
            raise ConductorArgumentRefusedError(
                f"wait_for_completion waits for one workflow, and workflow_id has {len(workflow_ids)}: nothing was sent"
            )
        (workflow_id,) = workflow_ids
        self._protect(workflow_id)
        self._announce(workflow_id)
        try:
            self._apply(workflow_ids)
        except Exception:  # not Airflow's own timeout, after which it calls on_kill
            self._guard.release()
            raise
        spec = self._wait_spec(workflow_id)
        if self.deferrable:
            self._defer_wait(spec)
        return self._conclude(self._wait_here(spec), spec.deadline)
