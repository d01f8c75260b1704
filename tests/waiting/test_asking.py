"""How many workflows are asked about: in bulk or one by one, whichever works and is cheaper."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorServerError,
    ConductorUnreachable,
    TooManyRequests,
)
from airflow_provider_conductor.waiting.asking import (
    BULK_BYTES,
    FIRST_BATCH,
    MEASURE_AGAIN,
    PASSING,
    Asker,
    Seen,
)
from airflow_provider_conductor.waiting.rest import Mark
from tests.waiting.simulated import ROUTE, Server, server_error
from tests.waiting.virtual_time import now, run


def names(count: int) -> list[str]:
    return [f"w{index}" for index in range(count)]


class Paying:
    """A timer on which each request takes what it costs: so many seconds, and so many for each id in it."""

    def __init__(self, server: Server, *, request: float, bulk_id: float) -> None:
        self.server, self.request, self.bulk_id = server, request, bulk_id

    def __call__(self) -> float:
        single = self.server.asked["status"] + self.server.asked["get"]
        return (
            single * self.request + self.server.asked["bulk"] * self.request + sum(self.server.batches) * self.bulk_id
        )


def asker_of(server: Server, timer: Any = None) -> Asker:
    return Asker(server, clock=now, timer=timer or (lambda: 0.0))


async def ask_all(asker: Asker, ids: list[str]) -> dict[str, Seen]:
    found: dict[str, Seen] = {}
    while ids:
        count, seen = await asker.ask(ids)
        assert 0 < count <= len(ids)
        found |= seen
        ids = ids[count:]
    return found


def test_bulk_requests_grow_to_a_thousand_ids() -> None:
    async def main() -> None:
        server = Server()
        server.add(*names(5_000))
        found = await ask_all(asker_of(server), names(5_000))
        assert found["w4999"] == Seen(Mark("RUNNING", 1))
        assert len(found) == 5_000
        assert server.batches[:4] == [FIRST_BATCH - FIRST_BATCH % 4, 192, 768, 1000]
        assert max(server.batches) == 1_000

    run(main())


def test_a_bulk_answer_is_kept_to_some_bytes() -> None:
    async def main() -> None:
        server = Server(padding=1_500)
        server.add(*names(6_000))
        await ask_all(asker_of(server), names(6_000))
        assert set(server.asked) == {"bulk"}
        assert all(size * 1_600 <= BULK_BYTES * 1.1 for size in server.batches)

    run(main())


def test_an_id_that_the_server_does_not_know_is_left_out() -> None:
    async def main() -> None:
        for server in (Server(), Server(bulk=False), Server(bulk=False, status_route=False)):
            server.add("a")
            assert set(await ask_all(asker_of(server), ["a", "gone"])) == {"a"}

    run(main())


@pytest.mark.parametrize(("status_route", "kind", "times"), [(True, "status", 0), (False, "get", 1)])
def test_without_bulk_requests_each_is_asked_alone(status_route: bool, kind: str, times: int) -> None:
    async def main() -> None:
        server = Server(bulk=False, status_route=status_route)
        server.add(*names(20))
        asker = asker_of(server)
        for _ in range(3):
            found = await ask_all(asker, names(20))
        assert found["w7"].mark == Mark("RUNNING", times)
        assert asker.tells_times is bool(times)
        assert server.asked["bulk"] == 1
        assert server.asked[kind] == 60

    run(main())


def test_bulk_requests_that_are_refused_are_done_without() -> None:
    async def main() -> None:
        server = Server(errors=[ConductorAuthError("no permission", status=403, **ROUTE)])
        server.add("a", "b")
        assert set(await ask_all(asker_of(server), ["a", "b"])) == {"a", "b"}

    run(main())


def test_credentials_that_are_refused_everywhere_are_told() -> None:
    async def main() -> None:
        server = Server(errors=[ConductorAuthError("who are you?", status=401, **ROUTE) for _ in range(9)])
        with pytest.raises(ConductorAuthError):
            await ask_all(asker_of(server), ["a", "b"])
        assert len(server.at) == 2

    run(main())


@pytest.mark.parametrize("repeatable", [True, False])
def test_one_broken_workflow_costs_the_others_a_request_each(repeatable: bool) -> None:
    async def main() -> None:
        server = Server(errors=[server_error(repeatable=repeatable)], broken={"w3"})
        server.add(*names(30))
        asker = asker_of(server)
        found = await ask_all(asker, names(30))
        assert set(found) == set(names(30)) - {"w3"}

    run(main())


def test_bulk_requests_are_tried_again_after_a_while() -> None:
    async def main() -> None:
        server = Server(errors=[server_error()])
        server.add(*names(30))
        asker = asker_of(server)
        await ask_all(asker, names(30))
        await ask_all(asker, names(30))
        assert server.asked == {"bulk": 1, "status": 60}
        await asyncio.sleep(MEASURE_AGAIN)
        await ask_all(asker, names(30))
        assert server.asked["status"] == 60

    run(main())


def test_a_server_that_is_away_is_found_out_by_a_few_requests() -> None:
    async def main() -> None:
        for server in (Server(away=True), Server(away=True, bulk=False)):
            asker = asker_of(server)
            with pytest.raises(ConductorUnreachable):
                await ask_all(asker, names(1_000))
            assert len(server.at) <= PASSING * 2

    run(main())


def test_workflows_that_all_fail_are_the_servers_failure() -> None:
    async def main() -> None:
        server = Server(bulk=False, broken=set(names(100)))
        with pytest.raises(ConductorServerError):
            await ask_all(asker_of(server), names(100))
        assert len(server.at) <= PASSING * 3

    run(main())


def test_too_many_requests_stop_the_sweep() -> None:
    async def main() -> None:
        busy = [TooManyRequests("slow down", status=429, retry_after=9.0, **ROUTE)]
        for server in (Server(errors=list(busy)), Server(bulk=False, errors=[server_error(), *busy])):
            with pytest.raises(TooManyRequests):
                await ask_all(asker_of(server), names(3))

    run(main())


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
def test_the_cheaper_way_is_taken(padding: int, request_costs: float, bulk_id_costs: float, winner: str) -> None:
    async def main() -> None:
        server = Server(padding=padding)
        server.add(*names(400))
        asker = asker_of(server, Paying(server, request=request_costs, bulk_id=bulk_id_costs))
        await ask_all(asker, names(400))
        server.asked.clear()
        server.batches.clear()
        for _ in range(5):
            await ask_all(asker, names(400))
        assert set(server.asked) == {winner}

    run(main())


def test_what_is_no_workflow_in_an_answer_is_left_out() -> None:
    async def main() -> None:
        server = Server()
        server.add("a", "b")
        whole = server._whole
        server._whole = lambda name: {"strange": True} if name == "b" else whole(name)  # type: ignore[method-assign]
        assert set(await ask_all(asker_of(server), ["a", "b"])) == {"a"}

    run(main())
