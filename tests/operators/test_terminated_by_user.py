"""A workflow that a user terminates: a callback sees the same error, whichever try and mode notices it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_conductor._airflow import NEVER_EXPIRE
from airflow_provider_conductor.exceptions import ConductorWorkflowFailedError, ConductorWorkflowFailedPermanentlyError
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorStartWorkflowOperator
from airflow_provider_conductor.testing import ConductorStandIn, Script
from tests.operators.airflow_standin import context_of, deferred, result, resume
from tests.operators.impatient import both_ways, execute

SOON = 0.1
REASON = "cancelled by the customer"


def noticed_by_the_wait(conductor: ConductorStandIn, deferrable: bool) -> None:
    conductor.default_script = Script(after=SOON, status="TERMINATED", reason=REASON)
    result(execute(deferrable=deferrable))


def noticed_by_a_resumed_try(conductor: ConductorStandIn, deferrable: bool) -> None:
    task = execute(deferrable=True, wait_for_seconds=0)
    context = context_of(task)
    deferral = deferred(task, context)
    conductor.end(conductor.only_workflow, "TERMINATED", reason=REASON)
    resume(task, context, deferral)


def start(conductor: ConductorStandIn) -> str:
    task = ConductorStartWorkflowOperator(task_id="execute", workflow_name="orders", retries=2)
    task.execute(context_of(task))
    return conductor.only_workflow


def noticed_by_the_next_try(conductor: ConductorStandIn, deferrable: bool) -> None:
    conductor.end(start(conductor), "TERMINATED", reason=REASON)
    result(execute(deferrable=deferrable, retries=2), try_number=2)


def noticed_by_the_next_try_of_a_start(conductor: ConductorStandIn, deferrable: bool) -> None:
    conductor.end(start(conductor), "TERMINATED", reason=REASON)
    task = ConductorStartWorkflowOperator(task_id="execute", workflow_name="orders", retries=2)
    task.execute(context_of(task, try_number=2))


@both_ways
@pytest.mark.parametrize(
    "notice",
    [noticed_by_the_wait, noticed_by_a_resumed_try, noticed_by_the_next_try, noticed_by_the_next_try_of_a_start],
)
def test_the_error_is_the_same(
    conductor: ConductorStandIn, notice: Callable[[ConductorStandIn, bool], None], deferrable: bool
) -> None:
    with pytest.raises(AirflowException) as failure:
        notice(conductor, deferrable)
    workflow_id = conductor.only_workflow
    assert type(failure.value) is ConductorWorkflowFailedPermanentlyError
    assert vars(failure.value) | {"failure": None} == {
        "failure": None,
        "workflow_id": workflow_id,
        "workflow_name": "orders",
        "status": "TERMINATED",
        "url": f"{conductor.url}/execution/{workflow_id}",
        "reason": REASON,
        "task_reference_name": "",
        "failed_workflow_id": workflow_id,
        "attempts": 0,
        "log_lines": (),
    }
    assert "Clear this Airflow task to start another one" in str(failure.value)
    assert conductor.status(workflow_id) == "TERMINATED"


def test_one_that_is_gone_has_the_attributes_of_a_wait_that_finds_it_gone(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_conductor.polling.missing_workflow.ASK_AGAIN", (0.01,) * 4)
    waiting = execute(wait_for_seconds=0, deferrable=True)
    context = context_of(waiting)
    deferral = deferred(waiting, context)
    del conductor.workflows[conductor.only_workflow]
    with pytest.raises(ConductorWorkflowFailedError) as by_the_wait:
        resume(waiting, context, deferral)
    assert not isinstance(by_the_wait.value, AirflowFailException)  # without a record, a retry starts another one
    workflow_id = by_the_wait.value.workflow_id
    task = ConductorExecuteWorkflowOperator(task_id="execute", workflow_name="orders", retries=2)
    context = context_of(task, try_number=2)
    record = {"max_tries": 2, "first_try": 1, "workflow_id": workflow_id}
    context |= {"task_state_store": SimpleNamespace(get=lambda key: record)}
    if NEVER_EXPIRE is None:  # before Airflow 3.3 there is no store, so no record
        conductor.default_script = Script(after=SOON)
        task.execute(context)
        assert conductor.only_workflow != workflow_id
        return
    with pytest.raises(ConductorWorkflowFailedPermanentlyError, match="clear the task to start a new one") as by_a_try:
        task.execute(context)
    assert vars(by_a_try.value) == vars(by_the_wait.value)
