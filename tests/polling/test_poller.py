"""One poller for all waits: who is asked, when, together with whom, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from airflow_provider_conductor.client import (
    ConductorAuthError,
    ConductorError,
    ConductorServerError,
    ConductorSettings,
    ConductorTimeoutError,
    ConductorTooManyRequestsError,
    ConductorUnreachableError,
)
from airflow_provider_conductor.polling.observation import LAST_POLL
from airflow_provider_conductor.polling.poll_pause import PollResult, Revision
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_event import WaitEvent
from airflow_provider_conductor.polling.wait_spec import WaitSpec
from tests.polling.simulated import (
    ROUTE,
    Server,
    begin,
    end,
    names,
    refused,
    resting,
    start,
    waits_on,
    watch,
    watcher_of,
)
from tests.polling.virtual_time import in_virtual_time, now, run


async def sweeps_of(server: Server, count: int, seconds: float, **more: Any) -> int:
    """Bulk requests in a minute, once the first looks are over."""
    server.add(*names(count))
    poller = watcher_of(server)
    waits = [start(poller.run(resting(name, **more))) for name in names(count)]
    await asyncio.sleep(2)
    before = server.asked["bulk"]
    await asyncio.sleep(seconds)
    swept = server.asked["bulk"] - before
    assert poller.counts.woken == 0
    assert set(server.asked) == {"bulk"}
    await end(poller, *waits)
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


@in_virtual_time
async def test_a_change_wakes_its_wait_and_no_other() -> None:
    server, poller = watch("a", "b")
    one, other = start(poller.run(resting("a"))), start(poller.run(resting("b")))
    await asyncio.sleep(5)
    assert not one.done()
    server.end("a")
    await asyncio.sleep(2)
    assert one.result() == PollResult(Revision("COMPLETED", 2))
    assert not other.done()


@in_virtual_time
async def test_two_waits_for_one_workflow_ask_once() -> None:
    server, poller = watch("a")
    both = [start(poller.run(resting("a"))) for _ in range(2)]
    await asyncio.sleep(1.5)
    assert server.batches == [1]
    server.end("a")
    assert len({seen.revision for seen in await asyncio.gather(*both)}) == 1


@in_virtual_time
async def test_a_wait_is_woken_at_its_own_time_whatever_it_waits_for() -> None:
    _server, poller = watch("a")
    began = now()
    assert await poller.run(resting("a", 50.0, wake_in=7.0)) is None
    assert now() - began == pytest.approx(7.0)


@in_virtual_time
async def test_a_task_that_falls_due_right_after_a_look_is_looked_at_once() -> None:
    """A look that did not read the tasks would find the same moment in the past, and look again at once."""
    server = Server(latency=0.001)
    server.add("a")
    due = {"taskType": "WAIT", "workflowTask": {"type": "WAIT"}, "inputData": {"duration": "1 s"}}
    times = {"callbackAfterSeconds": 1, "startTime": round((now() - 0.9) * 1000)}
    server.answers["a"] = {"tasks": [{"taskId": "t", "status": "IN_PROGRESS", **due, **times}]}
    poller = watcher_of(server)
    begin(poller, "a")
    await asyncio.sleep(1)
    assert server.asked["get"] == 2


@in_virtual_time
async def test_where_no_update_time_is_told_a_wait_looks_for_itself_sooner() -> None:
    _server, poller = watch("a", bulk=False)
    began = now()
    assert await poller.run(resting("a", wake_in=600.0, blind_in=20.0)) is None
    assert now() - began == pytest.approx(20.0, abs=1.5)


# Harm


@in_virtual_time
async def test_an_unknown_workflow_wakes_only_its_own_wait() -> None:
    _server, poller = watch("a")
    gone, there = start(poller.run(resting("gone"))), start(poller.run(resting("a")))
    assert await asyncio.wait_for(gone, 5) is None
    assert not there.done()


@pytest.mark.parametrize("bulk", [True, False])
@in_virtual_time
async def test_a_workflow_that_the_server_cannot_read_harms_no_other_wait(bulk: bool) -> None:
    server, poller = watch(*names(10), bulk=bulk, broken={"w3"})
    waits = [start(poller.run(resting(name))) for name in names(10)]
    await asyncio.sleep(3)
    assert [wait.done() for wait in waits] == [name == "w3" for name in names(10)]
    server.end("w5")
    await asyncio.sleep(3)
    assert waits[5].result().revision.status == "COMPLETED"


@in_virtual_time
async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    server, poller = watch(*names(200))
    waits = [start(poller.run(resting(name, 600.0, poll_interval=600.0))) for name in names(200)]
    await asyncio.sleep(3)
    for waiting in waits[1:]:
        waiting.cancel()
    await asyncio.gather(*waits[1:], return_exceptions=True)
    assert poller.counts.waits == 1
    assert len(poller._queue) < 100
    asked = sum(server.asked.values())
    waits[0].cancel()
    await asyncio.sleep(1200)
    assert sum(server.asked.values()) == asked
    await end(poller)
    assert server.closed


def test_no_more_than_a_few_woken_waits_ask_at_once() -> None:
    async def main() -> int:
        server, poller = watch(*names(500))
        plans = [WaitSpec(workflow_id=name, started_at=now()) for name in names(500)]
        waits = [start(poller.run(wait(plan, lambda line: None))) for plan in plans]
        await asyncio.sleep(5)
        await end(poller, *waits)
        return server.most_under_way

    assert run(main()) <= 10


# Trouble


@in_virtual_time
async def test_a_server_that_is_away_is_asked_by_one_for_all() -> None:
    """For ten minutes; and when it is back, all are looked at together."""
    server, poller = watch(*names(1_000))
    lines: list[str] = []
    waits = [
        start(poller.run(wait(WaitSpec(workflow_id=name, started_at=now()), lines.append))) for name in names(1_000)
    ]
    await asyncio.sleep(60)
    server.away = True
    server.asked.clear()
    await asyncio.sleep(600)
    assert sum(server.asked.values()) <= 40
    assert sum("Conductor is unreachable" in line for line in lines) == 1_000
    server.away = False
    server.asked.clear()
    await asyncio.sleep(70)
    assert sum("is reachable again" in line for line in lines) == 1_000
    assert server.asked["get"] <= 1_000, "only those whose own time has come since"
    server.end(*names(1_000))
    await asyncio.sleep(120)
    assert {waiting.result().status for waiting in waits} == {"COMPLETED"}


@in_virtual_time
async def test_a_server_that_was_away_from_the_start_is_found_again() -> None:
    server, poller = watch(*names(50), away=True)
    waits = waits_on(poller, server, 50)
    await asyncio.sleep(300)
    assert sum(server.asked.values()) <= 100
    server.away = False
    server.end(*names(50))
    events = await asyncio.wait_for(asyncio.gather(*waits), 120)
    assert {event.status for event in events} == {"COMPLETED"}


@in_virtual_time
async def test_a_deadline_falls_on_its_moment_while_the_server_is_away() -> None:
    server, poller = watch("a", "b")
    start(poller.run(resting("b")))
    began = now()
    waiting = begin(poller, "a", deadline=began + 100)
    await asyncio.sleep(20)
    server.away = True
    event: WaitEvent = await waiting
    assert event.status == "timeout"
    assert "Conductor has been unreachable for" in event.message
    assert now() - began == pytest.approx(100, abs=0.5)


@in_virtual_time
async def test_retry_after_slows_the_watcher_down() -> None:
    busy = ConductorTooManyRequestsError("slow down", status=429, repeatable=True, retry_after=40.0)
    server, poller = watch("a", errors=[busy])
    waiting = start(poller.run(resting("a")))
    await asyncio.sleep(120)
    pauses = [after - before for before, after in zip(server.at, server.at[1:], strict=False)]
    assert pauses[0] >= 40
    assert pauses[1] > 1.5, "slower for a while after that"
    assert not waiting.done()


@in_virtual_time
async def test_retry_after_is_capped() -> None:
    """One stray ``Retry-After: 3600`` of a gateway must not blind a connection for an hour."""
    busy = ConductorTooManyRequestsError("slow down", status=429, repeatable=True, retry_after=3600.0)
    server, poller = watch("a", errors=[busy])
    waiting = start(poller.run(resting("a")))
    await asyncio.sleep(30)
    server.end("a")
    await asyncio.wait_for(waiting, 40)


# Deadlines


def unavailable(retry_after: float | None = None) -> ConductorServerError:
    return ConductorServerError("away", status=503, repeatable=True, retry_after=retry_after, **ROUTE)


@pytest.mark.parametrize("retry_after", [None, 3600.0])
@pytest.mark.parametrize("lasts", [11, 20, 35, 50, 65, 80, 95, 110])
@in_virtual_time
async def test_at_its_deadline_a_wait_asks_whatever_went_before(lasts: int, retry_after: float | None) -> None:
    """The server is back and the workflow has completed, while the poller still backs off."""
    server, poller = watch("a", "b")
    start(poller.run(resting("b", poll_interval=1.0)))
    ends = now() + lasts
    waiting = begin(poller, "a", deadline=ends, poll_interval=1.0)
    await asyncio.sleep(5)
    server.errors = [unavailable(retry_after)] * 1000
    await asyncio.sleep(lasts - 6)
    server.errors.clear()
    server.end("a")
    assert (await waiting).status == "COMPLETED"
    assert now() <= ends + 0.2


@pytest.mark.parametrize("busy", [True, False])
@in_virtual_time
async def test_an_answer_at_one_waits_deadline_does_not_make_the_others_ask_one_by_one(busy: bool) -> None:
    """In a pause that the server has asked for they keep to it; after an outage they come back in bulk requests."""
    server, poller = watch()
    server.add(*names(200))
    waits = []
    for name in names(200):  # each comes due at another moment of a minute
        waits.append(begin(poller, name))
        await asyncio.sleep(0.3)
    waiting = begin(poller, "w0", deadline=now() + 35)
    await asyncio.sleep(1)
    if busy:
        server.errors = [ConductorTooManyRequestsError("slow down", status=429, repeatable=True, retry_after=55.0)]
    else:
        server.away = True
        await asyncio.sleep(33)
        server.away = False
    server.asked.clear()
    assert (await waiting).status == "timeout"
    await asyncio.sleep(15)
    assert server.asked["get"] <= 3
    assert not any(other.done() for other in waits)
    server.end(*names(200))
    await asyncio.wait_for(asyncio.gather(*waits), 300)


@pytest.mark.parametrize("bulk", [True, False])
@pytest.mark.parametrize("waits", [1, 200])
@in_virtual_time
async def test_a_server_that_hangs_makes_no_deadline_late_by_its_read_timeout(waits: int, bulk: bool) -> None:
    server, poller = watch(
        *names(waits),
        *(f"other{index}" for index in range(30)),
        bulk=bulk,
        settings=ConductorSettings("http://conductor:8080", read_timeout=300.0),
    )
    for index in range(30):
        start(poller.run(resting(f"other{index}")))
    ends = now() + 30
    waiting = [begin(poller, name, deadline=ends) for name in names(waits)]
    await asyncio.sleep(10)
    server.hangs = True
    events = await asyncio.gather(*waiting)
    assert {event.status for event in events} == {"timeout"}
    assert now() <= ends + 2 * LAST_POLL + 0.5


@in_virtual_time
async def test_a_sweep_that_hangs_does_not_hold_up_who_must_look_for_itself() -> None:
    """Only bulk requests hang; the wait's own request at its deadline is answered."""
    server, poller = watch("a", "b", settings=ConductorSettings("http://conductor:8080", read_timeout=300.0))
    start(poller.run(resting("b")))
    ends = now() + 30
    waiting = begin(poller, "a", deadline=ends)
    await asyncio.sleep(10)
    answer = server._answer

    async def hanging(call: Any) -> Any:
        if call.path.endswith("/bulk/search"):
            await asyncio.sleep(300)
            raise ConductorTimeoutError("no answer", repeatable=True)
        return await answer(call)

    server._answer = hanging  # type: ignore[method-assign]
    await asyncio.sleep(5)
    server.end("a")
    assert (await waiting).status == "COMPLETED"
    assert now() == pytest.approx(ends, abs=0.5)


# The wall clock


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
@pytest.mark.parametrize("trouble", [False, True])
@in_virtual_time
async def test_a_wall_clock_that_is_set_changes_no_pause(step: float, trouble: bool) -> None:
    ahead = 0.0
    server = Server(answers={name: {"startTime": int(now() * 1000)} for name in "ab"})
    server.add("a", "b")
    poller = watcher_of(server, clock=lambda: now() + ahead)
    deadline = now() + 7200
    began = now()
    waits = [
        start(poller.run(wait(spec, lambda line: None, jitter=lambda: 0.5)))
        for spec in (WaitSpec(workflow_id=name, started_at=began, deadline=deadline) for name in ("a", "b"))
    ]
    await asyncio.sleep(4)
    server.away = trouble
    await asyncio.sleep(3)
    ahead, before = step, len(server.at)
    server.away = False
    await asyncio.sleep(20)
    assert 5 <= len(server.at) - before <= 25
    server.end("a")
    ended = now()
    assert (await waits[0]).status == "COMPLETED"
    assert now() - ended < 3
    assert (await waits[1]).status == "timeout"
    assert now() - began == pytest.approx(7200, abs=1), "a limit that is under way is the time that passes"


# Defects and garbage


@pytest.mark.parametrize("bulk", [True, False])
def test_an_unexpected_error_makes_each_due_wait_poll_for_itself(bulk: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server, poller = watch(bulk=bulk)
        waits = waits_on(poller, server, 30)
        await asyncio.sleep(5)
        ask = poller._reader.read

        async def broken(ids: Any) -> Any:
            raise ZeroDivisionError("a defect")

        poller._reader.read = broken  # type: ignore[method-assign]
        await asyncio.sleep(20)
        assert not any(waiting.done() for waiting in waits)
        server.end(*names(10))
        await asyncio.wait_for(asyncio.gather(*waits[:10]), 60)
        poller._reader.read = ask  # type: ignore[method-assign]
        server.end(*names(30))
        await asyncio.wait_for(asyncio.gather(*waits), 60)
        await end(poller)

    run(main())
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError], "logged once"


@in_virtual_time
async def test_an_error_that_nobody_has_foreseen_ends_no_wait() -> None:
    server, poller = watch()
    waits = waits_on(poller, server, 10)
    await asyncio.sleep(5)
    server.errors = [ZeroDivisionError("a defect")] * 7
    await asyncio.sleep(60)
    assert not any(waiting.done() for waiting in waits)
    server.end(*names(10))
    await asyncio.wait_for(asyncio.gather(*waits), 60)


@in_virtual_time
async def test_metrics_that_fail_end_no_wait() -> None:
    def broken(counts: object) -> None:
        raise ZeroDivisionError("a defect")

    server = Server()
    server.add("a")
    poller = watcher_of(server, on_counts=broken)
    waiting = start(poller.run(resting("a")))
    await asyncio.sleep(30)
    assert not waiting.done()
    server.end("a")
    await waiting


@in_virtual_time
async def test_a_defect_of_the_watchers_own_leaves_nobody_waiting() -> None:
    server, poller = watch()
    waits = waits_on(poller, server, 5)
    await asyncio.sleep(5)
    take_due, asked = poller._take_due, len(server.at)

    def broken() -> None:
        raise ZeroDivisionError("a defect")

    poller._take_due = broken  # type: ignore[method-assign]
    await asyncio.sleep(60)
    assert len(server.at) - asked < 5 * 60
    poller._take_due = take_due  # type: ignore[method-assign]
    server.end(*names(5))
    await asyncio.wait_for(asyncio.gather(*waits), 60)


@in_virtual_time
async def test_a_defect_in_what_follows_a_refusal_leaves_nobody_waiting() -> None:
    class Unclosable(Server):
        async def close(self) -> None:
            raise ZeroDivisionError("a defect")

    async def renew() -> Server:
        return Unclosable()

    server = Server()
    server.add("a")
    poller = watcher_of(server, renew=renew)
    waiting = start(poller.run(resting("a")))
    server.unauthorized = True
    assert await asyncio.wait_for(waiting, 60) is None


@in_virtual_time
async def test_an_error_that_is_told_to_many_does_not_grow() -> None:
    """Raised again, it would keep the frames of every wait that it was raised in."""
    server, poller = watch()
    waits_on(poller, server, 200)
    await asyncio.sleep(5)
    server.away = True
    await asyncio.sleep(90)
    assert poller.outage.error is not None
    assert len(traceback.extract_tb(poller.outage.error.__traceback__)) < 30


ANY_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.floats(),
        st.sampled_from([10**400, "", "RUNNING", "COMPLETED", "w1", "\0", "\ud800", "soon", "9" * 5000]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)
FIELDS = (
    "workflowId status updateTime updatedTime createTime startTime endTime lastRetriedTime tasks reasonForIncompletion "
    "output input workflowDefinition correlationId workflowName"
)
TASK_FIELDS = (
    "taskId status taskType referenceTaskName workflowTask scheduledTime startTime pollCount seq callbackAfterSeconds "
    "subWorkflowId outputData inputData retryCount taskDefinition domain"
)
A_TASK = st.dictionaries(st.sampled_from(TASK_FIELDS.split()), ANY_JSON, max_size=4).map(
    lambda fields: {"status": "SCHEDULED", "taskType": "t", "workflowTask": {"type": "SIMPLE"}, **fields}
)
GARBAGE = st.one_of(
    ANY_JSON,
    st.dictionaries(st.sampled_from(FIELDS.split()), ANY_JSON, max_size=4),
    st.lists(A_TASK, max_size=3).map(lambda ts: {"tasks": ts}),
)


@settings(max_examples=150, deadline=None)
@given(garbage=st.dictionaries(st.sampled_from(names(4)), GARBAGE), bulk=st.booleans(), deep=st.booleans())
@in_virtual_time
async def test_whatever_is_answered_about_some_harms_no_other(garbage: dict[str, Any], bulk: bool, deep: bool) -> None:
    server, poller = watch(bulk=bulk)
    waits = waits_on(poller, server, 12)
    await asyncio.sleep(5)
    server.answers = garbage
    server.too_deep = {"w0"} if deep else set()
    await asyncio.sleep(120)
    sound = waits[4:]
    assert not any(waiting.done() for waiting in sound)
    server.end(*names(12)[4:])
    events = await asyncio.wait_for(asyncio.gather(*sound), 120)
    assert {event.status for event in events} == {"COMPLETED"}
    server.answers, server.too_deep = {}, set()
    server.end(*names(4))
    await asyncio.wait_for(asyncio.gather(*waits[:4]), 700)  # none of these has broken, whatever it was told


@in_virtual_time
async def test_what_cannot_be_read_of_others_does_not_end_a_wait_that_begins() -> None:
    """Its first answer may show a wrong address, but only its own."""
    server = Server(bulk=False, status_route=False)
    server.add(*names(30))
    server.too_deep = set(names(30))
    server.add("sound")
    poller = watcher_of(server)
    waits = [start(poller.run(resting(name, poll_interval=10.0))) for name in names(30)]
    await asyncio.sleep(1.5)
    assert all(waiting.done() for waiting in waits), "the sweep has failed"
    began = begin(poller, "sound")
    await asyncio.sleep(5)
    assert not began.done()
    server.end("sound")
    assert (await asyncio.wait_for(began, 120)).status == "COMPLETED"


# The connection


@in_virtual_time
async def test_refused_credentials_are_told_to_every_wait() -> None:
    made: list[Server] = []

    async def renew() -> Server:
        made.append(Server())
        return made[-1]

    server = Server()
    poller = watcher_of(server, renew=renew)
    waits = waits_on(poller, server, 50)
    await asyncio.sleep(5)
    server.unauthorized = True
    told = await asyncio.gather(*waits, return_exceptions=True)
    assert {type(error) for error in told} == {ConductorAuthError}
    assert [unchanged.closed for unchanged in made] == [True], "the connection was looked up again once"


@pytest.mark.parametrize("bulk", [True, False])
@pytest.mark.parametrize("which", ["w0", "w7"])
@in_virtual_time
async def test_a_workflow_that_we_may_not_see_ends_its_own_wait_alone(which: str, bulk: bool) -> None:
    server, poller = watch(bulk=bulk)
    waits = waits_on(poller, server, 20)
    await asyncio.sleep(5)
    server.forbidden = {which}
    await asyncio.sleep(60)
    assert [waiting.done() for waiting in waits] == [name == which for name in names(20)]
    server.end(*(name for name in names(20) if name != which))
    told = await asyncio.gather(*waits, return_exceptions=True)
    assert [isinstance(item, ConductorAuthError) for item in told] == [name == which for name in names(20)]


@in_virtual_time
async def test_credentials_changed_in_the_connection_are_taken_up() -> None:
    old = Server()
    new = Server(settings=ConductorSettings("http://conductor:8080", key_id="k", key_secret="s"))
    new.add(*names(5))

    async def renew() -> Server:
        return new

    poller = watcher_of(old, renew=renew)
    waits = waits_on(poller, old, 5)
    await asyncio.sleep(5)
    old.unauthorized = True
    await asyncio.sleep(5)
    new.end(*names(5))
    assert {event.status for event in await asyncio.gather(*waits)} == {"COMPLETED"}
    await end(poller)
    assert (old.closed, new.closed) == (True, True)


# What is counted


@in_virtual_time
async def test_the_counts_tell_of_waits_requests_errors_and_lag() -> None:
    server = Server()
    server.add(*names(10))
    told: list[tuple[int, int, int]] = []
    poller = watcher_of(server, on_counts=lambda c: told.append((c.waits, c.requests, c.errors)))
    waits = [start(poller.run(resting(name))) for name in names(10)]
    await asyncio.sleep(5)
    assert told[-1] == (10, sum(server.asked.values()), 0)
    assert poller.counts.lag < 0.01
    server.away = True
    await asyncio.sleep(30)
    assert told[-1][2] > 0
    await end(poller, *waits)
    assert told[-1][0] == 0


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
        server, poller = watch(bulk=bulk, status_route=status_route)
        waits: list[tuple[str, asyncio.Task[WaitEvent]]] = []
        answered: list[int] = []
        cancelled: set[int] = set()

        async def answer(index: int, plan: WaitSpec) -> WaitEvent:
            event = await poller.run(wait(plan, lambda line: None))
            answered.append(index)
            return event

        for what, which, pause in happenings:
            name = f"w{which}"
            match what:
                case "arrive":
                    server.workflows.setdefault(name, ["RUNNING", 1])
                    waits.append((name, start(answer(len(waits), WaitSpec(workflow_id=name, started_at=now())))))
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
                        ConductorTooManyRequestsError("slow down", status=429, repeatable=True, retry_after=5.0 * which)
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
        assert poller.counts.waits == 0
        assert not poller._queue
        await poller.close()
        assert server.under_way == 0

    try:
        run(main())
    except ConductorUnreachableError as error:  # pragma: no cover - a wait must never end so
        raise AssertionError("a wait ended because the server was away") from error


@in_virtual_time
async def test_what_the_first_look_shows_to_be_a_wrong_address_is_told() -> None:
    _server, poller = watch(errors=[ConductorError("not Conductor")])
    with pytest.raises(ConductorError, match="not Conductor"):
        await poller.run(wait(WaitSpec(workflow_id="a", started_at=now()), lambda line: None))
