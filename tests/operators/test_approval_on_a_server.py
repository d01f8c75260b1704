"""Approvals with real Conductor servers: races of both sides, and what servers make of each answer.

Airflow's side is the operator and its trigger, with Airflow's required actions in memory: a whole scheduler is in
``tests/faults/test_approvals.py``.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_conductor import _required_actions
from airflow_provider_conductor.client import ConductorClient, Task
from airflow_provider_conductor.operators import ConductorApprovalOperator
from airflow_provider_conductor.triggers import answers
from tests.integration.waiting_lab import WaitingLab
from tests.operators.airflow_standin import context_of, first_event, sent_through_airflow
from tests.operators.required_actions import USER, AlreadyAnsweredError, RequiredActions

pytestmark = [pytest.mark.integration, pytest.mark.airflow_versions(since="3.1")]

RACES = 200


@pytest.fixture(scope="module", params=["conductor_server", "old_conductor_server"], ids=["newest", "oldest"])
def lab(request: pytest.FixtureRequest) -> Iterator[WaitingLab]:
    lab = WaitingLab(request.getfixturevalue(request.param).api_url)
    for kind in ("HUMAN", "WAIT"):
        lab.define(kind.lower(), lab.system(kind, "approve", inputParameters={"amount": "${workflow.input.amount}"}))
    lab.define("optional", lab.system("HUMAN", "approve") | {"optional": True}, lab.system("WAIT", "then"))
    yield lab
    lab.client.close()


@pytest.fixture(autouse=True)
def connection(lab: WaitingLab, monkeypatch: pytest.MonkeyPatch) -> None:
    url = lab.client.settings.api_url
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", f'{{"conn_type": "conductor", "host": "{url}"}}')
    monkeypatch.setattr(answers, "INTERVAL", 0.2)
    monkeypatch.setattr(answers, "GAP", 0.01)


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> RequiredActions:
    return RequiredActions().install(monkeypatch)


class Approval:
    """One try of an approval on the server, deferred once the question has been asked."""

    def __init__(self, lab: WaitingLab, what: str = "human", **arguments: Any) -> None:
        self.client: ConductorClient = lab.client
        self.ti_id = str(uuid.uuid4())
        self.workflow_id = lab.client.start_workflow_by_name(lab.name(what), {"amount": 7})
        self.operator = ConductorApprovalOperator(
            task_id="approve",
            workflow_id=self.workflow_id,
            task_reference_name="approve",
            poll_interval=0.3,
            on_reject="continue",
            **arguments,
        )
        self.context = context_of(self.operator, run_id=f"run-{self.ti_id}")
        self.context["ti"].id = self.ti_id
        step: Callable[[], Any] = lambda: self.operator.execute(self.context)  # noqa: E731
        while True:
            with pytest.raises(TaskDeferred) as raised:
                step()
            self.deferral = raised.value
            if "asked" in (self.deferral.kwargs or {}):
                return
            event = first_event(sent_through_airflow(self.deferral.trigger))
            step = lambda event=event: self.resume(event)  # noqa: E731

    @property
    def task(self) -> Task:
        found = self.client.get_workflow(self.workflow_id).latest_attempt("approve")
        assert found is not None
        return found

    def event(self) -> Any:
        return first_event(sent_through_airflow(self.deferral.trigger))

    def resume(self, event: Any) -> Any:
        stored = json.loads(json.dumps(self.deferral.kwargs or {}))
        kwargs = {**stored, "event": event}
        return self.operator.resume_execution(self.deferral.method_name, kwargs, self.context)


def answered(actions: RequiredActions, approval: Approval, *chosen: str) -> Any:
    """Answer in Airflow; the result."""
    event = actions.answer(approval.ti_id, list(chosen))
    return approval.resume(event if _required_actions.answers_resume_tasks() else approval.event())


@pytest.mark.parametrize("what", ["human", "wait"])
def test_an_approval_in_airflow_lets_the_workflow_go_on(lab: WaitingLab, actions: RequiredActions, what: str) -> None:
    approval = Approval(lab, what)
    result = answered(actions, approval, "Approve")
    assert (result["status"], result["responded_by"], result["answered_in"]) == ("COMPLETED", USER, "airflow")
    assert lab.ended(approval.workflow_id).status == "COMPLETED"
    assert approval.task.output["chosen_options"] == ["Approve"]


@pytest.mark.parametrize(
    ("what", "rejected", "status", "workflow"),
    [
        ("human", "FAILED_WITH_TERMINAL_ERROR", "FAILED_WITH_TERMINAL_ERROR", "FAILED"),
        ("human", "FAILED", "FAILED", "FAILED"),
        ("human", "COMPLETED", "COMPLETED", "COMPLETED"),
        ("optional", "FAILED_WITH_TERMINAL_ERROR", "COMPLETED_WITH_ERRORS", None),
    ],
)
def test_a_rejection_in_airflow(
    lab: WaitingLab, actions: RequiredActions, what: str, rejected: str, status: str, workflow: str | None
) -> None:
    approval = Approval(lab, what, rejected_status=rejected)
    result = answered(actions, approval, "Reject")
    assert (result["approved"], result["status"], result["answered_in"]) == (False, status, "airflow")
    if workflow is None:
        lab.client.terminate_workflow(approval.workflow_id, "the test is over")
    else:
        assert lab.ended(approval.workflow_id).status == workflow


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR"])
def test_an_answer_in_conductor_closes_the_required_action(
    lab: WaitingLab, actions: RequiredActions, status: str
) -> None:
    approval = Approval(lab)
    lab.client.update_task(approval.workflow_id, approval.task.task_id, status, output={"responded_by": "Bo"})
    event = approval.event()
    with pytest.raises(AlreadyAnsweredError):
        actions.answer(approval.ti_id, ["Approve"])
    result = approval.resume(event)
    assert (result["approved"], result["answered_in"]) == (status == "COMPLETED", "conductor")
    assert result["responded_by"] == {"id": "Bo", "name": "Bo"}


def test_two_hundred_races_have_one_result_each(
    lab: WaitingLab, actions: RequiredActions, record_property: Callable[[str, object], None]
) -> None:
    """Airflow approves while Conductor fails or completes the task, at nearly the same moment."""
    began = time.monotonic()
    answered(actions, Approval(lab), "Approve")
    takes = min(time.monotonic() - began, 2.0)
    approvals = [Approval(lab) for _ in range(RACES)]
    dice = random.Random(7)
    theirs = ["FAILED", "COMPLETED"]
    by_hand = [
        {"chosen_options": ["Reject"], "responded_by": "Bo", "race": str(number)} for number, _ in enumerate(approvals)
    ]
    task_ids = [approval.task.task_id for approval in approvals]

    async def race(number: int, pool: ThreadPoolExecutor) -> Any:
        approval, loop = approvals[number], asyncio.get_running_loop()
        trigger = sent_through_airflow(approval.deferral.trigger)

        async def fire() -> Any:
            async for event in trigger.run():
                return event.payload
            raise AssertionError("no event")

        fired = asyncio.create_task(fire())

        async def in_airflow() -> Any:
            await asyncio.sleep(start - loop.time())
            try:
                event = actions.answer(approval.ti_id, ["Approve"])
            except AlreadyAnsweredError:
                event = await fired
            if _required_actions.answers_resume_tasks():
                fired.cancel()  # as Airflow does with the trigger of a task that is resumed
            else:
                event = await fired
            return await loop.run_in_executor(pool, approval.resume, event)

        async def in_conductor() -> None:
            await asyncio.sleep(start - loop.time() + late)
            await loop.run_in_executor(
                pool,
                lambda: lab.client.update_task(
                    approval.workflow_id, task_ids[number], theirs[number % 2], output=by_hand[number]
                ),
            )

        start = loop.time() + 1 + dice.random() * 5
        late = (dice.random() - 0.3) * takes
        result, _ = await asyncio.gather(in_airflow(), in_conductor())
        return result

    async def all_races() -> list[Any]:
        with ThreadPoolExecutor(16) as pool:
            return await asyncio.gather(*(race(number, pool) for number in range(RACES)))

    results = asyncio.run(all_races())
    wrong = []
    for number, (approval, result) in enumerate(zip(approvals, results, strict=True)):
        task = approval.task
        ours = task.worker_id == approval.operator._identities()[0]
        seen = (result["answered_in"], result["chosen_options"], result["status"])
        expected = ("airflow", ["Approve"], "COMPLETED") if ours else ("conductor", ["Reject"], theirs[number % 2])
        if seen != expected or task.status != expected[2] or task.output["chosen_options"] != expected[1]:
            wrong.append((seen, expected, str(task.status), task.output))
    won = Counter(result["answered_in"] for result in results)
    record_property("counted", f"{RACES} races of both sides: {dict(won)}, {len(wrong)} with two results")
    assert not wrong
    assert set(won) == {"airflow", "conductor"}
