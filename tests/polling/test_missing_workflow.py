"""What became of a workflow that is not found, or that has ended: what is asked, and what is made of the answers."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorAuthError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorServerError,
    Workflow,
)
from airflow_provider_conductor.polling.missing_workflow import ASK_AGAIN, confirm_missing, read_ended
from airflow_provider_conductor.polling.observation import observe
from airflow_provider_conductor.polling.server_clock import ServerClock
from tests.polling.builders import workflow
from tests.polling.world import OUTAGES, T0, World, failing, unreachable

NOT_FOUND = ConductorNotFoundError("No such workflow found by id: wf-1", status=404)
STRAY = ConductorNotFoundError("no Route matched with those values", status=404)


def indexed(status: str) -> Workflow:
    return Workflow({"workflowId": "wf-1", "status": status})


def missing(world: World) -> Any:
    return world.drive(confirm_missing("wf-1", NOT_FOUND, lambda: observe("wf-1", ServerClock())))


def test_the_summary_of_what_has_ended_is_found_in_the_index() -> None:
    """The server has said twice that it does not know it."""
    world = World([(0, None)], index=indexed("TERMINATED"))
    assert missing(world).status == "TERMINATED"
    assert len(world.looks) == 1
    assert world.age < ASK_AGAIN[0] + 0.1


def test_a_server_without_an_index_knows_nothing() -> None:
    world = failing(World([(0, None)]), "/workflow/search", ConductorServerError("no index", status=500))
    assert missing(world) is None


# Read the end


@pytest.mark.parametrize("error", OUTAGES, ids=["unreachable", "bad gateway"])
def test_the_end_is_read_as_soon_as_the_server_is_back(error: ConductorRequestError) -> None:
    world = World([(0, error), (300, workflow(status="COMPLETED"))])
    assert world.drive(read_ended("wf-1", None)).status == "COMPLETED"
    assert world.age < 365


def test_the_end_is_asked_for_until_the_deadline() -> None:
    world = World([(0, unreachable())])
    with pytest.raises(type(unreachable())):
        world.drive(read_ended("wf-1", T0 + 100))
    assert world.age == pytest.approx(100, abs=0.1)


def test_a_refusal_at_the_end_is_told_at_once() -> None:
    world = World([(0, ConductorAuthError("no", status=401))])
    with pytest.raises(ConductorAuthError):
        world.drive(read_ended("wf-1", None))
    assert world.age < 1


def test_what_was_archived_since_its_end_cannot_be_read() -> None:
    world = World([(0, None)], index=indexed("COMPLETED"))
    assert world.drive(read_ended("wf-1", None)) is None
    assert world.age < ASK_AGAIN[0] + 0.1


def test_what_was_deleted_since_its_end_cannot_be_read() -> None:
    world = World([(0, None)])
    assert world.drive(read_ended("wf-1", T0)) is None
    assert world.age == pytest.approx(sum(ASK_AGAIN), abs=0.2)


@pytest.mark.parametrize("error", [None, STRAY])
def test_an_end_that_was_not_found_once_is_read(error: ConductorRequestError | None) -> None:
    world = World([(0, error), (0.5, workflow(status="COMPLETED"))])
    assert world.drive(read_ended("wf-1", None)).status == "COMPLETED"


def test_an_end_is_read_for_half_a_minute_though_the_deadline_has_come() -> None:
    world = World([(0, unreachable()), (20, workflow(status="COMPLETED"))])
    assert world.drive(read_ended("wf-1", T0)).status == "COMPLETED"
