"""A lab on each server, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.client_lab import Lab


@pytest.fixture(scope="module")
def newest(conductor_server: Any) -> Iterator[Lab]:
    with Lab(conductor_server.api_url) as lab:
        yield lab


@pytest.fixture(scope="module")
def oldest(old_conductor_server: Any) -> Iterator[Lab]:
    with Lab(old_conductor_server.api_url) as lab:
        yield lab
