"""The trigger's connection: a look-up that fails for a moment is no failed task, and one that cannot succeed is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from airflow.models.connection import Connection
from airflow.providers.common.compat import connection
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_conductor.testing import ConductorStandIn
from airflow_provider_conductor.triggers import ConductorWorkflowTrigger, shared_poller as sharing
from tests.operators.airflow_standin import first_event


def waiting_for(workflow_id: str) -> ConductorWorkflowTrigger:
    return ConductorWorkflowTrigger(workflow_id=workflow_id, poll_interval=0.1)


class LookUps:
    """Airflow's look-up of a connection, which fails so often before it answers."""

    def __init__(self, error: Exception, times: int, answer: str) -> None:
        self.error, self.times, self.answer, self.made = error, times, answer, 0
        self.first = asyncio.Event()

    async def __call__(self, conn_id: str) -> Any:
        self.made += 1
        self.first.set()
        if self.made <= self.times:
            raise self.error
        return Connection(conn_id=conn_id, uri=self.answer)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> tuple[float, ...]:
    zeros = (0.0,) * len(sharing.LOOK_UP_PAUSES)
    monkeypatch.setattr(sharing, "LOOK_UP_PAUSES", zeros)
    return zeros


def look_ups(
    monkeypatch: pytest.MonkeyPatch, conductor: ConductorStandIn, error: Exception, times: int, **extra: Any
) -> LookUps:
    made = LookUps(error, times, conductor.connection_uri(**extra))
    monkeypatch.setattr(connection, "get_async_connection", made)
    return made


AWAY = RuntimeError("the API server is away")


def test_a_look_up_that_failed_twice_is_tried_again(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, pauses: tuple[float, ...]
) -> None:
    made = look_ups(monkeypatch, conductor, AWAY, 2)
    assert first_event(waiting_for(conductor.add("COMPLETED")))["status"] == "COMPLETED"
    assert made.made == 3


def test_a_look_up_that_keeps_failing_is_the_triggers_failure(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, pauses: tuple[float, ...]
) -> None:
    made = look_ups(monkeypatch, conductor, AWAY, 1_000)
    workflow_id = conductor.add()
    with pytest.raises(RuntimeError, match="is away"):
        first_event(waiting_for(workflow_id))
    assert made.made == len(pauses) + 1
    assert conductor.status(workflow_id) == "RUNNING"


def test_a_connection_that_does_not_exist_is_looked_up_once(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, pauses: tuple[float, ...]
) -> None:
    made = look_ups(monkeypatch, conductor, AirflowNotFoundException("no such connection"), 2)
    with pytest.raises(AirflowNotFoundException):
        first_event(waiting_for("abc"))
    assert made.made == 1


def test_a_connection_that_cannot_be_used_is_looked_up_once(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, pauses: tuple[float, ...]
) -> None:
    made = look_ups(monkeypatch, conductor, AWAY, 0, read_timeot=5)
    event = first_event(waiting_for("abc"))
    assert event["status"] == "error"
    assert "read_timeot" in json.dumps(event)
    assert made.made == 1


def test_a_deploy_of_a_minute_is_outlasted() -> None:
    assert sum(sharing.LOOK_UP_PAUSES) >= 60


async def test_a_cancelled_trigger_does_not_look_on(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = look_ups(monkeypatch, conductor, AWAY, 1_000)
    running = asyncio.create_task(anext(waiting_for("abc").run()))
    await asyncio.wait_for(made.first.wait(), 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert made.made == 1
