"""Reading megabytes in steps gives what reading them at once gives."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from airflow_provider_conductor.client.large_json import loads_in_steps

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


@given(value=VALUES, indent=st.sampled_from([None, 0, 2]))
def test_it_reads_what_json_reads(value: object, indent: int | None) -> None:
    content = json.dumps(value, indent=indent).encode()
    assert loads_in_steps(b" \n" + content + b"\r\n") == json.loads(content)


@given(content=st.text(alphabet='{}[]",:0 \\ntrue', max_size=12))
def test_invalid_json_is_refused_as_json_refuses_it(content: str) -> None:
    try:
        expected = json.loads(content)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            loads_in_steps(content.encode())
    else:
        assert loads_in_steps(content.encode()) == expected


def test_bytes_that_are_not_text_are_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        loads_in_steps(b'{"a": "\xff"}')
