from __future__ import annotations

from hypothesis import given, strategies as some

from airflow_provider_conductor.polling.server_clock import RESOLUTION, ServerClock

skews = some.floats(-3600, 3600)
moments = some.floats(1.6e9, 2e9)


@given(skews, moments, some.floats(0, 5))
def test_the_offset_is_read_to_the_headers_resolution(skew: float, sent: float, took: float) -> None:
    server_says = int(sent + took / 2 + skew) * 1000
    clock = ServerClock.observed(server_says, sent=sent, received=sent + took)
    assert abs(clock.ahead - skew) <= 1.5 * RESOLUTION + took / 2 + 0.001


@given(some.floats(-0.4, 0.4), moments)
def test_clocks_that_agree_count_as_one(skew: float, sent: float) -> None:
    clock = ServerClock.observed(int(sent + skew) * 1000, sent=sent, received=sent + 0.01)
    assert clock == ServerClock(0.0)


def test_an_answer_without_a_date_counts_as_no_offset() -> None:
    assert ServerClock.observed(0, sent=100, received=101) == ServerClock(0.0)


@given(skews, moments)
def test_there_and_back_is_the_same_moment(skew: float, moment: float) -> None:
    clock = ServerClock(skew)
    assert abs(clock.ours(clock.server(moment)) - moment) < 0.01
