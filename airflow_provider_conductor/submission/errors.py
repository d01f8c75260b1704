"""Why a start did not lead to a workflow that can be waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.client.text import one_line

if TYPE_CHECKING:
    from airflow_provider_conductor.client.models import Workflow


class StartRefusedError(ConductorError):
    """The server refused the start: there is no such definition, or it does not accept the request."""


class WorkflowTerminatedError(ConductorError):
    """A user has terminated the workflow of this try series, so no try runs it again."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.workflow_id = workflow.workflow_id
        super().__init__(
            f"workflow {workflow.workflow_id} was terminated by somebody else "
            f"({one_line(workflow.reason) or 'no reason given'}), so it is not run again; "
            "clear the task to start a new one"
        )


class WorkflowGoneError(ConductorError):
    """An earlier try of this series started a workflow that the server no longer knows."""

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id
        super().__init__(
            f"workflow {workflow_id}, which an earlier try started, is gone: neither the server nor its search index "
            "has it, so how it ended is unknown. It is not started a second time, since it may have done its work; "
            "clear the task to start a new one"
        )


class TaskKilledError(Exception):
    """The Airflow task was killed, and nothing more was sent for it."""
