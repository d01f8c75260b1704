"""The API's verbs as methods, named and ordered as in the Python SDK's client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from airflow_provider_conductor.client import endpoints, flows
from airflow_provider_conductor.client.flow import Call, Flow
from airflow_provider_conductor.client.flows import Capabilities
from airflow_provider_conductor.client.models import (
    BulkResult,
    PollData,
    SearchResult,
    StartWorkflowRequest,
    Task,
    TaskSearchResult,
    TaskStatus,
    Workflow,
)

__all__ = ["ClientMethods"]

T = TypeVar("T")


class ClientMethods(ABC):
    """What can be asked of Conductor. Every method raises a ``ConductorRequestError`` when the request fails and a
    ``ConductorInputError``, before anything is sent, when an argument cannot be right."""

    capabilities: Capabilities

    @abstractmethod
    def send(self, call: Call[T]) -> T: ...

    @abstractmethod
    def run(self, flow: Flow[T]) -> T: ...

    # Start

    def start_workflow(self, request: StartWorkflowRequest | Mapping[str, Any] | Any) -> str:
        """Start a workflow; returns its id. Takes our request, a dict with the server's names, or the SDK's."""
        return self.send(endpoints.start_workflow(request))

    def start_workflow_by_name(
        self,
        name: str,
        workflow_input: Mapping[str, Any] | None = None,
        version: int | None = None,
        correlation_id: str | None = None,
        priority: int | None = None,
    ) -> str:
        """Start the named definition (``version=None``: its latest); returns the workflow's id."""
        return self.send(
            endpoints.start_workflow_by_name(
                name, workflow_input, version=version, correlation_id=correlation_id, priority=priority
            )
        )

    def execute_workflow(
        self,
        request: StartWorkflowRequest | Mapping[str, Any] | Any,
        request_id: str | None = None,
        workflow_name: str | None = None,
        version: int | None = None,
        wait_until_task_ref: str | None = None,
        wait_for_seconds: float = 10,
    ) -> Workflow:
        """Start, and wait up to ``wait_for_seconds`` (any value) for the end or for that task's end.

        Returns the workflow as it then is: RUNNING, with empty output, is an answer and not an error. No single
        request is held longer than 25 s, since a stock server answers 500 past about 30 s and runs on.
        """
        return self.run(
            flows.execute_workflow(
                self.capabilities, request, request_id, workflow_name, version, wait_until_task_ref, wait_for_seconds
            )
        )

    def test_workflow(self, request: Mapping[str, Any] | Any) -> Workflow:
        """The server's dry run with mocked task outputs (``taskRefToMockOutput``); returns the finished workflow."""
        return self.send(endpoints.test_workflow(request))

    # Read

    def get_workflow(self, workflow_id: str, include_tasks: bool = True) -> Workflow:
        """The execution, with or without its tasks."""
        return self.send(endpoints.get_workflow(workflow_id, include_tasks=include_tasks))

    def get_workflow_status(
        self, workflow_id: str, include_output: bool = False, include_variables: bool = False
    ) -> Workflow:
        """The status, without tasks; on servers without ``/status``, the execution without tasks."""
        return self.run(
            flows.get_workflow_status(
                self.capabilities, workflow_id, include_output=include_output, include_variables=include_variables
            )
        )

    def search_workflows(
        self,
        query: str | None = None,
        free_text: str = "*",
        start: int = 0,
        size: int = 100,
        sort: str | None = None,
    ) -> SearchResult:
        """Summaries from the index (eventually consistent), e.g. ``query="status IN (RUNNING)"``."""
        return self.send(
            endpoints.search_workflows(query=query, free_text=free_text, start=start, size=size, sort=sort)
        )

    def search_workflows_by_tasks(
        self,
        query: str | None = None,
        free_text: str = "*",
        start: int = 0,
        size: int = 100,
        sort: str | None = None,
    ) -> SearchResult:
        """Summaries of workflows that have such tasks, e.g. ``query="taskDefName IN (ship)"``."""
        return self.send(
            endpoints.search_workflows_by_tasks(query=query, free_text=free_text, start=start, size=size, sort=sort)
        )

    def get_by_correlation_ids(
        self,
        name: str,
        correlation_ids: Sequence[str],
        include_closed: bool = True,
        include_tasks: bool = False,
    ) -> dict[str, tuple[Workflow, ...]]:
        """Workflows of this name by correlation id; ended ones are included unless told otherwise."""
        return self.send(
            endpoints.get_by_correlation_ids(
                name, correlation_ids, include_closed=include_closed, include_tasks=include_tasks
            )
        )

    def get_running_workflows(self, name: str, version: int = 1) -> list[str]:
        """Ids of the running workflows of this name and version; with some databases (SQLite) of all its versions."""
        return self.send(endpoints.get_running_workflows(name, version=version))

    def get_workflow_tasks(
        self, workflow_id: str, statuses: Sequence[TaskStatus | str] = (), start: int = 0, count: int = 100
    ) -> TaskSearchResult:
        """A page of its tasks, of these statuses; ``ConductorMissingRouteError`` on old servers."""
        return self.send(endpoints.get_workflow_tasks(workflow_id, statuses=statuses, start=start, count=count))

    # Control

    def decide_workflow(self, workflow_id: str) -> None:
        """Let the server look at it now, as it does by itself every now and then."""
        self.send(endpoints.decide_workflow(workflow_id))

    def reset_workflow_callbacks(self, workflow_id: str) -> None:
        """Make its tasks that were put off (by their worker, or for a retry) due now."""
        self.send(endpoints.reset_workflow_callbacks(workflow_id))

    def pause_workflow(self, workflow_id: str) -> None:
        """Schedule no further tasks."""
        self.send(endpoints.pause_workflow(workflow_id))

    def resume_workflow(self, workflow_id: str) -> None:
        """Undo a pause; an error on a workflow that is not paused."""
        self.send(endpoints.resume_workflow(workflow_id))

    def terminate_workflow(self, workflow_id: str, reason: str | None = None) -> None:
        """End it as TERMINATED, whatever it was: FAILED and TIMED_OUT are overwritten."""
        self.send(endpoints.terminate_workflow(workflow_id, reason))

    def restart_workflow(self, workflow_id: str, use_latest_def: bool = False) -> None:
        """Run an ended workflow again from its start, under the same id."""
        self.send(endpoints.restart_workflow(workflow_id, use_latest_def=use_latest_def))

    def retry_workflow(self, workflow_id: str, resume_subworkflow_tasks: bool = False) -> None:
        """Run on from the failed tasks; of a failed sub-workflow, from its failed task or as a whole."""
        self.send(endpoints.retry_workflow(workflow_id, resume_subworkflow_tasks=resume_subworkflow_tasks))

    def rerun_workflow(
        self,
        workflow_id: str,
        re_run_from_task_id: str | None = None,
        task_input: Mapping[str, Any] | None = None,
        workflow_input: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
    ) -> str:
        """Run again from a task (by its id), or from the start, with new inputs; returns the same id."""
        return self.send(
            endpoints.rerun_workflow(
                workflow_id,
                re_run_from_task_id=re_run_from_task_id,
                task_input=task_input,
                workflow_input=workflow_input,
                correlation_id=correlation_id,
            )
        )

    def skip_task_from_workflow(
        self,
        workflow_id: str,
        task_reference_name: str,
        task_input: Mapping[str, Any] | None = None,
        task_output: Mapping[str, Any] | None = None,
    ) -> None:
        """Mark a task that is not yet scheduled as SKIPPED, with this output (texts, numbers, booleans)."""
        self.send(
            endpoints.skip_task_from_workflow(
                workflow_id, task_reference_name, task_input=task_input, task_output=task_output
            )
        )

    def delete_workflow(self, workflow_id: str, archive_workflow: bool = True) -> None:
        """Remove it from the database; archived, it stays in the index."""
        self.send(endpoints.delete_workflow(workflow_id, archive_workflow=archive_workflow))

    def terminate_and_delete_workflow(
        self, workflow_id: str, reason: str | None = None, archive_workflow: bool = True
    ) -> None:
        """End it if it runs, and remove it; ``ConductorMissingRouteError`` on old servers."""
        self.send(endpoints.terminate_and_delete_workflow(workflow_id, reason, archive_workflow=archive_workflow))

    # Control many: up to 1,000 ids a call, a result for each

    def bulk_pause(self, workflow_ids: Iterable[str]) -> BulkResult:
        return self.send(endpoints.bulk_pause(workflow_ids))

    def bulk_resume(self, workflow_ids: Iterable[str]) -> BulkResult:
        return self.send(endpoints.bulk_resume(workflow_ids))

    def bulk_restart(self, workflow_ids: Iterable[str], use_latest_def: bool = False) -> BulkResult:
        return self.send(endpoints.bulk_restart(workflow_ids, use_latest_def=use_latest_def))

    def bulk_retry(self, workflow_ids: Iterable[str]) -> BulkResult:
        return self.send(endpoints.bulk_retry(workflow_ids))

    def bulk_terminate(self, workflow_ids: Iterable[str], reason: str | None = None) -> BulkResult:
        return self.send(endpoints.bulk_terminate(workflow_ids, reason))

    def bulk_terminate_and_delete(
        self, workflow_ids: Iterable[str], reason: str | None = None, archive_workflow: bool = True
    ) -> BulkResult:
        return self.send(endpoints.bulk_terminate_and_delete(workflow_ids, reason, archive_workflow=archive_workflow))

    def bulk_delete(self, workflow_ids: Iterable[str], archive_workflow: bool = True) -> BulkResult:
        return self.send(endpoints.bulk_delete(workflow_ids, archive_workflow=archive_workflow))

    # Tasks and their queues

    def poll_task(self, task_type: str, worker_id: str | None = None, domain: str | None = None) -> Task | None:
        """Take a task as a worker would; None where there is none."""
        return self.send(endpoints.poll_task(task_type, worker_id=worker_id, domain=domain))

    def update_task(
        self,
        workflow_id: str,
        task_id: str,
        status: TaskStatus | str,
        output: Mapping[str, Any] | None = None,
        reason: str | None = None,
        worker_id: str | None = None,
        callback_after_seconds: int | None = None,
        logs: Sequence[str] = (),
    ) -> str:
        """Report a task's result as a worker would; returns the task's id."""
        return self.send(
            endpoints.update_task(
                workflow_id,
                task_id,
                status,
                output=output,
                reason=reason,
                worker_id=worker_id,
                callback_after_seconds=callback_after_seconds,
                logs=logs,
            )
        )

    def update_task_by_ref_name(
        self,
        workflow_id: str,
        task_ref_name: str,
        status: TaskStatus | str,
        output: Mapping[str, Any] | None = None,
        worker_id: str | None = None,
    ) -> str:
        """Report the result of the open task of this reference name; returns its id, "" where none is open."""
        return self.send(
            endpoints.update_task_by_ref_name(workflow_id, task_ref_name, status, output, worker_id=worker_id)
        )

    def update_task_sync(
        self,
        workflow_id: str,
        task_ref_name: str,
        status: TaskStatus | str,
        output: Mapping[str, Any] | None = None,
        worker_id: str | None = None,
    ) -> Workflow:
        """The same; returns the workflow, and raises ``ConductorNotFoundError`` where no such task is open."""
        return self.send(endpoints.update_task_sync(workflow_id, task_ref_name, status, output, worker_id=worker_id))

    def signal_workflow_task_async(
        self, workflow_id: str, status: TaskStatus | str, output: Mapping[str, Any] | None = None
    ) -> None:
        """End the first open WAIT, here or in a running sub-workflow; nothing tells whether there was one."""
        self.send(endpoints.signal_workflow_task_async(workflow_id, status, output))

    def signal_workflow_task_sync(
        self,
        workflow_id: str,
        status: TaskStatus | str,
        output: Mapping[str, Any] | None = None,
        hold_seconds: float = 5,
    ) -> Workflow:
        """The same; returns the workflow, ended or at its next WAIT or as it is after ``hold_seconds``.

        ``ConductorNotFoundError`` where no WAIT is open.
        """
        return self.send(endpoints.signal_workflow_task_sync(workflow_id, status, output, hold_seconds=hold_seconds))

    def get_task(self, task_id: str) -> Task | None:
        return self.send(endpoints.get_task(task_id))

    def log_task(self, task_id: str, line: str) -> None:
        """Append a line to a task's log."""
        self.send(endpoints.log_task(task_id, line))

    def get_task_logs(self, task_id: str) -> tuple[str, ...]:
        """The lines workers logged for a task, oldest first."""
        return self.send(endpoints.get_task_logs(task_id))

    def get_poll_data(self, task_type: str) -> tuple[PollData, ...]:
        """Who polled this task's queues last, one entry a domain."""
        return self.send(endpoints.get_poll_data(task_type))

    def get_queue_sizes(self, task_types: Sequence[str]) -> dict[str, int]:
        """How many tasks wait in each queue."""
        return self.send(endpoints.get_queue_sizes(task_types))

    def get_all_poll_data(self) -> tuple[PollData, ...]:
        """Who polled last, for every queue somebody ever polled."""
        return self.send(endpoints.get_all_poll_data())

    def get_queue_size(self, task_type: str, domain: str | None = None) -> int:
        """How many tasks wait in one queue, of a domain if told."""
        return self.send(endpoints.get_queue_size(task_type, domain=domain))

    def get_all_queue_sizes(self) -> dict[str, int]:
        """How many tasks wait in each queue there is, the server's own among them."""
        return self.send(endpoints.get_all_queue_sizes())

    def requeue_tasks(self, task_type: str) -> str:
        """Put scheduled tasks that have got lost from their queue back into it."""
        return self.send(endpoints.requeue_tasks(task_type))

    def search_tasks(
        self,
        query: str | None = None,
        free_text: str = "*",
        start: int = 0,
        size: int = 100,
        sort: str | None = None,
    ) -> TaskSearchResult:
        """Summaries from the index (eventually consistent), e.g. ``query="status IN (FAILED)"``."""
        return self.send(endpoints.search_tasks(query=query, free_text=free_text, start=start, size=size, sort=sort))

    # Definitions

    def register_workflow_defs(self, definitions: Sequence[Any] | Any) -> BulkResult | None:
        """Create or replace workflow definitions (one or several; dicts or SDK objects)."""
        return self.send(endpoints.register_workflow_defs(definitions))

    def validate_workflow_def(self, definition: Mapping[str, Any] | Any) -> None:
        """Let the server check a workflow definition without keeping it."""
        self.send(endpoints.validate_workflow_def(definition))

    def get_workflow_def(self, name: str, version: int | None = None) -> dict[str, Any]:
        return self.send(endpoints.get_workflow_def(name, version=version))

    def get_workflow_defs(self) -> list[dict[str, Any]]:
        """All workflow definitions, in all their versions."""
        return self.send(endpoints.get_workflow_defs())

    def get_workflow_names_and_versions(self) -> dict[str, list[int]]:
        """The versions there are of each workflow, lowest first."""
        return self.send(endpoints.get_workflow_names_and_versions())

    def unregister_workflow_def(self, name: str, version: int) -> None:
        self.send(endpoints.unregister_workflow_def(name, version))

    def register_task_defs(self, definitions: Sequence[Any] | Any) -> None:
        """Create task definitions (one or several; dicts or SDK objects), replacing those of the same name."""
        self.send(endpoints.register_task_defs(definitions))

    def get_task_def(self, name: str) -> dict[str, Any]:
        return self.send(endpoints.get_task_def(name))

    def unregister_task_def(self, name: str) -> None:
        self.send(endpoints.unregister_task_def(name))

    def get_task_defs(self) -> list[dict[str, Any]]:
        return self.send(endpoints.get_task_defs())
