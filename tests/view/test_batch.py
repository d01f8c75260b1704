"""The workflows of a batch: found in the index or by their ids, the failed ones first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient
from airflow_provider_conductor.submission.identity import StartKey, TaskIdentity
from airflow_provider_conductor.testing import ConductorStandIn
from airflow_provider_conductor.view.batch import BatchWorkflows, read_batch

IDENTITY = TaskIdentity(prefix="airflow", dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1, first_try=1)


@pytest.fixture
def server() -> Iterator[ConductorStandIn]:
    with ConductorStandIn() as server:
        yield server


def started(
    server: ConductorStandIn,
    item: str,
    status: str = "COMPLETED",
    *,
    key: StartKey = StartKey(1),  # noqa: B008
    identity: TaskIdentity = IDENTITY,
    name: str = "ship",
) -> str:
    """A workflow that a batch has started."""
    return server.add(status, name=name, correlation_id=replace(identity, item=item).correlation_id(key))


def read(
    server: ConductorStandIn,
    limit: int = 100,
    *,
    name: str = "ship",
    identity: TaskIdentity = IDENTITY,
    items: tuple[str, ...] = (),
) -> BatchWorkflows:
    ids = {replace(identity, item=item).correlation_id(key): item for item in items for key in identity.all_keys()}
    with ConductorClient(server.url) as client:
        return client.run(read_batch(identity, name, ids, limit))


def items(found: BatchWorkflows) -> list[str]:
    return [one.item for one in found.shown]


def test_what_has_failed_comes_first_then_what_runs(server: ConductorStandIn) -> None:
    for item, status in {"a": "COMPLETED", "b": "RUNNING", "c": "TERMINATED", "d": "PAUSED", "e": "FAILED"}.items():
        started(server, item, status)
    found = read(server)
    assert sorted(items(found)[:2]) == ["c", "e"]
    assert sorted(items(found)[2:4]) == ["b", "d"]
    assert items(found)[4:] == ["a"]
    assert found.counts == {"failed": 2, "running": 2, "completed": 1}


@pytest.mark.parametrize("failed", [0, 3, 70])
def test_of_many_as_many_as_were_asked_for_are_read(server: ConductorStandIn, failed: int) -> None:
    for number in range(70):
        started(server, f"f{number}", "FAILED" if number < failed else "COMPLETED")
        started(server, f"r{number}", "RUNNING")
    before = len(server.requests)
    found = read(server, 20)
    assert len(server.requests) - before == 3
    assert len(found.shown) == 20
    # However many have failed, some of the running ones are there.
    assert [one.group for one in found.shown] == ["failed"] * min(failed, 15) + ["running"] * (20 - min(failed, 15))
    assert {group: number for group, number in found.counts.items() if number} == {
        group: number for group, number in {"failed": failed, "running": 70, "completed": 70 - failed}.items() if number
    }


def test_others_are_not_in_the_list(server: ConductorStandIn) -> None:
    started(server, "a")
    started(server, "b", identity=replace(IDENTITY, map_index=1))
    started(server, "c", identity=replace(IDENTITY, run_id="r2"))
    started(server, "d", name="another")
    started(server, "", "RUNNING")
    # A sub-workflow has the correlation id of what started it.
    server.workflows[started(server, "e")]["parentWorkflowId"] = "w"
    assert items(read(server)) == ["a"]


def test_a_cleared_task_has_the_workflows_of_its_new_series(server: ConductorStandIn) -> None:
    identity = replace(IDENTITY, try_number=3)
    started(server, "a")
    started(server, "b", "FAILED")
    assert sorted(items(read(server, identity=identity))) == ["a", "b"]
    started(server, "a", "RUNNING", key=StartKey(3))
    found = read(server, identity=identity)
    assert (items(found), found.counts) == (["a"], {"failed": 0, "running": 1, "completed": 0})


def test_an_item_that_was_started_again_is_there_once(server: ConductorStandIn) -> None:
    started(server, "a", "FAILED")
    started(server, "b", "FAILED")
    again = started(server, "a", "COMPLETED", key=StartKey(1, 1))
    found = read(server, identity=replace(IDENTITY, try_number=2))
    assert items(found) == ["b", "a"]
    assert found.shown[1].workflow.workflow_id == again
    assert found.counts == {"failed": 1, "running": 0, "completed": 1}


def without_index(server: ConductorStandIn) -> None:
    server.indexed = ()


def with_broken_index(server: ConductorStandIn) -> None:
    error = (400, "application/json", b'{"status": 400, "message": "no index"}')
    server.instead = lambda request: error if request.path == "/workflow/search" else None


@pytest.mark.parametrize("break_index", [without_index, with_broken_index])
def test_without_an_index_the_first_items_are_looked_up(server: ConductorStandIn, break_index: Any) -> None:
    break_index(server)
    for item, status in {"a": "COMPLETED", "b": "RUNNING", "c": "FAILED"}.items():
        started(server, item, status)
    found = read(server, items=("a", "b", "c", "d"))
    assert items(found) == ["c", "b", "a"]
    assert found.counts == {"failed": 1, "running": 1, "completed": 1}
    assert found.complete
    # Nothing tells the ids of the items.
    assert read(server).shown == ()


def test_a_list_that_was_looked_up_says_that_it_may_lack_some(server: ConductorStandIn) -> None:
    without_index(server)
    every = tuple(map(str, range(1_000)))
    for item in every[:450]:
        started(server, item)
    before = len(server.requests)
    found = read(server, 100, items=every)
    assert (len(found.shown), found.counts["completed"], found.complete) == (100, 450, False)
    # 200 ids a request, until one finds nothing.
    assert len([request for request in server.requests[before:] if request.path.endswith("/correlated")]) == 4


def test_ids_that_end_in_a_hash_are_looked_up(server: ConductorStandIn) -> None:
    identity = replace(IDENTITY, dag_id="d" * 100)
    started(server, "0", identity=identity)
    assert items(read(server, identity=identity, items=("0", "1"))) == ["0"]


def test_a_run_id_that_an_index_would_misread_is_not_searched_for(server: ConductorStandIn) -> None:
    identity = replace(IDENTITY, run_id="an odd run, with 'quotes' AND more")
    started(server, "0", identity=identity)
    assert items(read(server, identity=identity, items=("0",))) == ["0"]
    assert not [request for request in server.requests if request.path == "/workflow/search"]
