"""A worker's reason may echo a secret: it stays out of the triggerer, and the worker that resumes tells it, masked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import mask_secret

from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator
from airflow_provider_conductor.sensors import ConductorTaskSensor
from airflow_provider_conductor.testing import ConductorStandIn
from airflow_provider_conductor.triggers import ConductorWorkflowTrigger
from tests.operators.airflow_standin import context_of
from tests.polling.builders import task
from tests.waiting_modes.modes import Heard

SECRET = "s3cr3t-of-the-bank"
REASON = f"403 from https://bank/?key={SECRET}"

FAILED = [task(status="FAILED", ended=1, reasonForIncompletion=REASON)]
RETRIED = [task(status="FAILED", ended=1, of=3, retried=True, reasonForIncompletion=REASON), task(attempt=2, of=3)]


def triggered(workflow_id: str, **arguments: Any) -> tuple[dict[str, Any], list[str]]:
    """A trigger's event, and what it logs."""
    trigger = ConductorWorkflowTrigger(workflow_id=workflow_id, started_at=0.0, poll_interval=0.05, **arguments)
    heard = Heard()
    trigger._log = heard

    async def collect() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    (payload,) = asyncio.run(collect())
    return json.loads(json.dumps(payload)), heard.lines


def ways(conductor: ConductorStandIn) -> list[tuple[str, dict[str, Any]]]:
    """A failure, a timeout, a standstill, a missed task; each with the arguments of its trigger."""
    failed = conductor.add("FAILED", reason=REASON, tasks=FAILED)
    running = conductor.add(tasks=RETRIED)
    missed = {"wait_until_task_ref": "charge_card", "wait_until_task_status": "COMPLETED"}
    return [(failed, {}), (running, {"deadline": 1.0}), (running, {"stall_timeout": 0.1}), (failed, missed)]


def test_no_reason_is_in_the_triggerers_log_or_events(conductor: ConductorStandIn) -> None:
    statuses = []
    for workflow_id, plan in ways(conductor):
        event, lines = triggered(workflow_id, **plan)
        statuses.append(event["status"])
        assert SECRET not in json.dumps(event)
        assert SECRET not in "\n".join(lines)
    assert statuses == ["FAILED", "timeout", "stalled", "task_missed"]


def test_what_is_no_workers_text_stays(conductor: ConductorStandIn) -> None:
    event, lines = triggered(conductor.add(tasks=RETRIED), deadline=1.0)
    assert "charge_card failed (attempt 1 of 3)" in event["message"]
    assert any("charge_card failed (attempt 1 of 3)" in line for line in lines)


def test_the_connection_can_ask_for_them(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri(triggerer_reasons=True))
    for workflow_id, plan in ways(conductor):
        event, _ = triggered(workflow_id, **plan)
        assert REASON in event["message"]


@pytest.mark.parametrize("way", range(4), ids=["failed", "timeout", "stalled", "missed"])
def test_the_worker_tells_it_masked(conductor: ConductorStandIn, way: int) -> None:
    mask_secret(SECRET)
    workflow_id, plan = ways(conductor)[way]
    event, _ = triggered(workflow_id, **plan)
    operator: Any = ConductorExecuteWorkflowOperator(task_id="wait", workflow_name="orders")
    if "wait_until_task_status" in plan:
        operator = ConductorTaskSensor(task_id="wait", workflow_id=workflow_id, task_reference_name="charge_card")
    with pytest.raises(Exception, match="403 from https://bank") as told:
        operator.execute_complete(context_of(operator), event)
    assert SECRET not in str(told.value)
    assert "***" in str(told.value)
    assert SECRET not in repr(vars(told.value))


def test_of_what_was_archived_the_index_has_the_reason(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add("FAILED", reason="no tea left")
    unknown = b'{"message": "No such workflow found by id", "status": 404, "instance": "i", "retryable": false}'
    summary = {"workflowId": workflow_id, "status": "FAILED", "reasonForIncompletion": "no tea left"}
    answers = {
        f"/workflow/{workflow_id}": (404, "application/json", unknown),
        "/workflow/search": (200, "application/json", json.dumps({"totalHits": 1, "results": [summary]}).encode()),
    }
    conductor.instead = lambda request: answers.get(request.path)
    operator = ConductorExecuteWorkflowOperator(task_id="wait", workflow_name="orders")
    event = {"workflow_id": workflow_id, "status": "FAILED", "message": ""}
    with pytest.raises(Exception, match="ended as FAILED: no tea left"):
        operator.execute_complete(context_of(operator), event)
