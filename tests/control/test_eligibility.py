"""What a verb means in each status: the table, row by row."""

from __future__ import annotations

import pytest

from airflow_provider_conductor.client import Workflow, WorkflowStatus
from airflow_provider_conductor.control import commands
from airflow_provider_conductor.control.eligibility import Kind, Verb, decide
from airflow_provider_conductor.operators import control

ROWS = {
    #              RUNNING    PAUSED     COMPLETED  FAILED     TIMED_OUT  TERMINATED  unknown
    "pause": ("due", "already", "cannot", "cannot", "cannot", "cannot", "missing"),
    "resume": ("cannot", "due", "cannot", "cannot", "cannot", "cannot", "missing"),
    "terminate": ("due", "due", "already", "already", "already", "already", "missing"),
    "restart": ("cannot", "cannot", "due", "due", "due", "due", "missing"),
    "retry": ("already", "cannot", "cannot", "due", "due", "due", "missing"),
    "rerun": ("cannot", "cannot", "due", "due", "due", "due", "missing"),
    "skip": ("due", "cannot", "cannot", "cannot", "cannot", "cannot", "missing"),
    "delete": ("cannot", "cannot", "due", "due", "due", "due", "already"),
}

COLUMNS = (*WorkflowStatus, None)


@pytest.mark.parametrize("verb", Verb)
def test_each_row(verb: Verb) -> None:
    assert tuple(decide(verb, status).kind for status in COLUMNS) == ROWS[verb]


@pytest.mark.parametrize(
    ("verb", "status"),
    [(verb, status) for verb in Verb for status in COLUMNS if decide(verb, status).kind is Kind.CANNOT],
)
def test_what_cannot_be_names_an_operator_that_would_do(verb: Verb, status: WorkflowStatus) -> None:
    named = [name for name in (*control.__all__, "ConductorWorkflowSensor") if name in decide(verb, status).why]
    assert named
    assert f"Conductor{verb.title()}WorkflowOperator" not in named


AFTER_AN_ATTEMPT = {
    ("resume", "RUNNING"),
    ("resume", "COMPLETED"),
    ("restart", "RUNNING"),
    ("rerun", "RUNNING"),
    ("retry", "COMPLETED"),
}


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("status", COLUMNS)
def test_what_an_earlier_attempt_leads_to_is_no_error(verb: Verb, status: WorkflowStatus | None) -> None:
    first, later = decide(verb, status), decide(verb, status, attempted=True)
    if (verb, status) in AFTER_AN_ATTEMPT:
        assert (first.kind, later.kind) == (Kind.CANNOT, Kind.ALREADY)
    else:
        assert later == first


def workflow(status: str, *tasks: tuple[str, str], limit: int = 0, age: int = 0, **fields: object) -> Workflow:
    """A workflow of tasks (reference name, status), ``age`` seconds old, with a timeout of ``limit`` seconds."""
    listed = [
        {"referenceTaskName": ref, "status": state, "seq": seq, "taskId": f"{ref}-{seq}"}
        for seq, (ref, state) in enumerate(tasks, 1)
    ]
    definition = {"timeoutSeconds": limit, "timeoutPolicy": "TIME_OUT_WF", "tasks": []}
    data = {"workflowId": "w1", "status": status, "tasks": listed, "createTime": 1_000_000}
    return Workflow({**data, "workflowDefinition": definition, **fields}, observed_at=1_000_000 + age * 1_000)


@pytest.mark.parametrize(
    ("status", "task", "kind"),
    [
        ("RUNNING", None, "due"),
        ("RUNNING", "SKIPPED", "already"),
        ("COMPLETED", "SKIPPED", "already"),
        ("FAILED", "SKIPPED", "already"),
        ("RUNNING", "SCHEDULED", "cannot"),
        ("RUNNING", "COMPLETED", "cannot"),
        ("PAUSED", None, "cannot"),
        ("COMPLETED", None, "cannot"),
    ],
)
def test_a_skip_depends_on_the_task_too(status: str, task: str | None, kind: str) -> None:
    tasks = [("pack", "COMPLETED")] + ([("ship", task)] if task else [])
    assert commands.skip("ship").decide(workflow(status, *tasks)).kind == kind


def test_a_rerun_begins_with_the_latest_attempt() -> None:
    found = workflow("FAILED", ("pack", "COMPLETED"), ("ship", "FAILED"), ("ship", "FAILED"))
    call = commands.rerun(from_task_ref="ship", task_input={"a": 1}).one(found)
    assert call.body == {"reRunFromWorkflowId": "w1", "reRunFromTaskId": "ship-3", "taskInput": {"a": 1}}


def test_a_rerun_from_a_task_it_never_came_to_names_those_it_came_to() -> None:
    found = workflow("FAILED", ("pack", "FAILED"), ("pack", "FAILED"))
    decision = commands.rerun(from_task_ref="ship").decide(found)
    assert decision.kind is Kind.CANNOT
    assert "'ship' (it reached: pack)" in decision.why


def test_a_rerun_cannot_begin_with_a_skipped_task() -> None:
    found = workflow("COMPLETED", ("ship", "SKIPPED"), ("pack", "COMPLETED"))
    decision = commands.rerun(from_task_ref="ship").decide(found)
    assert decision.kind is Kind.CANNOT
    assert "'ship' was skipped" in decision.why


def test_a_rerun_from_a_sub_workflow_would_not_run_it() -> None:
    found = workflow("COMPLETED", ("pack", "COMPLETED"), ("ship", "COMPLETED"))
    assert commands.rerun(from_task_ref="ship").decide(found).kind is Kind.DUE
    found.data["tasks"][1]["subWorkflowId"] = "8"
    decision = commands.rerun(from_task_ref="ship").decide(Workflow(found.data))
    assert decision.kind is Kind.CANNOT
    assert "'ship' would keep the sub-workflow 8, which would not run again" in decision.why


@pytest.mark.parametrize(
    ("limit", "age", "fields", "kind"),
    [
        (60, 61, {}, "cannot"),
        (60, 59, {}, "due"),
        (0, 9_999, {}, "due"),
        (60, 90, {"lastRetriedTime": 1_040_000}, "due"),
        (60, 120, {"lastRetriedTime": 1_040_000}, "cannot"),
    ],
)
def test_a_rerun_after_the_workflows_time_out_would_be_in_vain(
    limit: int, age: int, fields: dict[str, int], kind: str
) -> None:
    assert commands.rerun().decide(workflow("FAILED", limit=limit, age=age, **fields)).kind == kind
    assert commands.retry().decide(workflow("FAILED", limit=limit, age=age, **fields)).kind == "due"


@pytest.mark.parametrize(
    ("definition", "alone"),
    [
        ({"tasks": [{"type": "SIMPLE"}]}, False),
        ({"tasks": [{"type": "SWITCH", "decisionCases": {"a": [{"type": "SUB_WORKFLOW"}]}}]}, True),
        ({"tasks": [{"type": "FORK_JOIN_DYNAMIC"}]}, True),
        (None, True),
    ],
)
def test_bulk_retries_only_what_has_no_sub_workflows_to_resume(definition: object, alone: bool) -> None:
    found = workflow("FAILED", workflowDefinition=definition)
    assert commands.retry(resume_subworkflow_tasks=True).one_by_one(found) is alone
    assert commands.retry(resume_subworkflow_tasks=False).one_by_one(found) is False


@pytest.mark.parametrize(
    ("command", "before", "after", "shows"),
    [
        (commands.pause(), {"status": "RUNNING"}, {"status": "PAUSED"}, True),
        (commands.pause(), {"status": "RUNNING"}, {"status": "RUNNING"}, False),
        (commands.resume(), {"status": "PAUSED"}, {"status": "COMPLETED"}, True),
        (commands.resume(), {"status": "PAUSED"}, {"status": "PAUSED"}, False),
        (commands.terminate("why"), {"status": "RUNNING"}, {"status": "TERMINATED"}, True),
        (commands.terminate("why"), {"status": "RUNNING"}, None, False),
        (commands.restart(), {"status": "FAILED"}, {"status": "RUNNING"}, True),
        (commands.restart(), {"status": "FAILED", "endTime": 5}, {"status": "FAILED", "endTime": 9}, True),
        (commands.retry(), {"status": "FAILED", "endTime": 5}, {"status": "FAILED", "endTime": 5}, False),
        (commands.delete(archive=False), {"status": "FAILED"}, None, True),
        (commands.delete(archive=False), {"status": "FAILED"}, {"status": "FAILED"}, False),
        (commands.delete(archive=True), {"status": "FAILED"}, {"status": "FAILED"}, True),
    ],
)
def test_an_effect_shows_or_not(
    command: commands.Command, before: dict[str, object], after: dict[str, object] | None, shows: bool
) -> None:
    assert command.has_effect(Workflow(before), None if after is None else Workflow(after)) is shows


@pytest.mark.parametrize(
    ("status", "tasks", "why"),
    [
        ("FAILED", [("pack", "FAILED")], ""),
        ("FAILED", [("pack", "COMPLETED"), ("ship", "CANCELED")], ""),
        ("FAILED", [("pack", "FAILED"), ("pack", "COMPLETED")], "none of its tasks has failed"),
        ("FAILED", [("pack", "COMPLETED"), ("ship", "SKIPPED")], "none of its tasks has failed"),
        ("TERMINATED", [("pack", "COMPLETED")], "none of its tasks has failed"),
        ("TIMED_OUT", [("pack", "COMPLETED")], ""),
        ("FAILED", [("pack", "COMPLETED"), ("stop", "COMPLETED")], "its task 'stop' (TERMINATE) has ended it"),
        ("FAILED", [("pack", "CANCELED"), ("stop", "COMPLETED")], "its task 'stop' (TERMINATE) has ended it"),
        ("FAILED", [("pack", "FAILED"), ("stop", "CANCELED")], ""),
        ("FAILED", [], ""),
    ],
)
def test_a_retry_may_be_in_vain(status: str, tasks: list[tuple[str, str]], why: str) -> None:
    found = workflow(status, *tasks)
    for task in found.data["tasks"]:
        task["taskType"] = "TERMINATE" if task["referenceTaskName"] == "stop" else "SIMPLE"
    decision = commands.retry().decide(found)
    assert why in decision.why
    assert decision.kind is (Kind.CANNOT if why else Kind.DUE)


@pytest.mark.parametrize(
    ("ended", "resumes"),
    [
        ({"pack": "FAILED"}, True),
        ({"sub": "FAILED"}, True),
        ({"sub": "FAILED", "pack": "COMPLETED", "join": "FAILED"}, True),
        ({"sub": "CANCELED", "pack": "FAILED"}, False),
        ({"sub": "FAILED", "sub_2": "FAILED"}, False),
    ],
)
def test_a_retry_continues_a_sub_workflow_only_where_nothing_else_has_failed(
    ended: dict[str, str], resumes: bool
) -> None:
    """The server continues the first and retries nothing else, and the workflow fails again for the other."""
    kinds = {"sub": "SUB_WORKFLOW", "sub_2": "SUB_WORKFLOW", "join": "JOIN"}
    tasks = [
        {"referenceTaskName": ref, "taskType": kinds.get(ref, "SIMPLE"), "status": status, "taskId": ref}
        for ref, status in ended.items()
    ]
    found = Workflow({"workflowId": "w1", "status": "FAILED", "tasks": tasks})
    for wanted in (True, False):
        sent = commands.retry(resume_subworkflow_tasks=wanted).one(found)
        assert dict(sent.params) == {"resumeSubworkflowTasks": "true" if wanted and resumes else "false"}
