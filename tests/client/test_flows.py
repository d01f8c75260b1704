"""Both clients drive a flow alike: results sent in, errors thrown in, time from outside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    AsyncConductorClient,
    ConductorNotFoundError,
    ConductorServerError,
    endpoints,
)
from airflow_provider_conductor.client.flow import Flow, Now, Sleep, sleep
from tests.client import fault_server as faults
from tests.client.transports import Clock, Connect, Serve

READ = endpoints.get_workflow("w1")
GONE = faults.error(404, "No such workflow found by id: w1")


def test_replies_are_sent_in_and_the_result_is_returned(serve: Serve, connect: Connect) -> None:
    def flow() -> Flow[list[str]]:
        first = yield READ
        second = yield READ
        return [first.status, second.status]

    server = serve(faults.in_turn(faults.workflow(state="RUNNING"), faults.workflow(state="COMPLETED")))
    assert connect(server).run(flow()) == ["RUNNING", "COMPLETED"]


def test_an_error_is_thrown_where_the_call_was_and_may_be_answered(serve: Serve, connect: Connect) -> None:
    def flow() -> Flow[Any]:
        try:
            yield READ
        except ConductorNotFoundError:
            return (yield endpoints.start_workflow({"name": "orders"}))

    assert connect(serve(faults.in_turn(GONE, faults.text("w2")))).run(flow()) == "w2"


def test_an_error_that_the_flow_does_not_catch_is_raised(serve: Serve, connect: Connect) -> None:
    closed = []

    def flow() -> Flow[None]:
        try:
            yield READ
        finally:
            closed.append(True)

    with pytest.raises(ConductorNotFoundError, match="No such workflow found by id: w1"):
        connect(serve(GONE)).run(flow())
    assert closed == [True]


def test_a_flow_gets_the_wall_clock_unaffected_by_setting_it(serve: Serve, connect: Connect, clock: Clock) -> None:
    def flow() -> Flow[list[float]]:
        first = yield Now()
        clock.set_by = -3600.0
        yield Sleep(7)
        return [first, (yield Now())]

    began = clock()
    client = connect(serve(faults.workflow()))
    assert client.run(flow()) == pytest.approx([began, began + 7])
    assert client.run(flow())[0] == pytest.approx(began + 7 - 3600), "the next flow begins by the clock as it is"


def test_a_flow_may_turn_an_error_into_its_own(serve: Serve, connect: Connect) -> None:
    def flow() -> Flow[None]:
        try:
            yield READ
        except ConductorNotFoundError as error:
            raise LookupError("gone") from error

    with pytest.raises(LookupError, match="gone"):
        connect(serve(GONE)).run(flow())


def test_time_is_the_clients_and_passes_by_sleeping(connect: Connect, clock: Clock) -> None:
    def flow() -> Flow[float]:
        before = yield Now()
        yield Sleep(3_600)
        return (yield Now()) - before

    assert connect("http://conductor.invalid").run(flow()) == 3_600
    assert clock.sleeps == [3_600]


def test_calls_of_a_flow_are_repeated_by_the_same_rules(serve: Serve, connect: Connect) -> None:
    def flow() -> Flow[str]:
        yield READ
        return (yield endpoints.start_workflow({"name": "orders"}))

    server = serve(faults.in_turn(faults.status(503), faults.workflow(), faults.status(503)))
    with pytest.raises(ConductorServerError):
        connect(server).run(flow())
    assert [request.method for request in server.requests] == ["GET", "GET", "POST"]


def test_what_is_no_step_is_an_error_and_not_answered_by_nothing(connect: Connect) -> None:
    def flow() -> Flow[object]:
        return (yield sleep(1.0))  # without "from"

    with pytest.raises(TypeError, match="not a step: <generator"):
        connect("http://127.0.0.1:1").run(flow())


def test_a_flow_of_nothing_ends(connect: Connect) -> None:
    def flow() -> Flow[int]:
        return 5
        yield Now()

    assert connect("http://conductor.invalid").run(flow()) == 5


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_flow_is_closed(error: type[BaseException]) -> None:
    from airflow_provider_conductor.client import ConductorClient

    closed = []

    def flow() -> Flow[None]:
        try:
            yield Sleep(1)
        finally:
            closed.append(True)

    def interrupt(_: float) -> None:
        raise error

    kept = flow()
    with ConductorClient("http://conductor.invalid", sleep=interrupt) as client, pytest.raises(error):
        client.run(kept)
    assert closed == [True]


async def test_a_cancelled_flow_is_closed() -> None:
    closed = []

    def flow() -> Flow[None]:
        try:
            yield Sleep(60)
        finally:
            closed.append(True)

    kept = flow()
    async with AsyncConductorClient("http://conductor.invalid") as client:
        task = asyncio.create_task(client.run(kept))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert closed == [True]


async def test_a_closed_client_opens_again_when_used(serve: Serve) -> None:
    async with AsyncConductorClient(serve(faults.workflow()).api_url) as client:
        await client.send(READ)
        await client.close()
        assert (await client.send(READ)).workflow_id == "w1"
