"""What a server's look-up by correlation id and its index answer while workflows start and change."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient
from tests.recorded.record_lookups import Lookups, measure, recorded

pytestmark = pytest.mark.integration


def kind(found: Lookups) -> tuple[bool, bool, bool]:
    return found.answers, found.has_index, found.sees_case


@pytest.mark.parametrize("server", ["conductor_server", "old_conductor_server"], ids=["newest", "oldest"])
def test_the_server_answers_as_one_that_is_recorded(server: str, request: pytest.FixtureRequest) -> None:
    """Which database it has is found out: one without a look-up by correlation id finds nothing at all, ever."""
    api_url: Any = request.getfixturevalue(server).api_url
    with ConductorClient(api_url) as client:
        found = measure(client, 16)
    assert kind(found) in {kind(each) for each in recorded().values()}
    assert found.other_case in (0, found.workflows)
    assert (found.never, found.indexed_never) == (
        0 if found.answers else found.workflows,
        0 if found.has_index else found.workflows,
    )
    assert found.left_out <= found.asked_while_written
