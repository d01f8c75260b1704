"""What of a workflow's output becomes a task's result: fetched, picked, bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.client.models import PayloadType
from airflow_provider_conductor.client.output_path import MissingPart, OutputPath
from airflow_provider_conductor.exceptions import ConductorOutputMissing, ConductorOutputTooLarge

if TYPE_CHECKING:
    from airflow_provider_conductor.client.models import Task, Workflow
    from airflow_provider_conductor.hooks.conductor import ConductorHook

__all__ = ["Output"]


@dataclass(frozen=True, slots=True)
class Output:
    """An output as the server answered it.

    Args:
        value: what was answered; empty where the output is kept elsewhere.
        stored_at: the path in Conductor's external payload storage, or "".
        payload_type: whose output it is, as that storage is asked.
        name: the output in messages.
    """

    value: Mapping[str, Any]
    stored_at: str
    payload_type: PayloadType
    name: str

    @classmethod
    def of_workflow(cls, workflow: Workflow) -> Output:
        name = f"the output of workflow {workflow.workflow_id}"
        return cls(workflow.output, workflow.external_output_path, PayloadType.WORKFLOW_OUTPUT, name)

    @classmethod
    def of_task(cls, task: Task, workflow_id: str) -> Output:
        name = f"the output of task {task.reference_name} of workflow {workflow_id}"
        return cls(task.output, task.external_output_path, PayloadType.TASK_OUTPUT, name)

    def for_xcom(self, hook: ConductorHook, *, output_path: str | None, limit: int) -> Any:
        """The output, or the part of it that ``output_path`` picks, if its JSON is within ``limit`` bytes.

        Raises:
            ConductorOutputTooLarge: it is over the limit, or kept where it cannot be fetched from.
            ConductorOutputMissing: there is no such part; the message names what there is.
            ConductorRequestError: it is kept elsewhere and could not be fetched now.
        """
        value: Any = dict(self.value)
        if self.stored_at and not value:
            value = self._fetched(hook)
        if output_path:
            try:
                value = OutputPath.of(output_path).pick(value)
            except MissingPart as error:
                raise ConductorOutputMissing(
                    f"{self.name} has no part at output_path={output_path!r}: {error}. Nothing was written to XCom; "
                    "correct the path, or let the workflow return that part (its outputParameters)"
                ) from None
        size = len(json.dumps(value, default=str).encode())
        if size > limit:
            what = f"the part {output_path!r} of {self.name}" if output_path else self.name
            raise ConductorOutputTooLarge(
                f"{what} has {size:,} bytes, over max_output_bytes={limit:,}; nothing was written to XCom. Let the "
                "workflow return less (its outputParameters), pick a part (output_path), read it with ConductorHook, "
                "or raise max_output_bytes"
            )
        return value

    def _fetched(self, hook: ConductorHook) -> dict[str, Any]:
        from airflow_provider_conductor.client.payloads import PayloadNotOffered, fetch_payload

        try:
            return fetch_payload(hook.client, self.stored_at, self.payload_type)
        except PayloadNotOffered as error:
            raise ConductorOutputTooLarge(
                f"{self.name} is in Conductor's external payload storage, at {self.stored_at}, and cannot be fetched "
                f"from there: {error}; nothing was written to XCom. Let the workflow return less (its "
                "outputParameters), or read it from there"
            ) from error
