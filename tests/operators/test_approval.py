"""An approval from either side, with stand-ins for both: what is asked, who wins, and what becomes of the task."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Param, TaskDeferred

from airflow_provider_conductor import _required_actions
from airflow_provider_conductor.control import approval as settling
from airflow_provider_conductor.exceptions import (
    ConductorApprovalRejectedError,
    ConductorArgumentRefusedError,
    ConductorInvalidStateError,
    ConductorPermanentError,
    ConductorTaskUnreachableError,
    ConductorTriggerEventError,
    ConductorWorkflowFailedError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.operators import ConductorApprovalOperator
from airflow_provider_conductor.testing import ConductorStandIn
from airflow_provider_conductor.triggers import answers
from tests.operators.airflow_standin import context_of, first_event, resume, sent_through_airflow
from tests.operators.required_actions import USER, AlreadyAnsweredError, RequiredActions

TI_ID = "01a21d40-fe00-79c1-b000-9a6827dbd971"

HUMAN = {
    "taskId": "7",
    "referenceTaskName": "approve",
    "taskType": "HUMAN",
    "status": "IN_PROGRESS",
    "inputData": {"amount": 7},
}

since_3_1 = pytest.mark.airflow_versions(since="3.1")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "CONFIRM_AFTER", 0.01)
    monkeypatch.setattr(answers, "INTERVAL", 0.05)
    monkeypatch.setattr(answers, "GAP", 0.01)


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> RequiredActions:
    return RequiredActions().install(monkeypatch)


def operator(**arguments: Any) -> ConductorApprovalOperator:
    defaults = {"task_id": "approve", "workflow_id": "abc", "task_reference_name": "approve", "poll_interval": 0.1}
    return ConductorApprovalOperator(**{**defaults, **arguments})


class Approval:
    """One try of an approval that has been asked."""

    def __init__(self, conductor: ConductorStandIn, actions: RequiredActions, **arguments: Any) -> None:
        task = arguments.pop("task", HUMAN)
        self.conductor, self.actions = conductor, actions
        self.workflow_id = conductor.add(tasks=[dict(task)])
        self.operator = operator(workflow_id=self.workflow_id, **arguments)
        self.context = context_of(self.operator, conductor.journal)
        self.context["ti"].id = TI_ID
        with pytest.raises(TaskDeferred) as raised:
            self.operator.execute(self.context)
        self.deferral = raised.value

    @property
    def task(self) -> dict[str, Any]:
        task: dict[str, Any] = self.conductor.workflows[self.workflow_id]["tasks"][0]
        return task

    def answer(self, *chosen: str, **params: Any) -> Any:
        """Answer in Airflow; returns what the task is resumed with."""
        event = self.actions.answer(TI_ID, list(chosen), params)
        return event if _required_actions.answers_resume_tasks() else self.event()

    def event(self) -> Any:
        return first_event(sent_through_airflow(self.deferral.trigger))

    def resume(self, event: Any = None) -> Any:
        stored = json.loads(json.dumps(self.deferral.kwargs or {}))
        kwargs = {**stored, "event": event or self.event()}
        return self.operator.resume_execution(self.deferral.method_name, kwargs, self.context)


Asked = Callable[..., Approval]


@pytest.fixture
def asked(conductor: ConductorStandIn, actions: RequiredActions) -> Asked:
    return lambda **arguments: Approval(conductor, actions, **arguments)


# The DAG file


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"workflow_id": ""}, "workflow_id must not be empty"),
        ({"task_reference_name": None}, "task_reference_name must not be empty"),
        ({"options": []}, "options must be one text or several"),
        ({"options": ["a", "a"]}, "options must be one text or several"),
        ({"options": [7]}, "options must be a list of texts"),
        ({"reject_options": ["No"]}, "reject_options must be some of the options"),
        ({"defaults": "No"}, "defaults must be some of the options"),
        ({"defaults": ["Approve", "Reject"]}, "defaults must be one option"),
        ({"on_reject": "ignore"}, "on_reject must be one of 'skip', 'fail', 'continue'"),
        ({"rejected_status": "TIMED_OUT"}, "rejected_status must be one of"),
        ({"on_timeout": "fail"}, "on_timeout must be one of"),
        ({"options_mapping": {"Perhaps": "a"}}, "options_mapping must have options as keys"),
        ({"options_mapping": {"Reject": "a"}}, r"\['Approve'\] lack one"),
        ({"options_mapping": {"Approve": 7}}, "task ids, must be a list of texts"),
        ({"response_timeout": -1}, "response_timeout"),
    ],
)
def test_what_is_wrong_is_reported_when_the_dag_is_parsed(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        operator(**arguments)


@pytest.mark.airflow_versions(before="3.1")
def test_an_airflow_without_required_actions_refuses_when_the_task_runs(conductor: ConductorStandIn) -> None:
    task = operator()
    with pytest.raises(ConductorPermanentError, match=r"needs Airflow 3.1.*ConductorTaskSensor.*CompleteTask"):
        task.execute(context_of(task))


@since_3_1
@pytest.mark.parametrize(
    ("rendered", "says"),
    [
        ({"options": ["Yes"]}, "reject_options must be some of the options"),
        ({"assigned_users": [{"name": "Ana"}]}, "assigned_users must be ids"),
        ({"task_reference_name": ""}, "task_reference_name must not be empty"),
    ],
)
def test_what_is_rendered_wrong_is_not_retried(
    conductor: ConductorStandIn, rendered: dict[str, Any], says: str
) -> None:
    task = operator(defaults="Approve")
    for name, value in rendered.items():
        setattr(task, name, value)
    with pytest.raises(ConductorArgumentRefusedError, match=says):
        task.execute(context_of(task))
    assert conductor.sent("POST") == []


# The question


@since_3_1
def test_the_question_is_asked_once_the_workflow_has_come_to_the_task(asked: Asked) -> None:
    approval = asked(
        subject="Pay?",
        body="**Now?**",
        assigned_users=["ana", {"id": "4", "name": "Bo"}],
        params={"amount": Param(5, type="integer")},
    )
    question = approval.actions.only.question
    assert {name: question[name] for name in ("options", "subject", "defaults", "multiple", "assigned_users")} == {
        "options": ["Approve", "Reject"],
        "subject": "Pay?",
        "defaults": None,
        "multiple": False,
        "assigned_users": [{"id": "ana", "name": "ana"}, {"id": "4", "name": "Bo"}],
    }
    assert question["body"].startswith('**Now?**\n\nInput of the task:\n\n```json\n{\n  "amount": 7\n}\n```')
    assert question["params"]["amount"]["schema"] == {"type": "integer"}


@since_3_1
def test_it_waits_for_the_task_and_asks_then(conductor: ConductorStandIn, actions: RequiredActions) -> None:
    workflow_id = conductor.add(tasks=[{**HUMAN, "taskId": "1", "referenceTaskName": "before"}])
    task = operator(workflow_id=workflow_id)
    context = context_of(task)
    context["ti"].id = TI_ID
    with pytest.raises(TaskDeferred) as waits:
        task.execute(context)
    assert actions.details == {}
    conductor.has_tasks(workflow_id, HUMAN)
    with pytest.raises(TaskDeferred):
        resume(task, context, waits.value)
    assert actions.only.question["subject"].startswith("approve of Conductor workflow")


@since_3_1
@pytest.mark.parametrize("levels", [0, 4, 5, 6, 20, 300])
def test_a_secret_in_the_input_is_masked_however_deep_it_is(asked: Asked, levels: int) -> None:
    """Airflow's own masking stops at the fifth level."""
    value: Any = {"password": "hunter2"}
    for _ in range(levels):
        value = {"in": [value]}
    body = asked(task={**HUMAN, "inputData": value}).actions.only.question["body"]
    assert "hunter2" not in body
    assert ("***" in body) is (levels < 25)


@since_3_1
def test_the_input_can_be_left_out(asked: Asked) -> None:
    assert "Input" not in asked(show_input=False).actions.only.question["body"]


@since_3_1
def test_notifiers_are_called_and_one_that_fails_stops_nothing(asked: Asked) -> None:
    called: list[str] = []

    def fails(context: Any) -> None:
        called.append(context["ti"].task_id)
        raise RuntimeError("no mail today")

    asked(notifiers=[fails, fails])
    assert called == ["approve", "approve"]


@since_3_1
@pytest.mark.parametrize("task", [{"taskType": "SIMPLE"}, {"taskType": "WAIT", "inputData": {"duration": "1 day"}}])
def test_what_nobody_can_answer_is_refused(conductor: ConductorStandIn, task: dict[str, Any]) -> None:
    approve = operator(workflow_id=conductor.add(tasks=[{**HUMAN, **task}]))
    with pytest.raises(ConductorInvalidStateError, match=r"(use|name) a HUMAN task"):
        approve.execute(context_of(approve))


# The answer


@since_3_1
def test_an_answer_in_airflow_completes_the_task(asked: Asked) -> None:
    approval = asked(params={"amount": Param(5, type="integer")})
    result = approval.resume(approval.answer("Approve", amount=9))
    assert result == {
        "workflow_id": approval.workflow_id,
        "task_id": "7",
        "task_reference_name": "approve",
        "status": "COMPLETED",
        "approved": True,
        "chosen_options": ["Approve"],
        "params_input": {"amount": 9},
        "responded_by": USER,
        "responded_at": "2026-01-02T03:04:05+00:00",
        "answered_in": "airflow",
    }
    names = ("approved", "chosen_options", "params_input", "responded_by", "responded_at", "answered_in")
    assert approval.task["outputData"] == {name: result[name] for name in names}
    assert approval.task["workerId"].startswith("airflow:nightly_orders:")


@since_3_1
@pytest.mark.parametrize("status", ["FAILED_WITH_TERMINAL_ERROR", "FAILED", "COMPLETED"])
def test_a_rejection_gives_the_task_the_status_that_was_asked_for(asked: Asked, status: str) -> None:
    approval = asked(rejected_status=status, on_reject="continue")
    result = approval.resume(approval.answer("Reject"))
    assert (result["approved"], result["status"], approval.task["status"]) == (False, status, status)
    if status != "COMPLETED":
        assert approval.task["reasonForIncompletion"] == "rejected in Airflow by Ana: Reject"


@since_3_1
def test_a_rejection_can_fail_the_task_without_a_retry(asked: Asked) -> None:
    approval = asked(on_reject="fail")
    with pytest.raises(ConductorApprovalRejectedError, match="was rejected by Ana in airflow: Reject") as raised:
        approval.resume(approval.answer("Reject"))
    assert raised.value.answer["responded_by"] == USER
    assert raised.value.workflow_id == approval.workflow_id


@since_3_1
@pytest.mark.parametrize(
    ("output", "status", "chosen"),
    [({}, "COMPLETED", "Approve"), ({"approved": False}, "COMPLETED", "Reject"), ({}, "FAILED", "Reject")],
)
def test_an_end_in_conductor_is_the_answer_and_closes_the_required_action(
    asked: Asked, output: dict[str, Any], status: str, chosen: str
) -> None:
    approval = asked(on_reject="continue")
    approval.task.update(status=status, outputData=output, workerId="console", endTime=1767322800000)
    event = approval.event()
    assert set(event) == {"workflow_id", "status", "message"}
    with pytest.raises(AlreadyAnsweredError):
        approval.actions.answer(TI_ID, ["Approve"])
    assert approval.actions.only.answer is not None
    assert approval.actions.only.answer["chosen_options"] == [chosen]
    result = approval.resume(event)
    assert (result["answered_in"], result["chosen_options"], result["status"]) == ("conductor", [chosen], status)
    assert result["responded_by"] == {"id": "console", "name": "console"}
    assert approval.conductor.sent("POST") == []


@since_3_1
@pytest.mark.parametrize("theirs", ["COMPLETED", "FAILED"])
def test_whoever_was_first_in_conductor_wins(asked: Asked, theirs: str) -> None:
    """An answer in Airflow is on its way when somebody ends the task."""
    approval = asked(on_reject="continue")
    event = approval.answer("Approve")
    approval.task.update(status=theirs, workerId="Bo", outputData={"approved": False}, endTime=1767322800000)
    result = approval.resume(event)
    assert (result["answered_in"], result["approved"]) == ("conductor", False)
    assert approval.conductor.sent("POST") == []


@since_3_1
def test_an_answer_between_the_question_and_the_deferral_is_not_lost(asked: Asked) -> None:
    """Airflow 3.3 resumes only a task that is deferred by then."""
    approval = asked()
    approval.actions.answer(TI_ID, ["Approve"])
    assert approval.resume()["answered_in"] == "airflow"


@since_3_1
def test_a_try_that_died_after_its_answer_was_sent_is_not_asked_again(asked: Asked) -> None:
    approval = asked()
    first = approval.resume(approval.answer("Approve"))
    again = operator(workflow_id=approval.workflow_id, retries=1)
    assert again.execute(context_of(again, try_number=2)) == first


@since_3_1
def test_a_task_that_was_answered_before_is_not_asked(conductor: ConductorStandIn, actions: RequiredActions) -> None:
    done = {**HUMAN, "status": "COMPLETED", "outputData": {"responded_by": "Bo"}, "endTime": 1767322800000}
    task = operator(workflow_id=conductor.add("COMPLETED", tasks=[done]))
    result = task.execute(context_of(task))
    assert (result["answered_in"], result["responded_by"]["name"]) == ("conductor", "Bo")
    assert actions.details == {}


@since_3_1
@pytest.mark.parametrize(("status", "workflow"), [("COMPLETED", "COMPLETED"), ("FAILED", "FAILED")])
def test_a_workflow_that_ended_before_the_question_was_answered_by_then(
    conductor: ConductorStandIn, actions: RequiredActions, status: str, workflow: str
) -> None:
    """The triggerer, waiting for the task to open, finds the workflow's end."""
    task = operator(workflow_id=conductor.add(), on_reject="continue")
    context = context_of(task)
    with pytest.raises(TaskDeferred) as deferral:
        task.execute(context)
    done = {**HUMAN, "status": status, "workerId": "Bo", "endTime": 1767322800000}
    conductor.has_tasks(task.workflow_id, done)
    conductor.end(task.workflow_id, workflow)
    event = {"workflow_id": task.workflow_id, "status": workflow, "message": ""}
    result = resume(task, context, deferral.value, event)
    assert (result["answered_in"], result["approved"]) == ("conductor", status == "COMPLETED")
    assert actions.details == {}


@since_3_1
@pytest.mark.parametrize("workflow", ["TERMINATED", "FAILED"])
def test_a_workflow_that_ended_without_an_answer_fails_the_task(
    conductor: ConductorStandIn, actions: RequiredActions, workflow: str
) -> None:
    task = operator(workflow_id=conductor.add())
    context = context_of(task)
    with pytest.raises(TaskDeferred) as deferral:
        task.execute(context)
    conductor.has_tasks(task.workflow_id, {**HUMAN, "status": "CANCELED"})
    conductor.end(task.workflow_id, workflow)
    event = {"workflow_id": task.workflow_id, "status": workflow, "message": ""}
    with pytest.raises(ConductorWorkflowFailedError, match=workflow.lower()):
        resume(task, context, deferral.value, event)
    assert actions.details == {}


@since_3_1
def test_an_unusable_form_is_asked_again(asked: Asked) -> None:
    approval = asked(params={"amount": Param(5, type="integer", minimum=1)})
    with pytest.raises(TaskDeferred):
        approval.resume(approval.answer("Approve", amount=-1))
    assert approval.actions.only.answer is None
    assert approval.conductor.sent("POST") == []


@since_3_1
def test_an_option_of_another_question_is_no_answer(asked: Asked) -> None:
    approval = asked()
    with pytest.raises(ConductorInvalidStateError, match="'Ship' is none of the options 'Approve', 'Reject'"):
        approval.resume(approval.answer("Ship"))
    assert approval.task["status"] == "IN_PROGRESS"


@since_3_1
def test_an_option_that_conductor_does_not_name_is_no_branch(asked: Asked) -> None:
    approval = asked(options=["Ship", "Hold"], options_mapping={"Ship": "a", "Hold": "b"})
    approval.task.update(status="COMPLETED", endTime=1767322800000)
    event = approval.event()
    assert approval.actions.only.answer is None, "nobody knows what to close it with"
    with pytest.raises(ConductorInvalidStateError, match="without chosen_options in its output"):
        approval.resume(event)


@since_3_1
@pytest.mark.parametrize("event", [{}, {"status": "answered", "workflow_id": "1"}, "COMPLETED"])
def test_an_event_of_an_unknown_shape_fails_the_task(asked: Asked, event: Any) -> None:
    with pytest.raises(ConductorTriggerEventError):
        asked().resume(event or {"nothing": 1})


@since_3_1
def test_conductor_may_be_away_when_the_answer_comes(asked: Asked) -> None:
    approval = asked()
    event = approval.answer("Approve")
    refusals = iter([503] * 3)

    def away(request: Any) -> tuple[int, str, bytes] | None:
        status = next(refusals, None) if request.path == "/tasks" else None
        return None if status is None else (status, "text/html", b"restarting")

    approval.conductor.instead = away
    assert approval.resume(event)["answered_in"] == "airflow"
    assert approval.task["status"] == "COMPLETED"


# The end without an answer


@since_3_1
def test_without_an_answer_in_time_the_task_fails_and_the_workflow_is_left(asked: Asked) -> None:
    approval = asked(response_timeout=0.3)
    with pytest.raises(ConductorWorkflowTimeoutError, match=r"'approve' was not answered.*left running"):
        approval.resume()
    assert approval.actions.only.answer is None
    assert approval.conductor.status(approval.workflow_id) == "RUNNING"


@since_3_1
def test_without_an_answer_in_time_the_workflow_can_be_terminated(asked: Asked) -> None:
    approval = asked(timeout=0.3, on_timeout="terminate")
    with pytest.raises(ConductorWorkflowTimeoutError):
        approval.resume()
    assert approval.conductor.status(approval.workflow_id) == "TERMINATED"


@since_3_1
def test_defaults_are_the_answer_when_nobody_has_answered_in_time(asked: Asked) -> None:
    approval = asked(response_timeout=0.3, defaults="Approve", params={"amount": 5})
    result = approval.resume()
    assert (result["approved"], result["responded_by"], result["answered_in"]) == (True, None, "airflow")
    assert result["params_input"] == {"amount": 5}
    assert approval.task["status"] == "COMPLETED"
    with pytest.raises(AlreadyAnsweredError):
        approval.actions.answer(TI_ID, ["Reject"])


@since_3_1
def test_an_answer_at_the_last_moment_beats_the_defaults(asked: Asked) -> None:
    approval = asked(response_timeout=0.3, defaults="Approve", on_reject="continue")
    trigger = sent_through_airflow(approval.deferral.trigger)

    async def close_late() -> Any:
        approval.actions.answer(TI_ID, ["Reject"])
        return await trigger._close(SimpleNamespace(status="timeout", workflow=None))  # type: ignore[attr-defined]

    faster = asyncio.run(close_late())
    assert faster.chosen_options == ["Reject"]


@since_3_1
@pytest.mark.parametrize(
    ("workflow", "task", "says"),
    [
        ("TERMINATED", {"status": "CANCELED"}, "CANCELED"),
        ("FAILED", {"status": "TIMED_OUT", "reasonForIncompletion": "too slow"}, "TIMED_OUT.*too slow"),
        ("COMPLETED", {"status": "SKIPPED"}, "SKIPPED"),
    ],
)
def test_an_end_that_nobody_gave_is_an_error(asked: Asked, workflow: str, task: dict[str, Any], says: str) -> None:
    approval = asked()
    approval.task.update(task)
    approval.conductor.end(approval.workflow_id, workflow)
    event = approval.event()
    with pytest.raises(ConductorTaskUnreachableError, match=says):
        approval.resume(event)
    assert approval.actions.only.answer is None


# The triggerer


def test_many_waits_are_read_one_after_another() -> None:
    """On Airflow 3.1 and 3.2."""
    at_once = most = reads = 0

    async def read(ti_id: str) -> Any:
        nonlocal at_once, most, reads
        at_once += 1
        most, reads = max(most, at_once), reads + 1
        await asyncio.sleep(0)
        at_once -= 1
        if reads == 7:
            raise RuntimeError("no database")
        return ti_id if reads > 500 else None

    async def pause(seconds: float) -> None:
        await asyncio.sleep(0)

    async def main() -> list[Any]:
        reader = answers.AnswerReader(read, pause)
        return await asyncio.gather(*(reader.wait(str(number)) for number in range(100)))

    assert asyncio.run(main()) == [str(number) for number in range(100)]
    assert (most, reads) == (1, 600)


def test_a_reader_rests_when_nobody_waits_and_begins_again() -> None:
    async def read(ti_id: str) -> Any:
        return ti_id

    async def main() -> tuple[Any, Any, int]:
        reader = answers.AnswerReader(read)
        found = await reader.wait("a"), await reader.wait("b")
        return *found, len(reader._waits)

    assert asyncio.run(main()) == ("a", "b", 0)
