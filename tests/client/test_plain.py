from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, strategies as st

from airflow_provider_conductor.client import ConductorInputError, StartWorkflowRequest, TaskStatus
from airflow_provider_conductor.client.endpoints import register_workflow_defs, start_workflow
from airflow_provider_conductor.client.plain import read_json, to_plain


class Colour(Enum):
    RED = "red"


class Lazy(Sequence[Any]):
    """As Airflow's ``LazyXComSequence``: a sequence, and no list."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (None, None),
        ("a", "a"),
        (True, True),
        (1.5, 1.5),
        (Colour.RED, "red"),
        (TaskStatus.FAILED, "FAILED"),
        (MappingProxyType({1: (2, {3})}), {"1": [2, [3]]}),
        ({"a": {"b": [Colour.RED]}}, {"a": {"b": ["red"]}}),
        ({"a": (Lazy([1, Lazy([Colour.RED])]), range(2))}, {"a": [[1, ["red"]], [0, 1]]}),
    ],
)
def test_plain_values_are_what_json_can_express(given: Any, plain: Any) -> None:
    assert to_plain(given) == plain


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_what_is_json_already_stays_as_it_is(value: Any) -> None:
    assert to_plain(value) == value


@pytest.mark.parametrize("value", [object(), Colour, {"a": [b"bytes"]}, StartWorkflowRequest])
def test_what_json_cannot_express_is_refused_with_its_type(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot turn"):
        to_plain(value)


@pytest.mark.parametrize(
    ("value", "kind", "read"),
    [
        ('{"a": [1, null]}', dict, {"a": [1, None]}),
        ("[1]", list, [1]),
        ("null", dict, None),
        (None, dict, None),
        ({"a": "{}"}, dict, {"a": "{}"}),
        (7, dict, 7),
    ],
)
def test_json_text_is_read_where_an_object_is_expected(value: Any, kind: Any, read: Any) -> None:
    assert read_json(value, "workflow_input", kind) == read


@pytest.mark.parametrize(
    ("text", "kind"),
    [("{'a': 1}", dict), ("", dict), ("None", dict), ("[1]", dict), ("7", dict), ("{}", list), ("[object]", list)],
)
def test_other_text_is_refused_with_the_way_out(text: str, kind: Any) -> None:
    with pytest.raises(
        ConductorInputError, match=r"workflow_input is text.*\.output.*tojson.*render_template_as_native"
    ):
        read_json(text, "workflow_input", kind)


@pytest.fixture
def sdk_workflow() -> Any:
    pytest.importorskip("conductor.client")
    from conductor.client.workflow.conductor_workflow import ConductorWorkflow
    from conductor.client.workflow.task.simple_task import SimpleTask
    from conductor.client.workflow.task.switch_task import SwitchTask

    workflow = ConductorWorkflow(executor=None, name="orders", version=3)
    workflow.input_parameters(["order_id"])
    switch = SwitchTask("route", "${workflow.input.kind}")
    switch.switch_case("express", [SimpleTask("fly", "fly_ref")])
    switch.default_case([SimpleTask("drive", "drive_ref")])
    workflow >> SimpleTask("pack", "pack_ref") >> switch
    return workflow


def test_an_sdk_workflow_is_read_with_the_servers_names(sdk_workflow: Any) -> None:
    plain = to_plain(sdk_workflow)
    assert plain == to_plain(sdk_workflow.to_workflow_def())
    assert (plain["name"], plain["version"], plain["inputParameters"]) == ("orders", 3, ["order_id"])
    pack, route = plain["tasks"]
    assert (pack["name"], pack["taskReferenceName"], pack["type"]) == ("pack", "pack_ref", "SIMPLE")
    assert route["decisionCases"]["express"][0]["taskReferenceName"] == "fly_ref"
    assert route["defaultCase"][0]["taskReferenceName"] == "drive_ref"


def test_a_definition_of_the_sdk_goes_into_our_request_and_the_sdks_into_ours(sdk_workflow: Any) -> None:
    from conductor.client.http.models import StartWorkflowRequest as SdkRequest

    ours = start_workflow(
        StartWorkflowRequest(name="orders", version=3, workflow_def=sdk_workflow, correlation_id="c")
    ).body
    theirs = start_workflow(
        SdkRequest(name="orders", version=3, workflow_def=sdk_workflow.to_workflow_def(), correlation_id="c", input={})
    ).body
    theirs.pop("idempotencyStrategy", None)  # the SDK's request always names one
    assert ours == theirs
    assert ours["correlationId"] == "c"
    assert ours["workflowDef"]["tasks"][0]["taskReferenceName"] == "pack_ref"


def test_sdk_definitions_are_registered_one_or_many(sdk_workflow: Any) -> None:
    assert register_workflow_defs(sdk_workflow).body == register_workflow_defs([sdk_workflow]).body
    assert register_workflow_defs(sdk_workflow).body[0]["name"] == "orders"


def test_the_client_imports_neither_the_sdk_nor_airflow() -> None:
    code = (
        "import sys, airflow_provider_conductor.client.sync, airflow_provider_conductor.client.aio,"
        "airflow_provider_conductor.client.detached_termination;"
        "sys.exit(sum(m.split('.')[0] in ('conductor', 'airflow') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
