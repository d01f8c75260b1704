"""``max_requests_per_second`` holds whatever is sent, by either transport."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.large_json import LARGE
from airflow_provider_conductor.client.retry import Pace
from tests.client import fault_server as faults
from tests.client.fault_server import FaultServer
from tests.client.transports import Clock, Transport

READ = endpoints.get_workflow("w1")


def test_moments_are_apart_and_nothing_is_saved_up() -> None:
    pace = Pace(4.0)
    assert [pace.delay(100.0) for _ in range(4)] == [0.0, 0.25, 0.5, 0.75]
    assert pace.delay(100.9) == pytest.approx(0.1)
    assert [pace.delay(200.0), pace.delay(200.0)] == [0.0, 0.25]


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


def test_without_a_limit_there_is_no_pause() -> None:
    pace = Pace(None)
    assert {pace.delay(now) for now in (1.0, 1.0, 2.0)} == {0.0}


def test_every_request_counts(
    serve: Callable[..., FaultServer], connect: Callable[..., Transport], clock: Clock
) -> None:
    """The token's and the repeated ones too."""
    server = serve(
        faults.by_path(
            token=faults.token("t"), workflow=faults.in_turn(faults.status(503), faults.workflow(), faults.workflow())
        )
    )
    client = connect(server, key_id="k", key_secret="s", max_requests_per_second=0.5)
    began = clock.now
    client.send(READ)
    client.send(READ)
    assert len(server.requests) == 4
    assert clock.now - began >= 6.0


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_setting_the_wall_clock_does_not_change_the_pace(
    serve: Callable[..., FaultServer], connect: Callable[..., Transport], clock: Clock, step: float
) -> None:
    client = connect(serve(faults.workflow()), max_requests_per_second=10)
    client.send(READ)
    clock.set_by = step
    client.send(READ)
    assert clock.sleeps == [pytest.approx(0.1)]


def test_a_large_answer_is_read_like_a_small_one(
    serve: Callable[..., FaultServer], connect: Callable[..., Transport]
) -> None:
    client = connect(serve(faults.workflow(output={"text": "é" * LARGE})))
    assert client.send(READ).output["text"] == "é" * LARGE
