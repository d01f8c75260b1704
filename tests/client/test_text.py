from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as some

from airflow_provider_conductor.client.text import one_line, readable, to_log


@settings(deadline=None)
@given(some.text() | some.text(alphabet="::group#[]en d\x1b[0m\x00\x9b"), some.integers(2, 300))
def test_foreign_text_stays_on_one_bounded_line(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert not any(fold in line for fold in ("::group::", "##[group]", "::endgroup::", "##[endgroup]"))
    assert one_line(line, limit) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("  a\n\tb\x00c ", "a b c"),
        ("\x1b[31mred\x1b[0m \x9b2Jcleared", "red cleared"),
        ("\x1b]0;a title\x07shown", "shown"),
        ("a\ud800b\u202ec\u2028d", "a b c d"),
        ("::group::x ##[endgroup]", "(group)x (endgroup)"),
        (":::group:::", ":(group):"),
        ("::gr\x1b[0moup::", "(group)"),
        ("größer, 日本語, 😀", "größer, 日本語, 😀"),
        (None, "None"),
    ],
)
def test_what_becomes_of_it(text: str, line: str) -> None:
    assert one_line(text) == line


def test_a_megabyte_is_cut() -> None:
    assert one_line("x" * 10**6) == "x" * 199 + "…"
    assert len(readable("x\n" * 10**6)) == 10_001


def test_lines_of_our_own_stay() -> None:
    assert readable("a\n    b\x00\n::endgroup::") == "a\n    b \n(endgroup)"


def test_a_logger_gets_one_line() -> None:
    seen: list[str] = []
    to_log(lambda form, line: seen.append(form % line))("100 %s\nforged")
    assert seen == ["100 %s forged"]
