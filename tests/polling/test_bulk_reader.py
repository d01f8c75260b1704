"""How many workflows are asked about: in bulk or one by one, whichever works and is cheaper."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorAuthError,
    ConductorMissingRouteError,
    ConductorRequestError,
    ConductorServerError,
    ConductorTooManyRequestsError,
    ConductorUnreachableError,
    NotConductorError,
)
from airflow_provider_conductor.polling.bulk_reader import (
    BULK_AGAIN,
    FIRST_BATCH,
    MEASURE_AGAIN,
    PASSING,
    SPLITS,
    BulkReader,
)
from airflow_provider_conductor.polling.poll_pause import PollResult, Revision
from airflow_provider_conductor.polling.poller_client import PollerLimits
from tests.polling.simulated import (
    ROUTE,
    Server,
    names,
    server_error,
    watcher_of,
)
from tests.polling.virtual_time import in_virtual_time, run


class Paying:
    """A timer on which each request takes what it costs: so many seconds, and so many for each id in it."""

    def __init__(self, server: Server, *, request: float, bulk_id: float) -> None:
        self.server, self.request, self.bulk_id = server, request, bulk_id

    def __call__(self) -> float:
        single = self.server.asked["status"] + self.server.asked["get"]
        return (
            single * self.request + self.server.asked["bulk"] * self.request + sum(self.server.batches) * self.bulk_id
        )


def reader_of(server: Server, timer: Any = None) -> BulkReader:
    return BulkReader(watcher_of(server)._client, timer or (lambda: 0.0))


async def read_all(reader: BulkReader, ids: list[str]) -> dict[str, PollResult]:
    found: dict[str, PollResult] = {}
    while ids:
        count, seen = await reader.read(ids)
        assert 0 < count <= len(ids)
        found |= seen
        ids = ids[count:]
    return found


@in_virtual_time
async def test_bulk_requests_grow_to_a_thousand_ids() -> None:
    server = Server()
    server.add(*names(5_000))
    found = await read_all(reader_of(server), names(5_000))
    assert found["w4999"] == PollResult(Revision("RUNNING", 1))
    assert len(found) == 5_000
    assert server.batches[:4] == [FIRST_BATCH - FIRST_BATCH % 4, 192, 768, 1000]
    assert max(server.batches) == 1_000


@pytest.mark.parametrize(("count", "requests"), [(10, 1), (250, 1), (1_000, 1), (1_010, 2), (5_000, 5)])
@in_virtual_time
async def test_the_few_ids_that_remain_do_not_make_the_next_request_small(count: int, requests: int) -> None:
    server = Server()
    server.add(*names(count))
    reader = reader_of(server)
    for _ in range(10):
        server.batches.clear()
        await read_all(reader, names(count))
    assert len(server.batches) == requests


@in_virtual_time
async def test_after_small_requests_a_large_one_is_approached_in_steps() -> None:
    """Those workflows may be larger."""
    server = Server()
    server.add(*names(1_000))
    reader = reader_of(server)
    await read_all(reader, names(1_000))
    for _ in range(10):
        await read_all(reader, names(5))
    server.batches.clear()
    await read_all(reader, names(1_000))
    assert server.batches == [48, 192, 760]


@in_virtual_time
async def test_a_bulk_answer_is_kept_to_some_bytes() -> None:
    server = Server(padding=1_500)
    server.add(*names(6_000))
    await read_all(reader_of(server), names(6_000))
    assert set(server.asked) == {"bulk"}
    assert all(size * 1_600 <= PollerLimits().bulk_answer_bytes * 1.1 for size in server.batches)


@in_virtual_time
async def test_an_id_that_the_server_does_not_know_is_left_out() -> None:
    for server in (Server(), Server(bulk=False), Server(bulk=False, status_route=False)):
        server.add("a")
        assert set(await read_all(reader_of(server), ["a", "gone"])) == {"a"}


@pytest.mark.parametrize(("status_route", "kind", "times"), [(True, "status", 0), (False, "get", 1)])
@in_virtual_time
async def test_without_bulk_requests_each_is_asked_alone(status_route: bool, kind: str, times: int) -> None:
    server = Server(bulk=False, status_route=status_route)
    server.add(*names(20))
    reader = reader_of(server)
    for _ in range(3):
        found = await read_all(reader, names(20))
    assert found["w7"].revision == Revision("RUNNING", times)
    assert server.asked["bulk"] == 1
    assert server.asked[kind] == 60


@in_virtual_time
async def test_bulk_requests_that_are_refused_are_done_without() -> None:
    server = Server(errors=[ConductorAuthError("no permission", status=403, **ROUTE)])
    server.add("a", "b")
    assert set(await read_all(reader_of(server), ["a", "b"])) == {"a", "b"}


@in_virtual_time
async def test_credentials_that_are_refused_everywhere_are_told() -> None:
    server = Server(errors=[ConductorAuthError("who are you?", status=401, **ROUTE) for _ in range(9)])
    with pytest.raises(ConductorAuthError):
        await read_all(reader_of(server), ["a", "b"])
    assert len(server.at) == 2


@pytest.mark.parametrize("repeatable", [True, False])
@in_virtual_time
async def test_one_broken_workflow_costs_the_others_a_request_each(repeatable: bool) -> None:
    server = Server(errors=[server_error(repeatable=repeatable)], broken={"w3"})
    server.add(*names(30))
    reader = reader_of(server)
    found = await read_all(reader, names(30))
    assert set(found) == set(names(30)) - {"w3"}


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (ConductorMissingRouteError("no such endpoint", status=404, **ROUTE), MEASURE_AGAIN),
        (server_error(repeatable=True), BULK_AGAIN),
    ],
    ids=["missing", "failed once"],
)
@in_virtual_time
async def test_bulk_requests_are_tried_again_after_a_while(error: ConductorRequestError, pause: float) -> None:
    server = Server(errors=[error])
    server.add(*names(30))
    reader = reader_of(server)
    await read_all(reader, names(30))
    await read_all(reader, names(30))
    assert server.asked["bulk"] == 1
    await asyncio.sleep(pause)
    server.asked.clear()
    await read_all(reader, names(30))
    assert server.asked["status"] == 0


@in_virtual_time
async def test_a_server_that_is_away_is_found_out_by_a_few_requests() -> None:
    for server in (Server(away=True), Server(away=True, bulk=False)):
        reader = reader_of(server)
        with pytest.raises(ConductorUnreachableError):
            await read_all(reader, names(1_000))
        assert len(server.at) <= PASSING * 2


@in_virtual_time
async def test_workflows_that_all_fail_are_the_servers_failure() -> None:
    server = Server(bulk=False, broken=set(names(100)))
    with pytest.raises(ConductorServerError):
        await read_all(reader_of(server), names(100))
    assert len(server.at) <= PASSING * 3


@pytest.mark.parametrize("bulk", [True, False])
@pytest.mark.parametrize("count", [1, PASSING - 1])
@in_virtual_time
async def test_a_few_workflows_that_fail_among_themselves_are_not_the_servers_failure(count: int, bulk: bool) -> None:
    """A sweep is of those due together: one that cannot be read is often alone in it."""
    server = Server(bulk=bulk, broken=set(names(count)))
    server.add(*names(count))
    assert await read_all(reader_of(server), names(count)) == {}


@in_virtual_time
async def test_a_first_workflow_that_fails_alone_does_not_hide_the_others() -> None:
    """Bulk answers that never come, as from a gateway that cuts them, and a probe that happens to ask about it."""
    server = Server(broken={"w0"}, errors=[server_error(repeatable=True)])
    server.add(*names(30))
    assert set(await read_all(reader_of(server), names(30))) == set(names(30)) - {"w0"}


@in_virtual_time
async def test_too_many_requests_stop_the_sweep() -> None:
    busy = [ConductorTooManyRequestsError("slow down", status=429, retry_after=9.0, **ROUTE)]
    for server in (Server(errors=list(busy)), Server(bulk=False, errors=[server_error(), *busy])):
        with pytest.raises(ConductorTooManyRequestsError):
            await read_all(reader_of(server), names(3))


@pytest.mark.parametrize(
    ("padding", "request_costs", "bulk_id_costs", "winner"),
    [
        (100, 0.001, 0.9, "bulk"),
        (5_000, 0.001, 0.0001, "bulk"),
        (5_000, 0.001, 0.01, "status"),
        (60_000, 0.001, 0.0, "status"),
    ],
    ids=["small: not measured", "medium, bulk cheaper", "medium, status cheaper", "large: not measured"],
)
@in_virtual_time
async def test_the_cheaper_way_is_taken(padding: int, request_costs: float, bulk_id_costs: float, winner: str) -> None:
    server = Server(padding=padding)
    server.add(*names(400))
    reader = reader_of(server, Paying(server, request=request_costs, bulk_id=bulk_id_costs))
    await read_all(reader, names(400))
    server.asked.clear()
    server.batches.clear()
    for _ in range(5):
        await read_all(reader, names(400))
    assert set(server.asked) == {winner}


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (None, None),
        (["w"], None),
        ({"workflowId": {"a": 1}}, None),
        ({"status": None}, None),
        ({"status": "SLEEPING"}, None),
        ({"updateTime": "soon"}, Revision("RUNNING", 0)),
        ({"updateTime": {"a": 1}}, Revision("RUNNING", 0)),
        ({"updateTime": float("inf")}, Revision("RUNNING", 0)),
        ({"updateTime": float("nan")}, Revision("RUNNING", 0)),
        ({"updateTime": 10**400}, Revision("RUNNING", 0)),
        ({"updateTime": 7.0}, Revision("RUNNING", 7)),
        ({"reasonForIncompletion": {"a": 1}}, Revision("RUNNING", 1)),
    ],
    ids=str,
)
@in_virtual_time
async def test_what_cannot_be_read_of_one_workflow_harms_no_other(answer: Any, seen: Revision | None) -> None:
    server = Server(answers={"b": answer})
    server.add("a", "b")
    found = await read_all(reader_of(server), ["a", "b"])
    assert found["a"] == PollResult(Revision("RUNNING", 1))
    assert found.get("b") == (None if seen is None else PollResult(seen))
    assert server.asked == {"bulk": 1}


@pytest.mark.parametrize("culprits", [{"w0"}, {"w640"}, {"w3", "w911"}])
@in_virtual_time
async def test_a_workflow_that_makes_bulk_answers_unreadable_is_asked_about_alone(culprits: set[str]) -> None:
    """The others go on in bulk: a thousand requests in the place of one would be their harm."""
    server = Server(too_deep=culprits)
    server.add(*names(1_000))
    reader = reader_of(server)
    assert set(await read_all(reader, names(1_000))) == set(names(1_000))
    assert sum(server.asked.values()) <= 60
    server.asked.clear()
    assert set(await read_all(reader, names(1_000))) == set(names(1_000))
    assert server.asked["status"] == len(culprits)
    assert server.asked["bulk"] <= 5


@in_virtual_time
async def test_many_such_workflows_are_all_asked_about_one_by_one() -> None:
    server = Server(too_deep=set(names(1_000)[::7]))
    server.add(*names(1_000))
    assert set(await read_all(reader_of(server), names(1_000))) == set(names(1_000))
    assert server.asked["bulk"] <= 2 * SPLITS


@pytest.mark.parametrize("bulk", [True, False])
def test_an_error_that_nobody_has_foreseen_is_that_of_one_answer(bulk: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = Server(bulk=bulk, errors=[ZeroDivisionError("a defect")])
        server.add(*names(30))
        assert len(await read_all(reader_of(server), names(30))) >= 29

    run(main())
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


@in_virtual_time
async def test_a_page_in_the_place_of_every_answer_is_the_servers_failure() -> None:
    server = Server(answers=dict.fromkeys(names(100), "a page"), bulk=False)
    server.add(*names(100))
    with pytest.raises(NotConductorError):
        await read_all(reader_of(server), names(100))
