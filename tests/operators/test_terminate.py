"""Terminate: what runs is ended, what has ended stays as it is; on a server that would overwrite it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorNotFoundError
from airflow_provider_conductor.operators import ConductorTerminateWorkflowOperator
from airflow_provider_conductor.testing import ConductorStandIn, Request
from tests.operators.airflow_standin import context_of

ENDED = ("COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED")


def terminate(workflow_id: Any, reason: str = "no longer wanted") -> tuple[list[str], dict[str, Any]]:
    """What the task returned, and its XComs."""
    operator = ConductorTerminateWorkflowOperator(task_id="terminate", workflow_id=workflow_id, reason=reason)
    context = context_of(operator)
    return operator.execute(context), context["ti"].xcoms


@pytest.mark.parametrize("status", ["RUNNING", "PAUSED"])
def test_what_runs_is_terminated_with_the_reason(conductor: ConductorStandIn, status: str) -> None:
    workflow_id = conductor.add(status)
    returned, _ = terminate(workflow_id)
    assert returned == [workflow_id]
    assert conductor.status(workflow_id) == "TERMINATED"
    assert conductor.reason(workflow_id) == "no longer wanted"


@pytest.mark.parametrize("status", ENDED)
def test_what_has_ended_stays_as_it_is(conductor: ConductorStandIn, status: str) -> None:
    workflow_id = conductor.add(status, reason="by itself")
    returned, _ = terminate(workflow_id)
    assert returned == []
    assert (conductor.status(workflow_id), conductor.reason(workflow_id)) == (status, "by itself")
    assert conductor.sent("DELETE") == []


def test_of_several_only_those_that_run_are_terminated(conductor: ConductorStandIn) -> None:
    running, failed, paused = (conductor.add(status) for status in ("RUNNING", "FAILED", "PAUSED"))
    returned, _ = terminate([running, failed, paused])
    assert returned == [running, paused]
    assert [conductor.status(item) for item in (running, failed, paused)] == ["TERMINATED", "FAILED", "TERMINATED"]


def test_what_completes_between_the_look_and_the_call_is_no_error(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add()

    def complete_just_before(request: Request) -> None:
        if request.method == "DELETE":
            conductor.end(workflow_id, "COMPLETED")

    conductor.instead = complete_just_before
    returned, _ = terminate(workflow_id)
    assert returned == []
    assert conductor.status(workflow_id) == "COMPLETED"


def test_a_workflow_that_does_not_exist_fails_the_task(conductor: ConductorStandIn) -> None:
    with pytest.raises(ConductorNotFoundError, match="no-such-id"):
        terminate("no-such-id")


def test_no_ids_are_no_error(conductor: ConductorStandIn) -> None:
    assert terminate([]) == ([], {})
    assert conductor.requests == []


def test_the_page_is_in_xcom(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add()
    _, xcoms = terminate([workflow_id])
    assert xcoms == {"workflow_id": workflow_id, "workflow_url": f"{conductor.url}/execution/{workflow_id}"}
