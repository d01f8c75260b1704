from __future__ import annotations

import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_conductor.client import ConductorSettings, endpoints, errors
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.client.large_json import LARGE
from airflow_provider_conductor.client.retry import Pace, worth_repeating
from airflow_provider_conductor.client.wire import Exchange, TransportFailure
from tests.client import fault_server as faults
from tests.client.transports import Clock, Meet

EXCHANGE = Exchange(ConductorSettings("http://conductor"))
SAFE = endpoints.get_workflow("w1")
UNSAFE = endpoints.start_workflow({"name": "orders"})


@pytest.mark.parametrize(
    ("failure", "if_safe", "otherwise", "unknown"),
    [
        (TransportFailure.CONNECT, True, True, False),
        (TransportFailure.CONNECT_TIMEOUT, True, True, False),
        (TransportFailure.TLS, False, False, False),
        (TransportFailure.TIMEOUT, True, False, True),
        (TransportFailure.BROKEN, True, False, True),
        (TransportFailure.NOT_HTTP, False, False, True),
    ],
)
def test_a_request_without_an_answer_is_repeated_where_that_does_no_harm(
    failure: TransportFailure, if_safe: bool, otherwise: bool, unknown: bool
) -> None:
    safe, unsafe = EXCHANGE.no_answer(SAFE, failure), EXCHANGE.no_answer(UNSAFE, failure)
    assert (worth_repeating(safe), worth_repeating(unsafe)) == (if_safe, otherwise)
    assert (safe.fate_unknown, unsafe.fate_unknown) == (False, unknown)


@pytest.mark.parametrize(("seconds", "worth"), [(None, True), (0, True), (60, True), (61, False)])
def test_a_server_that_asks_for_more_than_a_minute_is_left_to_the_caller(seconds: float | None, worth: bool) -> None:
    assert (
        worth_repeating(errors.ConductorTooManyRequestsError("slow down", repeatable=True, retry_after=seconds))
        is worth
    )


@pytest.mark.parametrize(
    ("call", "seconds"), [(SAFE, 3.0), (endpoints.execute_workflow({"name": "a"}, hold_seconds=25), 30.0)]
)
def test_the_time_out_of_a_held_request_is_longer_than_the_hold(call: Call[object], seconds: float) -> None:
    assert Exchange(ConductorSettings("http://conductor", read_timeout=3)).read_timeout(call) == seconds
    assert EXCHANGE.read_timeout(call) == 60


def test_the_pauses_grow_and_are_not_in_step(meet: Meet, clock: Clock) -> None:
    client = meet(faults.status(503), max_attempts=9)[0]
    with pytest.raises(errors.ConductorServerError):
        client.send(SAFE)
    bounds = [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert len(clock.sleeps) == len(bounds)
    assert all(0 <= pause <= bound for pause, bound in zip(clock.sleeps, bounds, strict=True))
    assert len(set(clock.sleeps)) == len(bounds)


def test_a_repeated_request_is_said_in_the_log(meet: Meet, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    meet(faults.in_turn(faults.status(503), faults.workflow()))[0].send(SAFE)
    assert "GET /workflow/w1" in caplog.text
    assert "503" in caplog.text
    assert "attempt 2" in caplog.text


def test_moments_are_apart_and_nothing_is_saved_up() -> None:
    pace = Pace(4.0)
    assert [pace.delay(100.0) for _ in range(4)] == [0.0, 0.25, 0.5, 0.75]
    assert pace.delay(100.9) == pytest.approx(0.1)
    assert [pace.delay(200.0), pace.delay(200.0)] == [0.0, 0.25]
    without_limit = Pace(None)
    assert {without_limit.delay(now) for now in (1.0, 1.0, 2.0)} == {0.0}


def test_threads_do_not_share_a_moment() -> None:
    """Every moment is handed out once, whichever thread asks, however their asking interleaves."""
    pace = Pace(1.0)
    switching, previous = 1e-6, sys.getswitchinterval()
    sys.setswitchinterval(switching)
    try:
        with ThreadPoolExecutor(8) as pool:
            delays = list(pool.map(lambda _: pace.delay(0.0), range(4_000)))
    finally:
        sys.setswitchinterval(previous)
    assert sorted(delays) == [float(second) for second in range(4_000)]


def test_every_request_counts(meet: Meet, clock: Clock) -> None:
    """The token's and the repeated ones too."""
    client, server = meet(
        faults.by_path(
            token=faults.token("t"), workflow=faults.in_turn(faults.status(503), faults.workflow(), faults.workflow())
        ),
        key_id="k",
        key_secret="s",
        max_requests_per_second=0.5,
    )
    began = clock.now
    client.send(SAFE)
    client.send(SAFE)
    assert len(server.requests) == 4
    assert clock.now - began >= 6.0


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_setting_the_wall_clock_does_not_change_the_pace(meet: Meet, clock: Clock, step: float) -> None:
    client = meet(faults.workflow(), max_requests_per_second=10)[0]
    client.send(SAFE)
    clock.set_by = step
    client.send(SAFE)
    assert clock.sleeps == [pytest.approx(0.1)]


def test_a_large_answer_is_read_like_a_small_one(meet: Meet) -> None:
    client = meet(faults.workflow(output={"text": "é" * LARGE}))[0]
    assert client.send(SAFE).output["text"] == "é" * LARGE
