"""Which task a signal completes."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client.flow import Call, drive
from airflow_provider_conductor.control.task_choice import Completion, CompletionRefusedError
from airflow_provider_conductor.control.task_completion import signal
from tests.polling.builders import sub, task, workflow


def signalled(*tasks: dict[str, Any], child: tuple[dict[str, Any], ...] = ()) -> str:
    """The reference name of the task that a signal completes."""
    top, below = workflow(*tasks), workflow(*child)

    def do(step: Any) -> Any:
        if not isinstance(step, Call):
            return None
        if step.method == "GET":
            return below if step.path.endswith(sub("below")["subWorkflowId"]) else top
        for done in (*top.data["tasks"], *below.data["tasks"]):
            if done["taskId"] == step.body["taskId"]:
                done["status"] = step.body["status"]
        return None

    return drive(signal(top.workflow_id, Completion(), log=lambda line: None), do).reference_name


def wait(ref: str, status: str) -> dict[str, Any]:
    return task(ref, status, kind="WAIT")


def test_a_signal_completes_the_first_open_wait_in_the_workflows_order() -> None:
    human = task("h", "IN_PROGRESS", kind="HUMAN")
    assert signalled(wait("a", "COMPLETED"), human, wait("b", "IN_PROGRESS"), wait("c", "IN_PROGRESS")) == "b"


def test_sub_workflows_come_after_the_workflow_itself() -> None:
    below = (wait("below", "IN_PROGRESS"),)
    assert signalled(sub("s"), wait("b", "IN_PROGRESS"), child=below) == "b"
    with pytest.raises(CompletionRefusedError, match="no WAIT task is open"):
        signalled(task("pack"))
