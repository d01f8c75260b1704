"""Each operator that controls workflows, on real servers: what it does in each state, to one and to several."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_conductor import operators
from airflow_provider_conductor.client import ConductorNotFoundError
from airflow_provider_conductor.exceptions import ConductorInvalidStateError
from tests.operators.workflows import STATES, UNKNOWN, Workflows
from tests.waiting_modes.modes import Outcome, run_task

pytestmark = pytest.mark.integration


SERVERS = ("newest", "oldest")


@dataclass(frozen=True)
class Done:
    """It is done, and the workflow is then in this state."""

    then: str


@dataclass(frozen=True)
class Already:
    """It is so already: a success with this in the log, and nothing is changed."""

    told: str


@dataclass(frozen=True)
class Refused:
    """The task fails with this message, which names what would do, and nothing is changed."""

    told: str


RETRY = operators.ConductorRetryWorkflowOperator

MISSING = Refused("unknown to the server")
RETRIES = "ConductorRetryWorkflowOperator"
RESTARTS = "ConductorRestartWorkflowOperator"
RESUMES = "ConductorResumeWorkflowOperator"
ENDS = "ConductorTerminateWorkflowOperator"
AGAIN = (Refused(ENDS), Refused(RESUMES), *[Done("RUNNING")] * 4, MISSING)
TO_RETRY = (*[Refused(RETRIES)] * 3, MISSING)
DELETED = (*[Done(UNKNOWN)] * 4, Already("unknown to the server"))

EXPECTED: dict[str, tuple[str, dict[str, Any], tuple[Done | Already | Refused, ...]]] = {
    # RUNNING, PAUSED, COMPLETED, FAILED, TIMED_OUT, TERMINATED, unknown
    "pause": ("Pause", {}, (Done("PAUSED"), Already("paused"), Refused(RESTARTS), *TO_RETRY)),
    "resume": (
        *("Resume", {}),
        (Refused("ConductorPauseWorkflowOperator"), Done("RUNNING"), Refused(RESTARTS), *TO_RETRY),
    ),
    "terminate": (
        *("Terminate", {"reason": "by Airflow"}),
        (Done("TERMINATED"), Done("TERMINATED"), *[Already("already ended")] * 4, MISSING),
    ),
    "restart": ("Restart", {}, AGAIN),
    "restart with the latest definition": ("Restart", {"use_latest_definition": True}, AGAIN),
    "retry": (
        *("Retry", {}),
        (Already("running"), Refused(RESUMES), Refused(RESTARTS), *[Done("RUNNING")] * 3, MISSING),
    ),
    "rerun": ("Rerun", {"workflow_input": {"order": 8}}, AGAIN),
    "rerun from a task": ("Rerun", {"from_task_ref": "pack", "task_input": {"from": "Airflow"}}, AGAIN),
    "skip": (
        *("SkipTask", {"task_ref": "ship", "task_output": {"by": "hand"}}),
        (Done("RUNNING"), Refused(RESUMES), Refused("'ship' is COMPLETED|ConductorRerunWorkflowOperator"), *TO_RETRY),
    ),
    "delete": ("Delete", {}, (Refused(ENDS), Refused(ENDS), *DELETED)),
    "delete without a trace": ("Delete", {"archive": False}, (Refused(ENDS), Refused(ENDS), *DELETED)),
    "delete what runs too": ("Delete", {"terminate_running": True}, (*[Done(UNKNOWN)] * 2, *DELETED)),
}


def operator(name: str) -> type:
    found: type = getattr(operators, f"Conductor{name}Operator", None) or getattr(
        operators, f"Conductor{name}WorkflowOperator"
    )
    return found


CASES = [
    pytest.param(operator(name), arguments, state, expected, id=f"{what} {state}")
    for what, (name, arguments, row) in EXPECTED.items()
    for state, expected in zip(STATES, row, strict=True)
]


def act(kind: type, workflow_id: Any, **arguments: Any) -> Outcome:
    return run_task(kind, workflow_id=workflow_id, **arguments)


def ending(workflows: Workflows, workflow_id: str) -> tuple[str, str]:
    """How it stands, and why."""
    status = workflows.status(workflow_id)
    reason = workflows.client.get_workflow(workflow_id).reason if status != UNKNOWN else ""
    return status, reason


@pytest.mark.parametrize("workflows", ["conductor_server"], ids=["newest"], indirect=True)
@pytest.mark.parametrize(("kind", "arguments", "state", "expected"), CASES)
def test_table(
    workflows: Workflows, kind: type, arguments: dict[str, Any], state: str, expected: Done | Already | Refused
) -> None:
    """One by its own endpoint, then several by the bulk one."""
    one, *several = workflows.several(state, 3)
    for given in (one, several):
        ids = [given] if isinstance(given, str) else given
        before = [ending(workflows, item) for item in ids]
        outcome = act(kind, given, **arguments)
        match expected:
            case Done(then):
                assert outcome.error is None
                assert outcome.result == (given if kind is RETRY else ids)
                assert [workflows.status(item) for item in ids] == [then] * len(ids)
            case Already(told):
                assert outcome.error is None
                assert outcome.result == (given if kind is RETRY and given is one else [])
                assert all(any(item in line and told in line for line in outcome.lines) for item in ids)
                assert [ending(workflows, item) for item in ids] == before
            case Refused(told):
                assert type(outcome.error) is (
                    ConductorNotFoundError if state == UNKNOWN else ConductorInvalidStateError
                )
                assert re.search(told, str(outcome.error))
                assert all(item in str(outcome.error) for item in ids)
                assert state == UNKNOWN or state in str(outcome.error)
                assert [ending(workflows, item) for item in ids] == before
        assert outcome.xcoms["workflow_id"] == ids[0]
        assert outcome.xcoms["workflow_url"].endswith(f"/execution/{ids[0]}")
    workflows.end([one, *several])


@pytest.mark.parametrize("workflows", ["conductor_server", "old_conductor_server"], ids=SERVERS, indirect=True)
@pytest.mark.parametrize(("name", "arguments", "row"), EXPECTED.values(), ids=EXPECTED)
def test_one_in_each_state(
    workflows: Workflows, name: str, arguments: dict[str, Any], row: tuple[Done | Already | Refused, ...]
) -> None:
    """What can be done is done, and then the task fails, naming what could not."""
    ids = [workflows.one(state) for state in STATES]
    outcome = act(operator(name), ids, **arguments)
    refused = [state for state, expected in zip(STATES, row, strict=True) if isinstance(expected, Refused)]
    kinds = {(): type(None), (UNKNOWN,): ConductorNotFoundError}
    assert type(outcome.error) is kinds.get(tuple(refused), ConductorInvalidStateError)
    for workflow_id, state, expected in zip(ids, STATES, row, strict=True):
        assert (workflow_id in str(outcome.error)) is (state in refused), state
        assert workflows.status(workflow_id) == (expected.then if isinstance(expected, Done) else state)
    workflows.end(ids)
