"""The trigger: one event, small and plain; nothing of the loop is blocked and nothing is killed by mistake."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from airflow_provider_conductor.triggers import ConductorWorkflowsTrigger, ConductorWorkflowTrigger
from airflow_provider_conductor.triggers.base import ConductorTrigger
from tests.operators.airflow_standin import first_event, sent_through_airflow

SOON = 0.4


def waiting_for(workflow_id: str, **arguments: Any) -> ConductorWorkflowTrigger:
    return ConductorWorkflowTrigger(workflow_id=workflow_id, **{"poll_interval": 0.1, **arguments})


Kind = Callable[..., ConductorTrigger]

KINDS = {
    "workflow": partial(ConductorWorkflowTrigger, workflow_id="abc"),
    "batch": partial(ConductorWorkflowsTrigger, workflow_ids=["abc"]),
}

each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)

# The event


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"])
def test_the_event_has_the_id_and_the_status_and_no_reason(conductor: ConductorStandIn, status: str) -> None:
    script = Script(after=SOON, status=status, output={"card": "4711"}, reason="no tea left")
    workflow_id = conductor.plays(conductor.add(), script)
    event = first_event(waiting_for(workflow_id))
    assert event == {"workflow_id": workflow_id, "status": status, "message": ""}


def test_a_long_reason_is_cut(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add("FAILED", reason="tea " * 10_000)
    assert len(json.dumps(first_event(waiting_for(workflow_id)))) < 2_000


def test_the_deadline_is_an_event(conductor: ConductorStandIn) -> None:
    event = first_event(waiting_for(conductor.add(), deadline=time.time() + SOON))
    assert event["status"] == "timeout"
    assert event["message"]


@pytest.mark.parametrize("status", ["", "COMPLETED", ["FAILED", "COMPLETED"]])
def test_the_task_waited_for_is_an_event(conductor: ConductorStandIn, status: str | list[str]) -> None:
    pack = {"taskId": "1", "referenceTaskName": "pack", "taskType": "SIMPLE", "status": "COMPLETED"}
    workflow_id = conductor.add(tasks=[pack])
    event = first_event(waiting_for(workflow_id, wait_until_task_ref="pack", wait_until_task_status=status))
    assert (event["workflow_id"], event["status"]) == (workflow_id, "task_ended")


@each_kind
@pytest.mark.parametrize(
    ("error", "words"), [("ConductorAuthError", "go away"), ("ConductorConfigError", "read_timeot")]
)
def test_where_no_wait_can_help_that_is_the_event(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, kind: Kind, error: str, words: str
) -> None:
    conductor.instead = lambda request: (401, "application/json", b'{"message": "go away", "retryable": false}')
    if error == "ConductorConfigError":
        monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri(read_timeot=5))
    event = first_event(kind())
    assert (event["status"], event["error"]) == ("error", error)
    assert words in event["message"]
    assert event.get("workflow_id") == ("abc" if kind is KINDS["workflow"] else None)


# Between processes


def test_its_arguments_are_plain_json_and_only_what_was_given() -> None:
    path, arguments = ConductorWorkflowTrigger(workflow_id="abc", started_at=1.0).serialize()
    assert path == "airflow_provider_conductor.triggers.ConductorWorkflowTrigger"
    assert arguments == {"workflow_id": "abc", "conductor_conn_id": "conductor_default", "started_at": 1.0}


class OfAUser(ConductorWorkflowTrigger):
    """A subclass in a user's own module."""


def test_a_subclass_is_stored_under_its_own_module() -> None:
    assert OfAUser(workflow_id="abc").serialize()[0] == f"{__name__}.OfAUser"


@each_kind
def test_a_timeout_becomes_a_moment_that_a_restart_does_not_move(kind: Kind) -> None:
    def moments(trigger: Any) -> tuple[float, float]:
        stored = trigger.serialize()[1]
        assert "timeout" not in stored
        return stored["started_at"], stored["deadline"]

    before = time.time()
    trigger = kind(timeout=timedelta(hours=1))
    started_at, deadline = moments(trigger)
    assert before <= started_at <= time.time()
    assert deadline == started_at + 3600
    assert moments(kind(timeout=60, started_at=1000.0)) == (1000.0, 1060.0)
    assert moments(kind(timeout=60, started_at=1000.0, deadline=1030.0)) == (1000.0, 1030.0)
    assert moments(sent_through_airflow(trigger)) == (started_at, deadline)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"workflow_id": ""}, "workflow_id"),
        ({"workflow_id": "['a', 'b']"}, "workflow_id"),
        ({"timeout": 0}, "timeout"),
        ({"stall_timeout": -1}, "stall_timeout"),
        ({"poll_interval": "soon"}, "poll_interval"),
        ({"wait_until_task_status": "DONE"}, "DONE"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused_by_name(arguments: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        ConductorWorkflowTrigger(**{"workflow_id": "abc", **arguments})


# In the triggerer's loop


def test_the_loop_is_never_blocked(conductor: ConductorStandIn) -> None:
    """A slow server holds up this wait and none of the thousand others."""

    def slowly(request: Request) -> None:
        time.sleep(0.5)

    conductor.instead = slowly
    workflow_id = conductor.plays(conductor.add(), Script(after=SOON))
    gaps = []

    async def heartbeat() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - before)

    async def both() -> None:
        beating = asyncio.create_task(heartbeat())
        await asyncio.sleep(0)
        async for _ in waiting_for(workflow_id).run():
            break
        beating.cancel()

    warm_up = conductor.add("COMPLETED")
    first_event(waiting_for(warm_up))  # imports and the first look-up of a connection are not what is measured
    asyncio.run(both())
    assert len(gaps) > 20
