"""The page on batches says what the code does: parameters, templates, what a share or a quarter is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_provider_conductor.batch.failure_causes import DIAGNOSED
from airflow_provider_conductor.batch.handover import FREE_SHARE
from airflow_provider_conductor.operators import ConductorExecuteWorkflowsOperator
from airflow_provider_conductor.operators.batch import MAX_ACTIVE_LIMIT
from airflow_provider_conductor.submission.lookup import IDS_AT_ONCE
from tests.docs.test_docs import START, parameters, section, table, templated

PAGE = section("batch.md")

NOT_TAKEN = {"workflow_input", "correlation_id", "request"}


def shared() -> set[str]:
    """The parameters that the page says are those of the other operators."""
    (sentence,) = re.findall(r"\n\n(`workflow_name`.*?)\n\n", PAGE, flags=re.DOTALL)
    same, _, not_taken = sentence.partition("are those of the")
    assert set(re.findall(r"`(\w+)`", not_taken)) == NOT_TAKEN
    return set(re.findall(r"`(\w+)`", same))


def test_parameters_are_the_signature() -> None:
    documented = table(PAGE, "Parameter")
    others = table(section("operators.md", START.__name__), "Parameter")
    assert not documented.keys() & shared()
    found = parameters(ConductorExecuteWorkflowsOperator)
    assert documented | {name: others[name] for name in shared() | NOT_TAKEN} == found


def test_templated_parameters_are_called_so() -> None:
    assert templated(PAGE) | (shared() & templated(section("operators.md"))) == set(
        ConductorExecuteWorkflowsOperator.template_fields
    )


@pytest.mark.parametrize("name", sorted(NOT_TAKEN))
def test_what_is_not_taken_is_refused(name: str) -> None:
    arguments: dict[str, Any] = {"workflow_name": "orders", "workflow_inputs": [{}], name: {"name": "orders"}}
    with pytest.raises(TypeError, match=name):
        ConductorExecuteWorkflowsOperator(task_id="ship", **arguments)


def test_its_numbers_are_the_codes() -> None:
    assert f"1 to {MAX_ACTIVE_LIMIT:,}" in PAGE
    assert f"{IDS_AT_ONCE} items a request" in PAGE
    assert FREE_SHARE == 0.25
    assert "when a quarter of `max_active` has ended" in PAGE
    assert DIAGNOSED == 5
    assert "the five most frequent are diagnosed" in PAGE
