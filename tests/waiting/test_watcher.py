"""One poller for all waits: who is asked, when, together with whom, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorError,
    ConductorUnreachable,
    TooManyRequests,
)
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.waiting.rest import Mark, Sighting
from airflow_provider_conductor.waiting.wait import WaitEvent, WaitPlan, wait
from tests.waiting.simulated import Server, end, refused, resting, start, watcher_of
from tests.waiting.virtual_time import now, run


def names(count: int) -> list[str]:
    return [f"w{index}" for index in range(count)]


async def sweeps_of(server: Server, count: int, seconds: float, **more: Any) -> int:
    """Bulk requests in a minute, once the first looks are over."""
    server.add(*names(count))
    watcher = watcher_of(server)
    waits = [start(watcher.run(resting(name, **more))) for name in names(count)]
    await asyncio.sleep(2)
    before = server.asked["bulk"]
    await asyncio.sleep(seconds)
    swept = server.asked["bulk"] - before
    assert watcher.counts.woken == 0
    assert set(server.asked) == {"bulk"}
    await end(watcher, *waits)
    return swept


# Sharing


@pytest.mark.parametrize(("waits", "requests"), [(1, 1), (1_000, 1), (10_000, 10)])
def test_waits_due_together_share_requests(waits: int, requests: int) -> None:
    assert run(sweeps_of(Server(), waits, 10.0, poll_interval=10.0)) <= requests


def test_ten_thousand_old_waits_cost_a_few_requests_a_minute() -> None:
    """Each is looked at once a minute, with jitter: one request each would be 10,000."""

    async def main() -> int:
        return await sweeps_of(Server(), 10_000, 60.0, started=now() - 7200)

    assert run(main()) <= 60


def test_a_change_wakes_its_wait_and_no_other() -> None:
    async def main() -> None:
        server = Server()
        server.add("a", "b")
        watcher = watcher_of(server)
        one, other = start(watcher.run(resting("a"))), start(watcher.run(resting("b")))
        await asyncio.sleep(5)
        assert not one.done()
        server.end("a")
        await asyncio.sleep(2)
        assert one.result() == Sighting(Mark("COMPLETED", 2), changed=True)
        assert not other.done()
        await end(watcher, other)

    run(main())


def test_two_waits_for_one_workflow_ask_once() -> None:
    async def main() -> None:
        server = Server()
        server.add("a")
        watcher = watcher_of(server)
        both = [start(watcher.run(resting("a"))) for _ in range(2)]
        await asyncio.sleep(1.5)
        assert server.batches == [1]
        server.end("a")
        assert len({seen.mark for seen in await asyncio.gather(*both)}) == 1
        await end(watcher)

    run(main())


def test_a_wait_is_woken_at_its_own_time_whatever_it_waits_for() -> None:
    async def main() -> None:
        server = Server()
        server.add("a")
        watcher = watcher_of(server)
        began = now()
        assert await watcher.run(resting("a", 50.0, wake_in=7.0)) is None
        assert now() - began == pytest.approx(7.0)
        await end(watcher)

    run(main())


def test_where_no_update_time_is_told_a_wait_looks_for_itself_sooner() -> None:
    async def main() -> None:
        server = Server(bulk=False)
        server.add("a")
        watcher = watcher_of(server)
        began = now()
        assert await watcher.run(resting("a", wake_in=600.0, blind_in=20.0)) is None
        assert now() - began == pytest.approx(20.0, abs=1.5)
        await end(watcher)

    run(main())


# Harm


def test_an_unknown_workflow_wakes_only_its_own_wait() -> None:
    async def main() -> None:
        server = Server()
        server.add("a")
        watcher = watcher_of(server)
        gone, there = start(watcher.run(resting("gone"))), start(watcher.run(resting("a")))
        assert await asyncio.wait_for(gone, 5) is None
        assert not there.done()
        await end(watcher, there)

    run(main())


@pytest.mark.parametrize("bulk", [True, False])
def test_a_workflow_that_the_server_cannot_read_harms_no_other_wait(bulk: bool) -> None:
    async def main() -> None:
        server = Server(bulk=bulk, broken={"w3"})
        server.add(*names(10))
        watcher = watcher_of(server)
        waits = [start(watcher.run(resting(name))) for name in names(10)]
        await asyncio.sleep(3)
        assert [wait.done() for wait in waits] == [name == "w3" for name in names(10)]
        server.end("w5")
        await asyncio.sleep(3)
        assert waits[5].result().mark.status == "COMPLETED"
        await end(watcher, *waits)

    run(main())


def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    async def main() -> None:
        server = Server()
        server.add(*names(200))
        watcher = watcher_of(server)
        waits = [start(watcher.run(resting(name, 600.0, poll_interval=600.0))) for name in names(200)]
        await asyncio.sleep(3)
        for waiting in waits[1:]:
            waiting.cancel()
        await asyncio.gather(*waits[1:], return_exceptions=True)
        assert watcher.counts.waits == 1
        assert len(watcher._heap) < 100
        asked = sum(server.asked.values())
        waits[0].cancel()
        await asyncio.sleep(1200)
        assert sum(server.asked.values()) == asked
        await end(watcher)
        assert server.closed

    run(main())


def test_no_more_than_a_few_woken_waits_ask_at_once() -> None:
    async def main() -> int:
        server = Server()
        server.add(*names(500))
        watcher = watcher_of(server)
        plans = [WaitPlan(workflow_id=name, started_at=now()) for name in names(500)]
        waits = [start(watcher.run(wait(plan, lambda line: None))) for plan in plans]
        await asyncio.sleep(5)
        await end(watcher, *waits)
        return server.most_under_way

    assert run(main()) <= 10


# Trouble


def test_a_server_that_is_away_is_asked_by_one_for_all() -> None:
    """For ten minutes; and when it is back, all are looked at together."""

    async def main() -> None:
        server = Server()
        server.add(*names(1_000))
        watcher = watcher_of(server)
        lines: list[str] = []
        waits = [
            start(watcher.run(wait(WaitPlan(workflow_id=name, started_at=now()), lines.append)))
            for name in names(1_000)
        ]
        await asyncio.sleep(60)
        server.away = True
        server.asked.clear()
        await asyncio.sleep(600)
        assert sum(server.asked.values()) <= 40
        assert sum("cannot be asked" in line for line in lines) == 1_000
        server.away = False
        server.asked.clear()
        await asyncio.sleep(70)
        assert sum("is back" in line for line in lines) == 1_000
        assert server.asked["get"] <= 1_000, "only those whose own time has come since"
        server.end(*names(1_000))
        await asyncio.sleep(120)
        assert {waiting.result().status for waiting in waits} == {"COMPLETED"}
        await end(watcher)

    run(main())


def test_a_server_that_was_away_from_the_start_is_found_again() -> None:
    async def main() -> None:
        server = Server(away=True)
        server.add(*names(50))
        watcher = watcher_of(server)
        plans = [WaitPlan(workflow_id=name, started_at=now()) for name in names(50)]
        waits = [start(watcher.run(wait(plan, lambda line: None))) for plan in plans]
        await asyncio.sleep(300)
        assert sum(server.asked.values()) <= 100
        server.away = False
        server.end(*names(50))
        events = await asyncio.wait_for(asyncio.gather(*waits), 120)
        assert {event.status for event in events} == {"COMPLETED"}
        await end(watcher)

    run(main())


def test_a_deadline_falls_on_its_moment_while_the_server_is_away() -> None:
    async def main() -> None:
        server = Server()
        server.add("a", "b")
        watcher = watcher_of(server)
        other = start(watcher.run(resting("b")))
        began = now()
        plan = WaitPlan(workflow_id="a", started_at=began, deadline=began + 100)
        waiting = start(watcher.run(wait(plan, lambda line: None)))
        await asyncio.sleep(20)
        server.away = True
        event: WaitEvent = await waiting
        assert event.status == "timeout"
        assert "could not be asked" in event.message
        assert now() - began == pytest.approx(100, abs=0.5)
        await end(watcher, other)

    run(main())


def test_retry_after_slows_the_watcher_down() -> None:
    async def main() -> None:
        busy = TooManyRequests("slow down", status=429, repeatable=True, retry_after=40.0)
        server = Server(errors=[busy])
        server.add("a")
        watcher = watcher_of(server)
        waiting = start(watcher.run(resting("a")))
        await asyncio.sleep(120)
        pauses = [after - before for before, after in zip(server.at, server.at[1:], strict=False)]
        assert pauses[0] >= 40
        assert pauses[1] > 1.5, "slower for a while after that"
        assert not waiting.done()
        await end(watcher, waiting)

    run(main())


def test_a_defect_leaves_nobody_waiting() -> None:
    async def main() -> None:
        watcher = watcher_of(Server(errors=[ZeroDivisionError("a defect")]))
        with pytest.raises(ZeroDivisionError):
            await watcher.run(resting("a"))
        await end(watcher)

    run(main())


def test_a_defect_in_what_is_told_of_the_counts_leaves_nobody_waiting_either() -> None:
    async def main() -> None:
        server = Server()
        server.add("a", "b")

        def broken(counts: object) -> None:
            raise ZeroDivisionError("a defect")

        watcher = watcher_of(server, on_counts=broken)
        told = await asyncio.gather(watcher.run(resting("a")), watcher.run(resting("b", 500.0)), return_exceptions=True)
        assert [type(error) for error in told] == [ZeroDivisionError] * 2
        watcher._on_counts = None
        await end(watcher)

    run(main())


# The connection


def waits_on(watcher: Any, server: Server, count: int) -> list[asyncio.Task[WaitEvent]]:
    """Waits under way, each looked at before."""
    server.add(*names(count))
    plans = [WaitPlan(workflow_id=name, started_at=now()) for name in names(count)]
    return [start(watcher.run(wait(plan, lambda line: None))) for plan in plans]


def test_refused_credentials_are_told_to_every_wait() -> None:
    async def main() -> None:
        made: list[Server] = []

        async def renew() -> Server:
            made.append(Server())
            return made[-1]

        server = Server()
        watcher = watcher_of(server, renew=renew)
        waits = waits_on(watcher, server, 50)
        await asyncio.sleep(5)
        server.unauthorized = True
        told = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(error) for error in told} == {ConductorAuthError}
        assert [unchanged.closed for unchanged in made] == [True], "the connection was looked up again once"
        await end(watcher)

    run(main())


@pytest.mark.parametrize("bulk", [True, False])
@pytest.mark.parametrize("which", ["w0", "w7"])
def test_a_workflow_that_we_may_not_see_ends_its_own_wait_alone(which: str, bulk: bool) -> None:
    async def main() -> None:
        server = Server(bulk=bulk)
        watcher = watcher_of(server)
        waits = waits_on(watcher, server, 20)
        await asyncio.sleep(5)
        server.forbidden = {which}
        await asyncio.sleep(60)
        assert [waiting.done() for waiting in waits] == [name == which for name in names(20)]
        server.end(*(name for name in names(20) if name != which))
        told = await asyncio.gather(*waits, return_exceptions=True)
        assert [isinstance(item, ConductorAuthError) for item in told] == [name == which for name in names(20)]
        await end(watcher)

    run(main())


def test_credentials_changed_in_the_connection_are_taken_up() -> None:
    async def main() -> None:
        old = Server()
        new = Server(settings=ConductorSettings("http://conductor:8080", key_id="k", key_secret="s"))
        new.add(*names(5))

        async def renew() -> Server:
            return new

        watcher = watcher_of(old, renew=renew)
        waits = waits_on(watcher, old, 5)
        await asyncio.sleep(5)
        old.unauthorized = True
        await asyncio.sleep(5)
        new.end(*names(5))
        assert {event.status for event in await asyncio.gather(*waits)} == {"COMPLETED"}
        await end(watcher)
        assert (old.closed, new.closed) == (True, True)

    run(main())


# What is counted


def test_the_counts_tell_of_waits_requests_errors_and_lag() -> None:
    async def main() -> None:
        server = Server()
        server.add(*names(10))
        told: list[tuple[int, int, int]] = []
        watcher = watcher_of(server, on_counts=lambda c: told.append((c.waits, c.requests, c.errors)))
        waits = [start(watcher.run(resting(name))) for name in names(10)]
        await asyncio.sleep(5)
        assert told[-1] == (10, sum(server.asked.values()), 0)
        assert watcher.counts.lag < 0.01
        server.away = True
        await asyncio.sleep(30)
        assert told[-1][2] > 0
        await end(watcher, *waits)
        assert told[-1][0] == 0

    run(main())


# Whatever happens

HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(
            ["arrive", "arrive", "change", "end", "fail", "vanish", "cancel", "error", "busy", "away", "back"]
        ),
        st.integers(0, 9),
        st.floats(0.0, 30.0),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(happenings=HAPPENINGS, bulk=st.booleans(), status_route=st.booleans())
def test_every_wait_is_answered_exactly_once_whatever_happens(
    happenings: list[tuple[str, int, float]], bulk: bool, status_route: bool
) -> None:
    """Waits arrive, are cancelled; workflows end and vanish; the server errs and goes away, in any order."""

    async def main() -> None:
        server = Server(bulk=bulk, status_route=status_route)
        watcher = watcher_of(server)
        waits: list[tuple[str, asyncio.Task[WaitEvent]]] = []
        answered: list[int] = []
        cancelled: set[int] = set()

        async def answer(index: int, plan: WaitPlan) -> WaitEvent:
            event = await watcher.run(wait(plan, lambda line: None))
            answered.append(index)
            return event

        for what, which, pause in happenings:
            name = f"w{which}"
            match what:
                case "arrive":
                    server.workflows.setdefault(name, ["RUNNING", 1])
                    waits.append((name, start(answer(len(waits), WaitPlan(workflow_id=name, started_at=now())))))
                case "change" if name in server.workflows:
                    server.workflows[name][1] += 1
                case "end" | "fail" if name in server.workflows:
                    server.end(name, status="COMPLETED" if what == "end" else "FAILED")
                case "vanish":
                    server.workflows.pop(name, None)
                case "cancel" if which < len(waits) and not waits[which][1].done():
                    waits[which][1].cancel()
                    cancelled.add(which)
                case "error":
                    server.errors.append(refused())
                case "busy":
                    server.errors.append(
                        TooManyRequests("slow down", status=429, repeatable=True, retry_after=5.0 * which)
                    )
                case "away" | "back":
                    server.away = what == "away"
            await asyncio.sleep(pause)
        server.away = False
        server.errors.clear()
        for name in list(server.workflows):
            server.end(name)
        await asyncio.sleep(2 * 3600)
        for index, (name, waiting) in enumerate(waits):
            assert waiting.done(), f"{name} is still waiting"
            if waiting.cancelled():
                assert index in cancelled
                assert index not in answered
                continue
            assert answered.count(index) == 1
            assert waiting.result().status in ("COMPLETED", "FAILED", "gone")
        assert watcher.counts.waits == 0
        assert not watcher._heap
        await watcher.close()
        assert server.under_way == 0

    try:
        run(main())
    except ConductorUnreachable as error:  # pragma: no cover - a wait must never end so
        raise AssertionError("a wait ended because the server was away") from error


def test_what_the_first_look_shows_to_be_a_wrong_address_is_told() -> None:
    async def main() -> None:
        server = Server(errors=[ConductorError("not Conductor")])
        watcher = watcher_of(server)
        with pytest.raises(ConductorError, match="not Conductor"):
            await watcher.run(wait(WaitPlan(workflow_id="a", started_at=now()), lambda line: None))
        await end(watcher)

    run(main())
