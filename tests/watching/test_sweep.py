"""Each end is found once: whatever the index, the clocks and the triggerer do."""

from __future__ import annotations

import random

import pytest

from airflow_provider_conductor.client.errors import ConductorUnreachableError
from airflow_provider_conductor.testing.search_index import INDEXED
from airflow_provider_conductor.watching import sweep as module
from airflow_provider_conductor.watching.ends import Wanted
from airflow_provider_conductor.watching.position import Position
from airflow_provider_conductor.watching.sweep import PAGE, sweep
from tests.watching.simulated import LAG, Reader, Server

MINUTES = 60.0


def test_what_ended_before_is_no_end() -> None:
    server = Server()
    server.end()
    server.now += 2
    reader = Reader(server)
    assert reader.sweep() == []
    server.now += 1
    new = server.end()
    assert reader.sweep() == [new]
    assert reader.sweep() == []


@pytest.mark.parametrize("ahead", [-5 * MINUTES, 0.0, 5 * MINUTES])
@pytest.mark.parametrize("dates", [True, False])
def test_the_servers_clock_counts(ahead: float, dates: bool) -> None:
    """Without a ``Date``, a server whose clock is behind shows its ends late, but shows them."""
    server = Server(ahead=ahead, dates=dates)
    old = server.end()
    server.now += 10
    reader = Reader(server)
    server.now += 5
    new = server.end()
    found = reader.sweep()
    if dates or not ahead:
        assert found == [new]
    elif ahead > 0:
        assert found == [old, new]
    else:
        assert found == []


def test_an_end_that_the_index_shows_late_is_found_once() -> None:
    server = Server()
    reader = Reader(server)
    found: list[str] = []
    for second in range(200):
        server.now += 1
        server.end(lag=30.0 if second % 7 == 0 else 0.0)
        found += reader.sweep() if second % 2 else []
    server.now += 31
    found += reader.sweep()
    assert sorted(found) == sorted(server.workflows)


def test_an_index_that_stands_still_for_hours_loses_nothing() -> None:
    server = Server()
    reader = Reader(server)
    server.now += 1
    before = server.end()
    assert reader.sweep() == [before]
    held = []
    for _ in range(120):
        server.now += 60
        held.append(server.end(lag=server.now - server.now + 7_300 - 60 * len(held)))
        assert reader.sweep() == []
    server.now += 200
    assert sorted(reader.sweep()) == sorted(held)


def test_a_retry_that_ends_again_is_another_end() -> None:
    server = Server()
    reader = Reader(server, Wanted(names=("orders",), statuses=("COMPLETED", "FAILED")))
    server.now += 1
    first = server.end(status="FAILED")
    assert reader.sweep() == [first]
    server.now += 5
    server.end(first)
    assert reader.sweep() == [first]
    assert [str(end.summary.status) for end, _ in reader.ends] == ["FAILED", "COMPLETED"]
    assert reader.sweep() == []


def test_a_change_after_the_end_is_no_end() -> None:
    server = Server()
    reader = Reader(server)
    server.now += 1
    first = server.end()
    assert reader.sweep() == [first]
    for _ in range(5):
        server.now += LAG
        server.touch(first)
        other = server.end()
        assert reader.sweep() == [other]


def test_a_sub_workflow_is_no_end_unless_asked_for() -> None:
    server = Server()
    plain, all_of_them = Reader(server), Reader(server, Wanted(names=("orders",), sub_workflows=True))
    server.now += 1
    parent, child = server.end(), server.end(parent="above")
    assert plain.sweep() == [parent]
    assert sorted(all_of_them.sweep()) == sorted([parent, child])


def test_an_index_without_parents_is_made_up_for_by_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    reader = Reader(server)
    answer = server._answer

    def without(call):
        found = answer(call)
        for item in found.get("results", ()):
            item.pop("parentWorkflowId")
        return found

    monkeypatch.setattr(server, "_answer", without)
    server.now += 1
    parent = server.end()
    server.end(parent="above")
    assert reader.sweep() == [parent]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(names=("orders", "returns")), {"o", "r"}),
        (Wanted(prefix="or"), {"o", "x"}),
        (Wanted(names=("orders",), statuses=("FAILED", "TERMINATED")), {"f"}),
        (Wanted(names=("orders",), correlation_id="7"), {"l"}),
        (Wanted(names=("a, b",)), {"odd"}),
    ],
)
def test_which_ends_are_wanted(wanted: Wanted, found: set[str]) -> None:
    server = Server()
    reader = Reader(server, wanted)
    server.now += 1
    server.end("o")
    server.end("r", name="returns")
    server.end("x", name="ordinary")
    server.end("f", status="FAILED")
    server.end("l", label="7")
    server.end("odd", name="a, b")
    server.end("run", status="RUNNING")
    plain = {"l"} if wanted.statuses == ("COMPLETED",) and (wanted.prefix or "orders" in wanted.names) else set()
    assert set(reader.sweep()) == found | plain


def test_fifty_watchers_cost_one_search() -> None:
    server = Server()
    readers = [Reader(server, Wanted(names=(f"flow_{number}",))) for number in range(50)]
    server.now += 1
    ids = [server.end(name=f"flow_{number}") for number in range(50)]
    server.requests.clear()
    server.run(sweep([reader.watcher for reader in readers]))
    assert [reader.got for reader in readers] == [[item] for item in ids]
    assert server.searches() == 1
    (query,) = {dict(call.params)["query"] for call in server.requests if call.path == "/workflow/search"}
    assert "workflowType IN (flow_0,flow_1," in query


def test_a_thousand_ends_in_a_minute_and_a_kill_in_the_middle() -> None:
    """The successor reports again only what was open: none of it here."""
    server, random_lag = Server(), random.Random(7)
    reader = Reader(server)
    found: list[str] = []
    for number in range(1_000):
        server.now += 0.06
        server.end(lag=random_lag.choice([0.0, 0.0, 0.0, 5.0, 30.0]))
        if number % 50 == 49:
            found += reader.sweep()
        if number in (333, 700):
            reader = reader.successor()
    server.now += 31
    found += reader.sweep()
    assert sorted(found) == sorted(server.workflows)
    assert len(str(reader.watcher.position and reader.watcher.position.stored())) < 40_000


def test_the_next_triggerer_reports_what_was_open_and_nothing_else() -> None:
    server = Server()
    reader = Reader(server)
    for _ in range(300):
        server.now += 1
        server.end()
        reader.sweep()
    reader.unconfirmed = [(end.workflow_id, end.time) for end, _ in reader.ends[-5:]]
    open_ends = [item for item, _ in reader.unconfirmed]
    server.now += 1
    new = server.end()
    assert reader.successor().sweep() == [*open_ends, new]


def test_what_stays_open_for_long_is_not_passed() -> None:
    server = Server()
    reader = Reader(server)
    server.now += 1
    stuck = server.end()
    reader.sweep()
    reader.unconfirmed = [(stuck, server.workflows[stuck]["endTime"])]
    for _ in range(300):
        server.now += 1
        server.end()
        reader.sweep()
    assert reader.successor().sweep() == [stuck]


def test_an_absence_of_hours_is_caught_up_page_by_page() -> None:
    server = Server()
    reader = Reader(server)
    ids = []
    for _ in range(5 * PAGE + 17):
        server.now += 20
        ids.append(server.end())
    server.requests.clear()
    assert reader.successor().sweep() == ids
    assert server.searches() == 7  # one of them looks whether there is an index


def test_an_absence_longer_than_wanted_is_cut() -> None:
    server = Server()
    reader = Reader(server)
    server.now += 3_600
    server.end()
    server.now += 7_200
    late = server.end()
    server.now += 60
    assert reader.successor(catch_up=3_600).sweep() == [late]


def test_a_catch_up_that_breaks_off_continues() -> None:
    server = Server()
    reader = Reader(server)
    ids = []
    for _ in range(3 * PAGE):
        server.now += 20
        ids.append(server.end())
    server.fails_after = 3
    with pytest.raises(ConductorUnreachableError):
        reader.sweep()
    assert 0 < len(reader.got) < len(ids)
    server.fails_after = float("inf")
    reader.sweep()
    assert reader.got == ids


@pytest.mark.parametrize("sorts", [True, False])
def test_a_page_of_ends_at_one_moment_does_not_stop_it(sorts: bool) -> None:
    server = Server(sorts=sorts)
    reader = Reader(server)
    server.now += 1
    ids = {server.end() for _ in range(2 * PAGE + 3)}
    server.now += 1
    ids |= {server.end() for _ in range(PAGE)}
    found = reader.sweep()
    assert set(found) == ids
    assert len(found) == len(ids)


def test_a_watcher_that_falls_behind_holds_back_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FULL", 10)
    server = Server()
    reader = Reader(server)
    server.now += 1
    server.end()
    reader.unconfirmed = [("x", 1)] * 10
    slept: list[float] = []

    def pause(seconds: float):
        slept.append(seconds)
        reader.unconfirmed = []
        yield from ()

    monkeypatch.setattr(module, "sleep", pause)
    assert len(reader.sweep()) == 1
    assert slept == [module.FULL_PAUSE]


def test_an_end_in_the_future_hides_nothing() -> None:
    server = Server()
    reader = Reader(server)
    server.now += 1
    server.ahead = 3_600
    odd = server.end()
    server.ahead = 0
    assert reader.sweep() == [odd]
    for _ in range(3):
        server.now += 100
        new = server.end()
        assert reader.sweep() == [new]


def test_a_server_without_an_index_is_named() -> None:
    assert "The search index has no workflow at all" in Reader(Server()).log[0]
    server = Server()
    server.end()
    assert Reader(server).log == []


def test_an_index_without_end_times_is_read_by_the_last_change() -> None:
    server = Server()
    reader = Reader(server)
    server.now += 1
    first = server.end()
    server.workflows[first]["endTime"] = 0
    assert reader.sweep() == [first]
    assert "updateTime" in INDEXED


@pytest.mark.parametrize("stored", [None, {}, {"format": 2}, {"format": 1, "known": "x"}, [1], "text"])
def test_a_position_that_cannot_be_read_is_none(stored: object) -> None:
    assert Position.restored(stored, 1) is None
