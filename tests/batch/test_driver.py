"""A batch in virtual time: how many run, how much is asked, and that each item has one workflow, whatever crashes."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from airflow_provider_conductor.batch.driver import Driver
from airflow_provider_conductor.batch.item_starts import STARTS_AT_ONCE
from airflow_provider_conductor.batch.plan import BatchOutcome
from airflow_provider_conductor.batch.state import GONE
from airflow_provider_conductor.client import ConductorAuthError, ConductorDefinitionNotFoundError, ConductorError
from airflow_provider_conductor.submission.errors import StartRefusedError
from airflow_provider_conductor.submission.termination_reasons import killed_reason
from tests.batch.simulated import Starting, driver_of, finish, virtual
from tests.batch.test_batch_state import stored
from tests.polling.simulated import ROUTE
from tests.polling.virtual_time import now


async def killed(driver: Driver, after: float) -> None:
    """Run it until it is killed after so many seconds."""
    task = asyncio.create_task(finish(driver))
    await asyncio.sleep(after)
    driver.kill(killed_reason("d.t"))
    assert await task is BatchOutcome.KILLED


def states(server: Starting) -> set[str]:
    return {state for state, _ in server.workflows.values()}


async def crash(driver: Driver, after: float) -> None:
    """Run it for so many seconds, and then no more: nothing is ended or told."""
    task = asyncio.create_task(finish(driver))
    await asyncio.wait((task,), timeout=after)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@virtual
async def test_thousands_run_a_hundred_at_a_time() -> None:
    server = Starting()
    driver = driver_of(server, 3_000)
    assert await finish(driver) is BatchOutcome.ENDED
    assert driver.batch.completed == 3_000
    assert server.most == 100
    assert server.asked["start"] == 3_000
    assert sum(server.asked.values()) - 3_000 < 300, "looks are shared"
    assert server.asked["correlated"] == 1, "the first start shows that look-ups work"


@virtual
async def test_failures_are_noted_and_the_others_go_on() -> None:
    server = Starting(ends={3: "FAILED", 5: "TIMED_OUT"}, refuses={7})
    driver = driver_of(server, 20, max_active=4)
    assert await finish(driver) is BatchOutcome.ENDED
    assert (driver.batch.completed, driver.batch.failed) == (17, 3)
    assert [driver.batch.items[index].status for index in (3, 5, 7)] == ["FAILED", "TIMED_OUT", "REFUSED"]


@virtual
async def test_a_workflow_that_the_server_has_taken_back_is_gone_and_says_so_in_another_process() -> None:
    server = Starting(lasts=60.0)
    driver = driver_of(server, 4)
    assert await finish(driver, patience=5.0) is BatchOutcome.QUIET
    gone = driver.batch.items[2].workflow_id
    del server.workflows[gone], server.due[gone]
    again = driver_of(server, 4, batch=stored(driver.batch), looked_up=True)
    assert await finish(again) is BatchOutcome.ENDED
    taken_up = stored(again.batch)
    (item,) = taken_up.items.values()
    assert (item.workflow_id, item.status) == (gone, GONE)
    assert "has this workflow" in item.reason
    assert taken_up.completed == 3


@settings(max_examples=60, deadline=None)
@given(
    crashes=st.lists(st.floats(0.0, 9.0), min_size=1, max_size=4),
    lost=st.sets(st.integers(0, 39), max_size=5),
    failing=st.sets(st.integers(0, 39), max_size=4),
)
@virtual
async def test_each_item_has_one_workflow_wherever_it_crashes(
    crashes: list[float], lost: set[int], failing: set[int]
) -> None:
    server = Starting(lost=set(lost), ends=dict.fromkeys(failing, "FAILED"))
    for attempt, after in enumerate(crashes, 1):
        await crash(driver_of(server, 40, max_active=6, attempt=attempt), after)
    server.ends.clear()
    driver = driver_of(server, 40, max_active=6, attempt=len(crashes) + 1)
    assert await finish(driver) is BatchOutcome.ENDED
    assert driver.batch.completed == 40
    assert Counter(server.inputs.values()) == Counter(range(40))
    assert server.most <= 6


@virtual
async def test_a_retry_asks_for_many_at_once() -> None:
    server = Starting()
    await crash(driver_of(server, 2_000), 20.0)
    started, before = server.asked["start"], server.asked["correlated"]
    assert 100 < started < 2_000
    driver = driver_of(server, 2_000, attempt=2)
    assert await finish(driver) is BatchOutcome.ENDED
    assert server.asked["start"] == 2_000
    assert server.asked["correlated"] - before < 400


@virtual
async def test_a_try_after_a_crash_does_not_run_again_what_was_archived() -> None:
    server = Starting(ends={3: "FAILED"})
    await crash(driver_of(server, 500, max_active=20), 20.0)
    server.pass_time()
    server.archive()
    done = len(server.archived)
    assert 40 < done < 480
    driver = driver_of(server, 500, max_active=20, attempt=2)
    assert await finish(driver) is BatchOutcome.ENDED
    assert server.asked["start"] == 501, "each once, and the archived failure a second time"
    assert (driver.batch.before, driver.batch.failed) == (done - 1, 1)
    assert server.asked["search"] < 30


@virtual
async def test_what_look_ups_leave_out_and_the_index_has_runs_on_as_one_of_the_batch() -> None:
    server = Starting(lasts=60.0, ends=dict.fromkeys(range(8), "FAILED"))
    first = driver_of(server, 40, max_active=8)
    await crash(first, 70.0)
    running = {workflow_id for workflow_id, (state, _) in server.workflows.items() if state == "RUNNING"}
    server.locked = {max(running)}
    driver = driver_of(server, 40, max_active=8, attempt=2)
    await killed(driver, 10.0)
    assert server.most == 8
    assert states(server) == {"FAILED", "TERMINATED"}


@pytest.mark.parametrize("after", [0.5, 1.5, 7.0])
@virtual
async def test_a_kill_before_an_earlier_tries_workflows_are_known_ends_what_look_ups_leave_out(after: float) -> None:
    server = Starting(lasts=600.0)
    await crash(driver_of(server, 40, max_active=8), 10.0)
    server.locked = {"w0", "w7"}
    server.latency = 1.0
    await killed(driver_of(server, 40, max_active=8, attempt=2), after)
    assert states(server) == {"TERMINATED"}
    assert server.asked["start"] == 8
    assert server.asked["search"] < 8


@virtual
async def test_it_is_handed_over_when_nothing_moves_and_goes_on() -> None:
    server = Starting(lasts=60.0)
    driver = driver_of(server, 10, max_active=4)
    assert await finish(driver, patience=5.0) is BatchOutcome.QUIET
    assert (driver.batch.active, driver.batch.pending) == (4, 6)
    batch = stored(driver.batch)
    await asyncio.sleep(60)
    again = driver_of(server, 10, max_active=4, batch=batch, looked_up=True)
    assert await finish(again) is BatchOutcome.ENDED
    assert again.batch.completed == 10
    assert server.asked["start"] == 10
    assert server.most == 4


@virtual
async def test_where_nothing_is_found_it_is_not_handed_over() -> None:
    server = Starting(lasts=60.0)
    server._correlated = lambda labels: {}  # type: ignore[method-assign,assignment]
    driver = driver_of(server, 4)
    assert await finish(driver, patience=5.0) is BatchOutcome.ENDED
    assert not driver.starts.findable


@virtual
async def test_an_outage_is_waited_out() -> None:
    server = Starting()
    driver = driver_of(server, 60, max_active=6)

    async def outage() -> None:
        await asyncio.sleep(6)
        server.away = True
        await asyncio.sleep(120)
        server.away = False

    outcome, _ = await asyncio.gather(finish(driver), outage())
    assert outcome is BatchOutcome.ENDED
    assert driver.batch.completed == 60
    assert Counter(server.inputs.values()) == Counter(range(60))


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ConductorAuthError("go away", status=401, **ROUTE), ConductorAuthError),
        (ConductorAuthError("no permission", status=403, **ROUTE), ConductorAuthError),
        (ConductorDefinitionNotFoundError("No such workflow defined", status=404, **ROUTE), StartRefusedError),
    ],
    ids=["401", "403", "no definition"],
)
@pytest.mark.parametrize("late", [False, True])
@virtual
async def test_what_no_start_gets_past_ends_it_and_no_other_start_is_sent(
    error: ConductorError, raised: type[ConductorError], late: bool
) -> None:
    server = Starting(latency=1.0)
    driver = driver_of(server, 50)
    if late:
        asyncio.get_running_loop().call_later(0.5, server.errors.append, error)
    else:
        server.errors.append(error)
    with pytest.raises(raised):
        await finish(driver)
    # Eight are sent at a time: those that are under way, and the one that is refused.
    assert server.asked["start"] == (STARTS_AT_ONCE + 1 if late else 1)


@virtual
async def test_a_deadline_terminates_what_runs_and_nothing_else() -> None:
    server = Starting(ends={1: "", 2: "FAILED"})
    driver = driver_of(server, 6, deadline=now() + 30, timeout_reason="too late")
    assert await finish(driver) is BatchOutcome.TIMEOUT
    states = {server.inputs[w]: state for w, (state, _) in server.workflows.items()}
    assert states == {0: "COMPLETED", 1: "TERMINATED", 2: "FAILED", 3: "COMPLETED", 4: "COMPLETED", 5: "COMPLETED"}
    assert set(server.reasons.values()) == {"too late"}


@virtual
async def test_a_kill_terminates_starts_under_way_too() -> None:
    server = Starting(latency=1.0, lasts=600.0)
    driver = driver_of(server, 50, max_active=20)
    await killed(driver, 3.5)
    assert server.workflows
    assert states(server) == {"TERMINATED"}
    before = len(server.inputs)
    again = driver_of(server, 50, max_active=50, attempt=2)
    server.lasts = 2.0
    assert await finish(again) is BatchOutcome.ENDED
    assert again.batch.completed == 50
    assert len(server.inputs) == 50 + before


@virtual
async def test_a_kill_terminates_first_and_with_several_requests_at_once() -> None:
    """Airflow 3 gives it five seconds."""
    server = Starting(latency=0.1, lasts=600.0)
    driver = driver_of(server, 2_001, max_active=2_001)
    task = asyncio.create_task(finish(driver))
    await asyncio.sleep(300)
    assert len(server.workflows) == 2_001
    server.latency = 1.0
    driver.kill(killed_reason("d.t"))
    await asyncio.sleep(5)
    ended = sum(state == "TERMINATED" for state, _ in server.workflows.values())
    assert ended == 2_001, "each share is read and terminated at the same time as the others"
    assert await task is BatchOutcome.KILLED
    assert states(server) == {"TERMINATED"}
    assert driver.termination.may_run == []
    assert driver.termination.terminated == len(server.workflows)


@pytest.mark.parametrize("after", [0.0, 0.05, 0.5, 2.0, 4.0])
@virtual
async def test_a_killed_batch_starts_nothing_more(after: float) -> None:
    """Not where it was killed before it had begun, either, nor where starts wait for their turn."""
    server = Starting(latency=0.3, lasts=600.0)
    driver = driver_of(server, 50)
    if not after:
        driver.kill(killed_reason("d.t"))
    task = asyncio.create_task(finish(driver))
    await asyncio.sleep(after)
    driver.kill(killed_reason("d.t"))
    sent = server.asked["start"]
    assert await task is BatchOutcome.KILLED
    assert server.asked["start"] == sent
    assert states(server) <= {"TERMINATED"}


@pytest.mark.parametrize("after", [0.5, 3.0, 30.0])
@virtual
async def test_a_kill_while_the_server_is_away_is_not_put_off(after: float) -> None:
    """Whether the batch looks for what an earlier try left, or starts, or takes over."""
    server = Starting(lasts=600.0)
    first = driver_of(server, 10, max_active=4)
    await crash(first, 5.0)
    driver = driver_of(server, 10, max_active=4, attempt=2)
    task = asyncio.create_task(finish(driver))
    server.away = True
    await asyncio.sleep(after)
    driver.kill(killed_reason("d.t"))
    killed = now()
    server.away = False
    assert await task is BatchOutcome.KILLED
    assert now() < killed + 30
    assert states(server) == {"TERMINATED"}
    assert server.asked["start"] == 4


@virtual
async def test_a_kill_that_cannot_terminate_tells_what_is_left() -> None:
    server = Starting(lasts=600.0)
    driver = driver_of(server, 10, max_active=4)
    task = asyncio.create_task(finish(driver))
    await asyncio.sleep(10)
    server.away = True
    driver.kill(killed_reason("d.t"))
    assert await task is BatchOutcome.KILLED
    assert sorted(driver.termination.may_run) == sorted(server.workflows)
    assert driver.termination.terminated is None


@pytest.mark.parametrize("locked", [set(), {"w2"}])
@virtual
async def test_a_start_whose_answer_is_lost_to_a_kill_is_found_and_terminated(locked: set[str]) -> None:
    server = Starting(latency=2.0, lasts=600.0, lost={2, 3}, locked=locked)
    driver = driver_of(server, 4)
    await killed(driver, 1.0)
    assert len(server.workflows) == 4
    assert states(server) == {"TERMINATED"}


@virtual
async def test_a_batch_that_is_bound_to_fail_starts_no_more() -> None:
    server = Starting(ends={0: "FAILED"})
    driver = driver_of(server, 30, max_active=2, starts_no_more=lambda: driver.batch.failed > 0)
    assert await finish(driver) is BatchOutcome.ENDED
    assert driver.batch.failed == 1
    assert 2 <= server.asked["start"] <= 4
