"""What a step's task waits for after a failure, since the server does it a moment later."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_conductor.exceptions import ConductorWorkflowFailedPermanentlyError
from airflow_provider_conductor.task_groups import step
from airflow_provider_conductor.testing import ConductorStandIn
from tests.polling.builders import failed, sub, task
from tests.task_groups.group_run import GroupRun
from tests.task_groups.worker import group_of

Later = Callable[[], None]


def simple(ref: str, kind: str = "SIMPLE", **fields: Any) -> dict[str, Any]:
    return {"name": ref, "taskReferenceName": ref, "type": kind, **fields}


def nested(ref: str, *tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    inline = {"name": ref, "workflowDefinition": {"name": ref, "tasks": list(tasks)}}
    return simple(ref, "SUB_WORKFLOW", subWorkflowParam=inline, **fields)


class Moments:
    """The server's next deeds, of which each pause of a task lets one happen; ``left`` are those to come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: list[Later] = []
        self.pauses: list[float] = []
        monkeypatch.setattr(step, "time", SimpleNamespace(sleep=self._pass))

    def _pass(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if self.left:
            self.left.pop(0)()


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    return Moments(monkeypatch)


def error_of(monkeypatch: pytest.MonkeyPatch, workflow_id: str, name: str, *tasks: dict[str, Any]) -> str:
    """What the task of a step raises that follows this workflow, in a group of these tasks."""
    run = GroupRun(group_of({"name": "orders", "version": 1, "tasks": list(tasks)}), monkeypatch)
    run.store["flow.start", "workflow_id"] = workflow_id
    with pytest.raises(ConductorWorkflowFailedPermanentlyError) as raised:
        run.tasks[name].execute(run.context(name))
    return str(raised.value)


@pytest.mark.parametrize(
    ("written", "named", "pauses"),
    [
        ("undone-7", "Its failure workflow is undone-7.", 2),
        ("no such workflow", "Its failure workflow did not start: no such workflow", 2),
        (None, "", step.SETTLING),
    ],
)
def test_the_error_names_the_failure_workflow_that_starts_later(
    conductor: ConductorStandIn,
    monkeypatch: pytest.MonkeyPatch,
    moments: Moments,
    written: str | None,
    named: str,
    pauses: int,
) -> None:
    workflow_id = conductor.add("FAILED", tasks=[failed("pack", reason="out of boxes")])
    workflow = conductor.workflows[workflow_id]
    workflow["workflowDefinition"]["failureWorkflow"] = "undo"

    def start_failure_workflow() -> None:
        workflow["output"] = {"conductor.failure_workflow": written}

    moments.left = [lambda: None, start_failure_workflow]
    message = error_of(monkeypatch, workflow_id, "pack", simple("pack"))
    assert "pack failed" in message
    assert named in message
    assert ("Its failure workflow" in message) is bool(named)
    assert moments.pauses == [step.SETTLING_PAUSE] * pauses


def test_nothing_is_waited_for_without_a_failure_workflow(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, moments: Moments
) -> None:
    workflow_id = conductor.add("FAILED", tasks=[failed("pack")])
    assert "pack failed" in error_of(monkeypatch, workflow_id, "pack", simple("pack"))
    assert moments.pauses == []


def test_a_failed_step_ends_when_its_workflow_has(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, moments: Moments
) -> None:
    """A clear before that is refused, since the workflow is still running."""
    workflow_id = conductor.add("RUNNING", tasks=[failed("pack")])
    moments.left = [lambda: None, lambda: conductor.end(workflow_id, "FAILED")]
    message = error_of(monkeypatch, workflow_id, "pack", simple("pack"))
    assert message.startswith(f"Workflow orders ({workflow_id}) failed: pack failed")
    assert len(moments.pauses) == 2


def test_a_failed_step_of_a_sub_workflow_ends_when_all_above_it_has(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, moments: Moments
) -> None:
    """The server ends level after level; a clear before the last finds that one running, and retries nothing."""
    inner = conductor.add("FAILED", tasks=[failed("wrap")], name="box")
    middle = conductor.add("RUNNING", tasks=[sub("box", inner)], name="parcel")
    outer = conductor.add("RUNNING", tasks=[sub("parcel", middle)])
    above = {"kind": "SUB_WORKFLOW", "started": 0}
    moments.left = [
        lambda: conductor.has_tasks(middle, failed("box", subWorkflowId=inner, **above)),
        lambda: conductor.end(middle, "FAILED"),
        lambda: conductor.has_tasks(outer, failed("parcel", subWorkflowId=middle, **above)),
        lambda: conductor.end(outer, "FAILED"),
    ]
    monkeypatch.setattr(step, "SETTLING", 9)
    tasks = nested("parcel", nested("box", simple("wrap")))
    assert "wrap failed" in error_of(monkeypatch, outer, "parcel.box.wrap", tasks)
    assert (len(moments.pauses), moments.left) == (4, [])


def test_the_workflow_above_an_optional_sub_workflow_is_not_waited_for(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, moments: Moments
) -> None:
    inner = conductor.add("FAILED", tasks=[failed("wrap")], name="parcel")
    done = sub("parcel", inner, "COMPLETED_WITH_ERRORS", in_workflow={"optional": True})
    outer = conductor.add("RUNNING", tasks=[done, task("ship", seq=2)])
    tasks = nested("parcel", simple("wrap"), optional=True), simple("ship")
    assert "wrap failed" in error_of(monkeypatch, outer, "parcel.wrap", *tasks)
    assert moments.pauses == []


def test_a_server_that_never_ends_it_is_not_waited_for_long(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, moments: Moments
) -> None:
    workflow_id = conductor.add("RUNNING", tasks=[failed("pack")])
    assert "pack failed" in error_of(monkeypatch, workflow_id, "pack", simple("pack"))
    assert len(moments.pauses) == step.SETTLING
