"""Waits that read whole workflows at almost the same time share requests, and none of them harms another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorAuthError,
    ConductorSettings,
    ConductorTimeoutError,
    ConductorTooManyRequestsError,
    endpoints,
)
from airflow_provider_conductor.client.endpoints.reading import whole_workflows
from airflow_provider_conductor.client.flow import Answer
from airflow_provider_conductor.polling.bulk_reader import PROBE_WITHIN
from airflow_provider_conductor.polling.observation import LAST_POLL
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.poller_client import PollerLimits
from airflow_provider_conductor.polling.shared_reads import GATHER
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_event import WaitEvent
from airflow_provider_conductor.polling.wait_spec import WaitSpec
from tests.polling.builders import live, sub, task
from tests.polling.simulated import ROUTE, Server, begin, end, names, server_error, start, waits_on, watch, watcher_of
from tests.polling.virtual_time import in_virtual_time, now

MANY = 1_000

AT_MOST = 200
"""Requests for a thousand waits of 25 s."""


def requests_of(server: Server) -> int:
    return sum(server.asked.values())


async def begin_apart(poller: Poller, count: int, pause: float) -> list[asyncio.Task[WaitEvent]]:
    waits = []
    for name in names(count):
        waits.append(begin(poller, name))
        await asyncio.sleep(pause)
    return waits


async def statuses_of(waits: list[asyncio.Task[WaitEvent]]) -> list[str]:
    ended = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 120)
    return [event.status if isinstance(event, WaitEvent) else type(event).__name__ for event in ended]


# Together


@pytest.mark.parametrize("pause", [0.0, 0.001, 0.01], ids=lambda pause: f"{pause} s apart")
@in_virtual_time
async def test_a_thousand_waits_of_25_seconds_cost_few_requests(pause: float) -> None:
    server, poller = watch(*names(MANY))
    waits = await begin_apart(poller, MANY, pause)
    await asyncio.sleep(25 - MANY * pause)
    server.end(*names(MANY))
    assert await statuses_of(waits) == ["COMPLETED"] * MANY
    assert requests_of(server) <= AT_MOST, (server.asked, server.batches)
    assert server.asked["get"] <= 5, "the very first one, and those that come alone"


def no_task_open(server: Server, began: int, name: str) -> None:
    """Read again after ten seconds: from then on it may be blocked."""
    server.answers[name] = {"startTime": began}


def without_a_worker(server: Server, began: int, name: str) -> None:
    """The queue's poll data are read, too."""
    waits = task(kind="SIMPLE", taskId=name, scheduledTime=began - 60_000)
    server.answers[name] = {"startTime": began - 60_000, "tasks": [waits]}


def in_a_sub_workflow(server: Server, began: int, name: str) -> None:
    """That is read, too."""
    server.add(f"below-{name}")
    below = sub(runs=f"below-{name}", taskId=name, scheduledTime=began, startTime=began)
    server.answers[name] = {"startTime": began, "tasks": [below]}


@pytest.mark.parametrize("ends", ["COMPLETED", "FAILED"])
@pytest.mark.parametrize("shape", [no_task_open, without_a_worker, in_a_sub_workflow])
@in_virtual_time
async def test_waits_of_any_shape_cost_few_requests(shape: Callable[[Server, int, str], None], ends: str) -> None:
    server, poller = watch(*names(MANY))
    for name in names(MANY):
        shape(server, int(now() * 1000), name)
    waits = await begin_apart(poller, MANY, 0.001)
    await asyncio.sleep(25 - MANY * 0.001)
    server.end(*server.workflows, status=ends)
    assert await statuses_of(waits) == [ends] * MANY
    assert requests_of(server) <= AT_MOST, (server.asked, server.batches)


TAKEN = {"wait_until_task_ref": "pick", "wait_until_task_status": "IN_PROGRESS"}
"""Only the tasks show that a worker takes one, so each poll reads them."""


@in_virtual_time
async def test_waits_that_read_the_tasks_each_second_cost_few_requests() -> None:
    server, poller = watch(*names(200))
    for name in names(200):
        began = int(now() * 1000)
        server.answers[name] = {"startTime": began, "tasks": [task("pick", taskId=name, scheduledTime=began)]}
    waits = [begin(poller, name, **TAKEN) for name in names(200)]
    await asyncio.sleep(25)
    for name in names(200):
        server.answers[name] = {"tasks": [live("pick", taskId=name)]}
    assert await statuses_of(waits) == ["task_ended"] * 200
    assert requests_of(server) <= AT_MOST, server.asked


@in_virtual_time
async def test_one_wait_polls_as_soon_as_it_begins() -> None:
    server, poller = watch("a", "b")
    waits = []
    for name in ("a", "b"):
        began = now()
        waits.append(begin(poller, name))
        await asyncio.sleep(0.1)
        assert server.at[-1] - began < 0.01
        await asyncio.sleep(GATHER)
    assert server.asked["get"] == 2
    await end(poller, *waits)


@in_virtual_time
async def test_no_first_poll_is_late_by_more_than_a_blink() -> None:
    server, poller = watch(*names(30))
    heard: dict[str, float] = {}

    def hears(name: str) -> Any:
        return lambda line: heard.setdefault(name, now() - began)

    for name in names(30):
        server.answers[name] = {"status": "PAUSED"}
    began = now()
    waits = [start(poller.run(wait(WaitSpec(workflow_id=n, started_at=now()), hears(n)))) for n in names(30)]
    await asyncio.sleep(2)
    assert set(heard) == set(names(30))
    assert max(heard.values()) <= GATHER + 3 * server.latency
    await end(poller, *waits)


@in_virtual_time
async def test_two_waits_for_one_workflow_share_its_answer() -> None:
    server, poller = watch("a", "b")
    waits = [begin(poller, name) for name in ("a", "b", "b", "a", "b")]
    await asyncio.sleep(0.9)
    assert server.asked == {"get": 1, "bulk": 1}
    assert server.batches == [2]
    await end(poller, *waits)


@in_virtual_time
async def test_many_waits_for_one_workflow_cost_what_two_cost() -> None:
    server, poller = watch("a")
    waits = [begin(poller, "a") for _ in range(300)]
    await asyncio.sleep(0.9)
    assert server.asked == {"get": 2}
    await end(poller, *waits)


@in_virtual_time
async def test_large_workflows_share_a_request_as_far_as_their_bytes_allow() -> None:
    server = Server(padding=100_000)
    waits = waits_on(watcher_of(server), server, 300)
    await asyncio.sleep(0.9)
    assert sum(server.batches) == 299
    assert max(server.batches[1:]) * 100_000 <= PollerLimits().bulk_answer_bytes
    server.end(*names(300))
    assert await statuses_of(waits) == ["COMPLETED"] * 300


@in_virtual_time
async def test_workflows_of_megabytes_are_read_alone() -> None:
    server = Server(padding=1_500_000)
    poller = watcher_of(server)
    waits = waits_on(poller, server, 60)
    await asyncio.sleep(0.9)
    batches = len(server.batches)
    assert server.asked["get"] >= 10
    server.add(*(f"more{index}" for index in range(20)))
    more = [begin(poller, f"more{index}") for index in range(20)]
    await asyncio.sleep(0.9)
    assert len(server.batches) == batches
    server.end(*server.workflows)
    assert await statuses_of(waits + more) == ["COMPLETED"] * 80


# Harm


UNREADABLE = {
    "a list": ["a list"],
    "tasks of another shape": {"tasks": [{"status": 7}]},
    "no time": {"startTime": "soon"},
}


@pytest.mark.parametrize("poison", ["broken", "too_deep", "forbidden", "missing", *UNREADABLE])
@in_virtual_time
async def test_one_poisoned_workflow_harms_no_other(poison: str) -> None:
    server, poller = watch()
    itself = {"forbidden": "ConductorAuthError", "missing": "gone"} | dict.fromkeys(UNREADABLE, "NotConductorError")
    server.add(*names(MANY))
    match poison:
        case "broken":
            server.broken = {"w500"}
        case "too_deep":
            server.too_deep = {"w500"}
        case "forbidden":
            server.forbidden = {"w500"}
        case "missing":
            del server.workflows["w500"]
        case _:
            server.answers["w500"] = UNREADABLE[poison]
    waits = [begin(poller, name) for name in names(MANY)]
    await asyncio.sleep(25)
    done = [name for name, waiting in zip(names(MANY), waits, strict=True) if waiting.done()]
    assert done == (["w500"] if poison in itself else [])
    if poison != "forbidden":  # nobody can say of which workflow the server speaks
        assert requests_of(server) <= AT_MOST, (server.asked, server.batches)
    server.end(*server.workflows)
    server.broken, server.too_deep, server.answers = set(), set(), {}
    assert await statuses_of(waits) == [
        itself.get(poison, "COMPLETED") if name == "w500" else "COMPLETED" for name in names(MANY)
    ]


@in_virtual_time
async def test_a_wait_that_is_cancelled_before_its_first_poll_is_not_read() -> None:
    server, poller = watch(*names(40))
    waits = [begin(poller, name) for name in names(40)]
    await asyncio.sleep(GATHER / 2)
    for waiting in waits[1:10]:
        waiting.cancel()
    await asyncio.sleep(0.5)
    assert server.batches == [30]
    assert poller.counts.waits == 31
    await end(poller, *waits)


@in_virtual_time
async def test_waits_that_are_all_cancelled_leave_nothing_behind() -> None:
    server, poller = watch(*names(40))
    waits = [begin(poller, name) for name in names(40)]
    await asyncio.sleep(GATHER / 2)
    await end(poller, *waits)
    await asyncio.sleep(60)
    assert requests_of(server) == 1
    assert server.closed


# Servers and outages


@pytest.mark.parametrize("status_route", [True, False])
@in_virtual_time
async def test_a_server_without_bulk_requests_is_asked_about_each(status_route: bool) -> None:
    server, poller = watch(*names(100), bulk=False, status_route=status_route)
    waits = [begin(poller, name) for name in names(100)]
    await asyncio.sleep(0.8)
    assert (server.asked["bulk"], server.asked["get"]) == (1, 100)
    server.end(*names(100))
    assert await statuses_of(waits) == ["COMPLETED"] * 100


@in_virtual_time
async def test_an_outage_at_the_beginning_is_found_out_by_a_few_requests_and_ends_in_bulk() -> None:
    server, poller = watch(*names(MANY), away=True)
    lines: list[str] = []
    waits = [start(poller.run(wait(WaitSpec(workflow_id=n, started_at=now()), lines.append))) for n in names(MANY)]
    await asyncio.sleep(300)
    assert requests_of(server) <= 60
    assert sum("Conductor is unreachable" in line for line in lines) == MANY
    server.away = False
    server.asked.clear()
    await asyncio.sleep(120)
    assert sum("is reachable again" in line for line in lines) == MANY
    assert server.asked["get"] <= AT_MOST
    server.end(*names(MANY))
    assert await statuses_of(waits) == ["COMPLETED"] * MANY


@pytest.mark.parametrize("retry_after", [2.0, 40.0])
@in_virtual_time
async def test_too_many_requests_at_the_beginning_are_waited_out(retry_after: float) -> None:
    busy = ConductorTooManyRequestsError("slow down", status=429, repeatable=True, retry_after=retry_after, **ROUTE)
    server, poller = watch(*names(MANY), errors=[busy])
    waits = [begin(poller, name) for name in names(MANY)]
    await asyncio.sleep(retry_after)
    assert requests_of(server) <= 2
    await asyncio.sleep(60)
    assert requests_of(server) <= AT_MOST, (server.asked, server.batches)
    server.end(*names(MANY))
    assert await statuses_of(waits) == ["COMPLETED"] * MANY


@in_virtual_time
async def test_bulk_requests_that_hang_delay_the_first_polls_once() -> None:
    server, poller = watch(*names(100), settings=ConductorSettings("http://conductor:8080", read_timeout=300.0))
    answer = server._answer

    async def hanging(call: Any) -> Any:
        if call.path.endswith("/bulk/search"):
            await asyncio.sleep(call.within or 300)
            raise ConductorTimeoutError("no answer", repeatable=True, **ROUTE)
        return await answer(call)

    server._answer = hanging  # type: ignore[method-assign]
    waits = [begin(poller, name) for name in names(100)]
    await asyncio.sleep(PROBE_WITHIN + 2)
    assert server.asked["get"] >= 100
    assert not any(waiting.done() for waiting in waits)
    await end(poller, *waits)


@in_virtual_time
async def test_reads_with_tasks_that_hang_make_no_deadline_late() -> None:
    server, poller = watch(*names(8))
    began, ends = int(now() * 1000), now() + 40
    for name in names(8):
        server.answers[name] = {"startTime": began, "tasks": [task("pick", scheduledTime=began)]}
    waits = [begin(poller, name, deadline=ends, **TAKEN) for name in names(8)]
    await asyncio.sleep(22)
    answer = server._answer

    async def hanging(call: Any) -> Any:
        if ("includeTasks", "true") in call.params:
            await asyncio.sleep(call.within)
            raise ConductorTimeoutError("no answer", repeatable=True, **ROUTE)
        return await answer(call)

    server._answer = hanging  # type: ignore[method-assign]
    assert await statuses_of(waits) == ["timeout"] * 8
    assert now() <= ends + LAST_POLL + 5


@in_virtual_time
async def test_a_server_that_hangs_at_the_beginning_gets_a_few_requests() -> None:
    server, poller = watch(*names(MANY), hangs=True)
    waits = [begin(poller, name) for name in names(MANY)]
    await asyncio.sleep(300)
    assert requests_of(server) <= AT_MOST, (server.asked, server.batches)
    server.hangs = False
    await asyncio.sleep(90)
    server.end(*names(MANY))
    assert await statuses_of(waits) == ["COMPLETED"] * MANY


@in_virtual_time
async def test_refused_credentials_reach_every_wait() -> None:
    _server, poller = watch(*names(30), unauthorized=True)
    waits = [begin(poller, name) for name in names(30)]
    assert await statuses_of(waits) == [ConductorAuthError.__name__] * 30


def test_an_unexpected_error_lets_each_wait_poll_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    @in_virtual_time
    async def main() -> None:
        server, poller = watch(*names(30))

        async def broken(ids: Any) -> Any:
            raise ZeroDivisionError("a defect")

        poller._shared_reads._reader.read = broken  # type: ignore[method-assign]
        waits = [begin(poller, name) for name in names(30)]
        await asyncio.sleep(0.9)
        assert server.asked == {"get": 30}
        await end(poller, *waits)

    main()
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


@in_virtual_time
async def test_a_server_that_fails_for_many_of_them_is_asked_about_each() -> None:
    server, poller = watch(*names(100), errors=[server_error()] * 60)
    waits = [begin(poller, name) for name in names(100)]
    await asyncio.sleep(60)
    server.end(*names(100))
    assert await statuses_of(waits) == ["COMPLETED"] * 100


# What a bulk answer has


def test_a_bulk_answer_has_the_times_under_other_names() -> None:
    one = b'{"workflowId": "a", "status": "RUNNING", "createTime": 5, "updatedTime": 6, "tasks": []}'
    bare = b'{"workflowId": "b", "status": "RUNNING"}'
    found = whole_workflows(Answer(200, {}, b'{"bulkSuccessfulResults": [%s, %s, 7, null]}' % (one, bare)))
    assert set(found) == {"a"}, "one without its tasks is left to its wait"
    assert (found["a"].start_time, found["a"].update_time) == (5, 6)


# Poll data


async def poll_data(poller: Poller, *queues: str) -> list[Any]:
    reads = [poller._shared_poll_data.read(endpoints.get_poll_data(queue)) for queue in queues]
    return await asyncio.gather(*reads, return_exceptions=True)


@in_virtual_time
async def test_poll_data_of_a_queue_are_read_once_for_many_waits() -> None:
    server, poller = watch()
    assert await poll_data(poller, *["pick"] * MANY, *["pack"] * MANY) == [()] * 2 * MANY
    assert server.asked == {"polldata": 2}


@in_virtual_time
async def test_poll_data_are_read_anew_each_time_they_are_wanted() -> None:
    server, poller = watch()
    for _ in range(3):
        await poll_data(poller, "pick")
    assert server.asked == {"polldata": 3}


@in_virtual_time
async def test_poll_data_that_hang_do_so_once_for_all() -> None:
    server, poller = watch(hangs=True)
    began = now()
    answers = await poll_data(poller, *["pick"] * MANY)
    assert {type(answer) for answer in answers} == {ConductorTimeoutError}
    assert now() - began < 2 * server.settings.read_timeout


@in_virtual_time
async def test_one_wait_that_is_cancelled_leaves_the_others_their_poll_data() -> None:
    server, poller = watch()
    reads = [start(poller._shared_poll_data.read(endpoints.get_poll_data("pick"))) for _ in range(10)]
    await asyncio.sleep(0)
    reads[0].cancel()
    assert await asyncio.gather(*reads[1:]) == [()] * 9
    assert server.asked == {"polldata": 2}


@in_virtual_time
async def test_poll_data_are_not_kept() -> None:
    _server, poller = watch()
    await poll_data(poller, *names(100))
    assert not poller._shared_poll_data._queues
