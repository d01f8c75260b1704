"""How long nothing is sent after failures, and by how much polls slow down."""

from __future__ import annotations

import math

import pytest

from airflow_provider_conductor.client import (
    ConductorRequestError,
    ConductorServerError,
    ConductorTooManyRequestsError,
    NotConductorError,
)
from airflow_provider_conductor.polling.outage import MAX_STRETCH, RENEW_EVERY, Outage
from tests.polling.simulated import ROUTE, refused

UNREACHABLE = refused()


def too_many(retry_after: float | None = None) -> ConductorRequestError:
    return ConductorTooManyRequestsError("slow down", status=429, repeatable=True, retry_after=retry_after, **ROUTE)


def after(*errors: ConductorRequestError) -> tuple[Outage, list[float]]:
    """An outage with these failures, each at the end of the pause before it; and the pauses."""
    outage, pauses, now = Outage(), [], 0.0
    for error in errors:
        outage.failed(error, now, jitter=0.0)
        pauses.append(outage.until - now)
        now = outage.until
    return outage, pauses


@pytest.mark.parametrize(
    ("errors", "pauses", "number", "stretch"),
    [
        ([], [], 0, 1),
        ([UNREACHABLE], [1], 1, 1),
        ([UNREACHABLE] * 8, [1, 2, 4, 8, 16, 32, 60, 60], 1, 1),
        ([too_many(), too_many()], [1, 2], 0, 4),
        ([too_many(30.0), too_many(3600.0)], [30, 60], 0, 4),
        ([too_many()] * 9, [1, 2, 4, 8, 16, 32, 60, 60, 60], 0, MAX_STRETCH),
        ([too_many(), UNREACHABLE], [1, 2], 1, 2),
        ([UNREACHABLE, too_many(), UNREACHABLE], [1, 2, 4], 2, 2),
    ],
)
def test_failures_in_a_row(errors: list[ConductorRequestError], pauses: list[float], number: int, stretch: int) -> None:
    outage, found = after(*errors)
    assert found == pauses
    assert (outage.number, outage.stretch, outage.failures) == (number, stretch, len(errors))


def test_of_several_that_were_under_way_one_counts() -> None:
    outage, _ = after(UNREACHABLE)
    outage.failed(UNREACHABLE, 0.5, jitter=0.0)
    assert (outage.failures, outage.until) == (1, 1.0)


def test_an_answer_ends_it_but_for_a_pause_that_the_server_asks_for() -> None:
    outage, _ = after(UNREACHABLE)
    outage.answered(0.5)
    assert (outage.error, outage.until, outage.failures) == (None, -math.inf, 0)
    outage, _ = after(too_many(30.0))
    outage.answered(10.0)
    assert outage.until == 30.0
    outage.answered(30.0)
    assert (outage.error, outage.stretch) == (None, 2.0)
    outage.answered(31.0)
    assert outage.stretch == pytest.approx(1.8)
    for _ in range(20):
        outage.answered(32.0)
    assert outage.stretch == 1.0


def test_each_outage_has_a_number_of_its_own() -> None:
    outage, _ = after(UNREACHABLE)
    outage.answered(5.0)
    outage.failed(UNREACHABLE, 10.0, jitter=0.0)
    assert outage.number == 2


def test_the_connection_is_looked_up_again_now_and_then() -> None:
    assert [after(*[UNREACHABLE] * times)[0].wants_renewal for times in (1, RENEW_EVERY, RENEW_EVERY + 1)] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (UNREACHABLE, None),
        (ConductorServerError("boom", status=500, **ROUTE), None),
        (too_many(3.0), 3.0),
        (too_many(6.0), None),
        (NotConductorError("a page", status=404, **ROUTE), 0.0),
    ],
    ids=["unreachable", "server error", "a brief pause", "a long pause", "concerns one workflow"],
)
def test_a_wait_that_polls_by_itself_waits_or_is_told(error: ConductorRequestError, waits: float | None) -> None:
    outage, _ = after(error)
    if waits is None:
        with pytest.raises(type(error)):
            outage.own_poll_after(0.0)
    else:
        assert outage.own_poll_after(0.0) == waits
    assert outage.own_poll_after(outage.until) == 0.0
