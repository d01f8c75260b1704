"""One trace: the workflow gets the task's trace context, and its timeline becomes spans under the task's."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import airflow_provider_conductor
from airflow_provider_conductor.exceptions import ConductorWorkflowFailedError
from airflow_provider_conductor.operators.deferral import SPAN_KEY
from airflow_provider_conductor.testing import ConductorStandIn, Script
from tests.operators.airflow_standin import AIRFLOW_2, context_of, deferred, error_of, result, resume, run
from tests.operators.impatient import both_ways, execute, retry, sensor
from tests.polling.builders import failed, sub, task as a_task

BEGAN = 1_700_000_000_000
TASKS = [{"seq": 1, **a_task("pick", "COMPLETED", started=1, ended=2, workerId="worker-1")}]
FAILS = [{"seq": 1, **failed("charge_card", scheduled=0, started=1, ended=2)}]


class Traced:
    """What was exported, and a way to be in a process of a task, as Airflow 3.2 and later is."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def process(self, name: str = "worker") -> Any:
        return self.provider.get_tracer("airflow").start_as_current_span(name)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those of this package, the workflow's own first."""
        return [span for span in self._all() if span.instrumentation_scope.name == "airflow_provider_conductor"]

    def of_airflow(self, name: str) -> int:
        (span,) = [span for span in self._all() if span.name == name]
        return span.context.span_id

    def _all(self) -> list[ReadableSpan]:
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.parent is not None)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Traced]:
    traced = Traced()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", traced.provider)
    yield traced
    traced.provider.shutdown()


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def tree(spans: list[ReadableSpan]) -> dict[str, int]:
    return {span.name: parent_of(span) for span in spans}


@both_ways
def test_a_workflow_is_under_the_span_in_which_its_task_began(
    conductor: ConductorStandIn, traced: Traced, deferrable: bool
) -> None:
    conductor.script("orders", Script(after=0.4, tasks=TASKS))
    task = execute(deferrable=deferrable, pass_context=True)
    context = context_of(task)
    if deferrable:
        with traced.process("first"):
            deferral = deferred(task, context)
        with traced.process("second"):
            resume(execute(deferrable=True, pass_context=True), context, deferral)
    else:
        with traced.process("first"):
            run(task, context)
    first = traced.of_airflow("first")
    names = {span.name: span for span in traced.spans}
    assert set(names) == {"orders", "pick"}
    assert parent_of(names["orders"]) == first
    assert parent_of(names["pick"]) == names["orders"].context.span_id
    version, trace_id, span_id, flags = conductor.started[0]["input"]["airflow"]["traceparent"].split("-")
    assert (version, int(trace_id, 16), int(span_id, 16)) == ("00", names["pick"].context.trace_id, first)
    assert int(flags, 16) & 1, "sampled"
    pick = names["pick"]
    assert (pick.start_time, pick.end_time) == ((BEGAN + 1_000) * 10**6, (BEGAN + 2_000) * 10**6)
    assert dict(pick.attributes or {})["conductor.worker_id"] == "worker-1"
    assert pick.status.status_code is trace.StatusCode.UNSET


@both_ways
def test_each_try_has_its_own_parent(conductor: ConductorStandIn, traced: Traced, deferrable: bool) -> None:
    """The second try runs the first one's workflow on, and shows all of it again, under its own span."""
    conductor.script("orders", Script(after=0.3, status="FAILED", tasks=FAILS), Script(after=0.3, tasks=TASKS))
    for number in (1, 2):
        task = execute(deferrable=deferrable, pass_context=True, retries=1)
        context = context_of(task, try_number=number)
        with traced.process(f"try {number}"):
            if number == 1:
                with pytest.raises(ConductorWorkflowFailedError):
                    run(task, context)
            else:
                run(task, context)
    assert len(conductor.workflows) == 1
    workflows = [span for span in traced.spans if span.name == "orders"]
    assert [parent_of(span) for span in workflows] == [traced.of_airflow("try 1"), traced.of_airflow("try 2")]
    codes = [span.status.status_code for span in workflows]
    assert codes == [trace.StatusCode.ERROR, trace.StatusCode.UNSET]


@both_ways
@pytest.mark.parametrize("status", ["FAILED", "TERMINATED", "TIMED_OUT"])
def test_a_bad_end_is_an_error_with_its_reason(
    conductor: ConductorStandIn, traced: Traced, status: str, deferrable: bool
) -> None:
    conductor.script("orders", Script(after=0.2, status=status, reason="no tea left", tasks=FAILS))
    with traced.process():
        error_of(execute(deferrable=deferrable), AirflowException)
    by_name = {span.name: span.status for span in traced.spans}
    assert by_name["orders"].status_code is by_name["charge_card"].status_code is trace.StatusCode.ERROR
    assert (by_name["orders"].description, by_name["charge_card"].description) == ("no tea left", "card service down")


def test_the_sub_workflow_that_failed_is_below_its_task(conductor: ConductorStandIn, traced: Traced) -> None:
    below = conductor.add("FAILED", name="shipping", reason="no van", tasks=FAILS)
    conductor.script("orders", Script(after=0, status="FAILED", tasks=[{"seq": 1, **sub("ship", below, "FAILED")}]))
    with traced.process():
        error_of(execute(), AirflowException)
    ids = {span.name: span.context.span_id for span in traced.spans}
    assert tree(traced.spans) == {
        "orders": traced.of_airflow("worker"),
        "ship": ids["orders"],
        "shipping": ids["ship"],
        "charge_card": ids["shipping"],
    }


@both_ways
def test_a_sensor_shows_the_workflow_it_watched(conductor: ConductorStandIn, traced: Traced, deferrable: bool) -> None:
    workflow_id = conductor.add("COMPLETED", tasks=TASKS)
    with traced.process():
        result(sensor(workflow_id, deferrable=deferrable))
    assert set(tree(traced.spans)) == {"orders", "pick"}
    assert tree(traced.spans)["orders"] == traced.of_airflow("worker")


def test_so_does_an_operator_that_retries_and_waits(conductor: ConductorStandIn, traced: Traced) -> None:
    conductor.script("orders", Script(after=0, tasks=TASKS))
    workflow_id = conductor.add("FAILED", tasks=FAILS)
    with traced.process():
        result(retry(workflow_id))
    assert tree(traced.spans)["orders"] == traced.of_airflow("worker")


def test_a_workflow_that_completes_within_the_snapshots_time_is_shown(
    conductor: ConductorStandIn, traced: Traced
) -> None:
    conductor.script("orders", Script(after=0, tasks=TASKS))
    with traced.process():
        assert result(execute(wait_for_completion=False, wait_for_seconds=5))["status"] == "COMPLETED"
    assert set(tree(traced.spans)) == {"orders", "pick"}


def test_five_thousand_tasks_are_bounded(conductor: ConductorStandIn, traced: Traced) -> None:
    tasks = [{"seq": n, **a_task(f"piece_{n}", "COMPLETED", started=1, ended=2)} for n in range(5_000)]
    conductor.script("orders", Script(after=0, tasks=tasks))
    with traced.process():
        result(execute())
    assert len(traced.spans) == 500


def test_no_request_is_made_for_it(conductor: ConductorStandIn, traced: Traced) -> None:
    conductor.script("orders", Script(after=0, tasks=TASKS))
    result(execute())
    untraced = len(conductor.requests)
    conductor.workflows.clear()
    with traced.process():
        result(execute())
    assert traced.spans
    assert len(conductor.requests) == 2 * untraced


def test_a_secret_in_a_reason_is_masked(
    conductor: ConductorStandIn, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "airflow_provider_conductor.operators.tracing.redact",
        lambda value: value.replace("hunter2", "***") if isinstance(value, str) else value,
        raising=False,
    )
    conductor.script("orders", Script(after=0, status="FAILED", reason="password hunter2 is wrong"))
    with traced.process():
        error_of(execute(), AirflowException)
    (span,) = traced.spans
    assert span.status.description == "password *** is wrong"
    assert dict(span.attributes or {})["conductor.reason"] == "password *** is wrong"


def test_an_exporter_that_fails_fails_no_task(
    conductor: ConductorStandIn, traced: Traced, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("the collector is full")

    conductor.script("orders", Script(after=0, output={"parcel": "P-7"}))
    monkeypatch.setattr("airflow_provider_conductor.operators.tracing.timeline_spans", refuse, raising=False)
    with traced.process():
        assert result(execute()) == {"parcel": "P-7"}
    assert traced.spans == []


@both_ways
@pytest.mark.parametrize("off", ["no span", "a span that is not sampled"])
def test_without_a_recorded_span_nothing_changes(
    conductor: ConductorStandIn, traced: Traced, off: str, deferrable: bool
) -> None:
    conductor.script("orders", Script(after=0.3, tasks=TASKS))
    task = execute(deferrable=deferrable, pass_context=True)

    def wait() -> None:
        context = context_of(task)
        deferrals: list[Any] = []
        run(task, context, deferrals=deferrals)
        assert len(deferrals) == deferrable
        assert all(SPAN_KEY not in deferral.kwargs for deferral in deferrals)

    if off == "no span":
        wait()
    else:
        with TracerProvider(sampler=ALWAYS_OFF).get_tracer("airflow").start_as_current_span("worker"):
            wait()
    assert set(conductor.started[0]["input"]["airflow"]) == {
        *("dag_id", "run_id", "task_id", "try_number", "map_index", "logical_date", "url"),
    }
    assert traced.spans == []


@pytest.mark.airflow_versions(before="3.0")
@both_ways
def test_airflow_2_has_the_ids_that_its_scheduler_gives_the_span_later(
    conductor: ConductorStandIn, traced: Traced, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    """Current in the process of the task is its executor's span, by a fork, and no provider is set there."""
    from airflow.traces.otel_tracer import OtelTrace
    from airflow.traces.tracer import Trace
    from airflow.traces.utils import gen_dag_span_id, gen_span_id, gen_trace_id

    monkeypatch.setenv("AIRFLOW__TRACES__OTEL_ON", "True")
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(Trace, "instance", OtelTrace(exporter), raising=False)
    conductor.script("orders", Script(after=0.3, status="FAILED", tasks=FAILS), Script(after=0.3, tasks=TASKS))
    ids = []
    for number in (1, 2):
        task = execute(deferrable=deferrable, pass_context=True, retries=1)
        context = context_of(task, try_number=number)
        context["ti"].dag_run = context["dag_run"]
        with contextlib.suppress(ConductorWorkflowFailedError), traced.process("execute_async"):
            run(task, context)
        ids.append((gen_trace_id(context["dag_run"], as_int=True), gen_span_id(context["ti"], as_int=True)))
        assert ids[-1][1] != gen_dag_span_id(context["dag_run"], as_int=True)
    workflows = [span for span in exporter.get_finished_spans() if span.name == "orders"]
    assert [(span.context.trace_id, parent_of(span)) for span in workflows] == ids
    trace_id, span_id = conductor.started[0]["input"]["airflow"]["traceparent"].split("-")[1:3]
    assert (int(trace_id, 16), int(span_id, 16)) == ids[0]


@pytest.mark.airflow_versions(before="3.0")
def test_airflow_2_without_tracing_has_none(conductor: ConductorStandIn) -> None:
    conductor.script("orders", Script(after=0))
    result(execute(pass_context=True))
    assert "traceparent" not in conductor.started[0]["input"]["airflow"]


OFF = """
import json, sys
from unittest import mock
import airflow_provider_conductor.hooks, airflow_provider_conductor.triggers
from airflow.providers.common.compat.sdk import redact, XCom, timezone, conf
from tests.operators.airflow_standin import context_of, result
from tests.operators.impatient import execute
from airflow_provider_conductor.testing import ConductorStandIn, Script
before = set(sys.modules)
with ConductorStandIn() as conductor:
    conductor.script("orders", Script(after=0, output={"a": 1}))
    with mock.patch.dict("os.environ", AIRFLOW_CONN_CONDUCTOR_DEFAULT=conductor.connection_uri()):
        assert result(execute(pass_context=True)) == {"a": 1}
loaded = [name for name in set(sys.modules) - before if name.startswith("opentelemetry") or "tracing" in name]
print("LOADED", json.dumps(loaded), any(name.startswith("opentelemetry") for name in before))
"""


def test_off_imports_nothing() -> None:
    """Beyond what Airflow imports by itself: OpenTelemetry too in most versions, but not in 2.11 and 3.0."""
    root = Path(airflow_provider_conductor.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", OFF], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded, _, by_airflow = done.stdout.rpartition("LOADED ")[2].strip().rpartition(" ")
    assert json.loads(loaded) == []
    if AIRFLOW_2:
        assert by_airflow == "False", "on 2.11 nothing else loads OpenTelemetry, so that this test sees all of it"
