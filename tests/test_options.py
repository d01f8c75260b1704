"""The section [conductor] of Airflow's configuration: declared, documented, and applied."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.configuration import conf
from airflow.providers_manager import ProvidersManager

from airflow_provider_conductor._options import MAX_OUTPUT_BYTES, OPTIONS, POLLS_AT_ONCE, SECTION, Option, configured
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorExecuteWorkflowsOperator
from airflow_provider_conductor.polling.poller_client import PollerLimits
from airflow_provider_conductor.provider_info import get_provider_info
from airflow_provider_conductor.sensors import ConductorWorkflowSensor
from airflow_provider_conductor.testing import ConductorStandIn
from airflow_provider_conductor.triggers.shared_poller import shared_poller

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Another process would read the configuration anew."""
    configured.cache_clear()
    yield
    configured.cache_clear()


def configure(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    configured.cache_clear()
    for name, value in values.items():
        monkeypatch.setenv(f"AIRFLOW__{SECTION.upper()}__{name.upper()}", str(value))


def limits() -> PollerLimits:
    async def made() -> PollerLimits:
        async with shared_poller("conductor_default") as poller:
            return poller._client.limits

    return asyncio.run(made())


def execute(**arguments: Any) -> ConductorExecuteWorkflowOperator:
    return ConductorExecuteWorkflowOperator(task_id="ship", workflow_name="orders", **arguments)


def test_they_are_declared_as_airflow_has_them() -> None:
    ProvidersManager().initialize_providers_configuration()
    options = get_provider_info()["config"][SECTION]["options"]
    assert list(options) == [option.name for option in OPTIONS]
    for option in OPTIONS:
        assert conf.get(SECTION, option.name) == options[option.name]["default"]


def test_the_page_has_each_option_and_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([0-9]*)`? ?\|", PAGE.read_text(), re.MULTILINE))
    assert rows == {option.name: "" if option.default is None else str(option.default) for option in OPTIONS}


def test_without_any_nothing_is_limited_but_outputs(conductor: ConductorStandIn) -> None:
    task = execute()
    assert (task.timeout, task.stall_timeout, task.max_output_bytes) == (None, None, 1_048_576)
    assert limits() == PollerLimits()


def test_operators_and_sensors_have_the_configured_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ConductorWorkflowSensor(task_id="plain", workflow_id="1")
    configure(monkeypatch, default_timeout=600, default_stall_timeout="60.5", max_output_bytes=5)
    batch = ConductorExecuteWorkflowsOperator(task_id="ship", workflow_name="orders", workflow_inputs=[{}])
    for task in (execute(), batch):
        assert (task.timeout, task.stall_timeout, task.max_output_bytes) == (600, 60.5, 5)
    sensor = ConductorWorkflowSensor(task_id="wait", workflow_id="1")
    assert (sensor.timeout, sensor.stall_timeout, sensor.max_output_bytes) == (plain.timeout, 60.5, 5)


def test_an_argument_goes_before_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, default_timeout=600, default_stall_timeout=60, max_output_bytes=5)
    task = execute(timeout=7, stall_timeout=8, max_output_bytes=9)
    assert (task.timeout, task.stall_timeout, task.max_output_bytes) == (7, 8, 9)


def test_a_triggerers_poller_has_the_configured_limits(
    monkeypatch: pytest.MonkeyPatch, conductor: ConductorStandIn
) -> None:
    configure(monkeypatch, polls_at_once=3, bulk_answer_bytes=4_000_000)
    assert limits() == PollerLimits(polls_at_once=3, bulk_answer_bytes=4_000_000)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
@pytest.mark.parametrize("value", ["-1", "0", "many", "1e99", "nan"])
def test_what_cannot_be_used_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, option: Option, value: str) -> None:
    configure(monkeypatch, **{option.name: value})
    with pytest.raises(ValueError, match=rf"\[conductor\] {option.name} must be a .*, not '{value}'"):
        option.get()


def test_it_is_refused_when_a_dag_is_parsed_and_when_a_wait_begins(
    monkeypatch: pytest.MonkeyPatch, conductor: ConductorStandIn
) -> None:
    configure(monkeypatch, max_output_bytes="1 MiB", polls_at_once=1_000)
    with pytest.raises(ValueError, match=MAX_OUTPUT_BYTES.name):
        execute()
    with pytest.raises(ValueError, match=f"{POLLS_AT_ONCE.name} must be a whole number, at least 1, at most 100"):
        limits()
    assert conductor.requests == []
