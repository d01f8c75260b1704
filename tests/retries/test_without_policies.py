"""Before Airflow 3.3 there are no retry policies."""

from __future__ import annotations

import importlib

import pytest


def test_the_error_names_what_to_use_instead() -> None:
    with pytest.raises(ImportError, match=r"needs Airflow 3\.3.*set retries and retry_delay"):
        importlib.import_module("airflow_provider_conductor.retries")
