"""A comparison is judged as its goal says, and shown as it was judged."""

from __future__ import annotations

import json

import pytest

from benchmarks.comparison import AtLeast, AtMost, Comparison
from benchmarks.report import HEADINGS, environment, table, write_json
from benchmarks.soak import MEMORY_GROWTH, SOCKETS_AT_MOST, Sample, growth


def a_comparison(**fields):
    return Comparison(
        **{"what": "a sweep", "unit": "ms", "ours": 12.0, "peer": "bare", "theirs": 10.0, "n": 5, **fields}
    )


@pytest.mark.parametrize(
    ("goal", "judged", "reached"),
    [
        (AtMost(11.0), 12.0, False),
        (AtMost(12.0), 12.0, True),
        (AtMost(1.3, "ratio"), 1.2, True),
        (AtMost(1.1, "ratio"), 1.2, False),
        (AtMost(2.0, "difference"), 2.0, True),
        (AtMost(1.0, "difference"), 2.0, False),
        (AtLeast(1.2, "ratio"), 1.2, True),
        (AtLeast(1.3, "ratio"), 1.2, False),
    ],
)
def test_goal_decides(goal, judged, reached):
    comparison = a_comparison(goal=goal)
    assert comparison.judged == pytest.approx(judged)
    assert comparison.reached is reached


def test_without_a_goal_nothing_is_reached_or_missed():
    assert a_comparison().reached is None


def test_a_ratio_without_a_peer_is_not_reached():
    assert a_comparison(theirs=None, goal=AtMost(1.3, "ratio")).reached is False


def test_table_has_a_line_for_each_comparison_under_its_title():
    text = table({"sweeps": [a_comparison(goal=AtMost(1.1, "ratio"), note="busy machine"), a_comparison(ours=1234.5)]})
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0].split()[0] == HEADINGS[0]
    assert "sweeps" in lines
    assert "busy machine" in lines
    assert any("12 ms" in line and "≤ 1.1 x" in line and line.endswith("NO") for line in lines)
    assert any("1,234 ms" in line for line in lines)


def test_json_carries_figures_and_environment(tmp_path):
    file = tmp_path / "below" / "figures.json"
    write_json(file, {"sweeps": [a_comparison(goal=AtMost(1.3, "ratio"))]}, quick=True)
    data = json.loads(file.read_text())
    assert data["environment"] == environment()
    assert data["quick"] is True
    (found,) = data["rows"]["sweeps"]
    assert found["goal"] == {"sense": "at most", "bound": 1.3, "judged": "ratio"}
    assert found["ratio"] == pytest.approx(1.2)
    assert found["reached"] is True


def samples(memory, sockets):
    return [Sample(minute=minute, memory_mb=memory(minute), sockets=sockets(minute), waits=100) for minute in range(30)]


def test_soak_takes_steady_figures_for_steady():
    assert growth(samples(lambda minute: 100 + minute % 3, lambda minute: 20)) == []


def test_soak_sees_memory_grow():
    (fault,) = growth(samples(lambda minute: 100 * MEMORY_GROWTH ** (minute / 5), lambda minute: 20))
    assert "memory grew" in fault


def test_soak_sees_sockets_grow():
    (fault,) = growth(samples(lambda minute: 100, lambda minute: 20 + minute * SOCKETS_AT_MOST / 10))
    assert "sockets" in fault


def test_soak_cannot_judge_what_it_has_not_seen():
    assert growth([]) == ["too few samples to tell growth"]
