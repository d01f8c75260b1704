"""What differs between the supported Airflow versions and is not bridged by common-compat."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_2_PLUS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseSensorOperator, Context
    from jinja2 import Template
    from opentelemetry.trace import Span, Tracer

log = logging.getLogger(__name__)

NEVER_EXPIRE: timedelta | None = None
with suppress(ImportError):  # Airflow 3.3
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

DEFERRED_KEY = "conductor_deferred"
"""XCom key that has the number of the try that is deferred, and 0 when a worker has taken over from the triggerer.
Airflow wipes it with the next try."""

NOT_DEFERRED = 0
"""No try's number. Not null, which the API of Airflow 3.0 refuses (422, ``xcoms.py:set_xcom``; 3.1 takes it)."""

TIMEOUT_FORESTALLS_RESUMPTION = find_spec("airflow.sdk") is None
"""Airflow 2.11 raises ``execution_timeout`` before it resumes a task whose time is over: no method of it is called."""

RETRIES_MAY_RESUME = AIRFLOW_V_3_0_PLUS and not AIRFLOW_V_3_2_PLUS
"""Whether Airflow may resume a retry with the event that ended the deferral of the try before it: 3.0, and the first of
3.1 (apache/airflow#56704)."""


def triggers_hear_of_kills() -> bool:
    """Whether Airflow calls a trigger's ``on_kill`` (3.3); before it, a killed task's trigger is just cancelled."""
    from airflow.triggers.base import BaseTrigger

    return hasattr(BaseTrigger, "on_kill")


def triggers_render_templates() -> bool:
    """Whether a task may begin in the triggerer though its arguments are templates (from Airflow 3.3 on)."""
    from airflow.triggers.base import BaseTrigger

    return hasattr(BaseTrigger, "render_template_fields")


def watchers_exist() -> bool:
    """Whether an asset can be updated by a trigger (from Airflow 3.0 on)."""
    return find_spec("airflow.sdk") is not None


def events_are_confirmed() -> bool:
    """Whether an asset's trigger gets to know what was stored, and has where to keep how far it is (Airflow 3.3)."""
    from airflow.triggers import base

    return hasattr(getattr(base, "BaseEventTrigger", None), "create_shared_stream_producer")


DEEPEST = 50
"""Levels of JSON in which secrets are masked; what is nested deeper is left out. Airflow's own depth is 5."""


def masked(value: Any) -> Any:
    """Foreign text, or JSON, with the secrets hidden that this process knows, and the values of sensitive keys."""
    from airflow.providers.common.compat.sdk import redact

    return redact(_to_depth(value), max_depth=DEEPEST + 1)


def _to_depth(value: Any, depth: int = 0) -> Any:
    if not isinstance(value, (Mapping, list)):
        return value
    if depth >= DEEPEST:
        return "(nested too deep to be shown)"
    if isinstance(value, list):
        return [_to_depth(item, depth + 1) for item in value]
    return {key: _to_depth(item, depth + 1) for key, item in value.items()}


def rendered_to_text(template: Template, context: Context) -> str:
    """A compiled Jinja template as text."""
    try:  # Airflow 3
        from airflow.sdk.definitions.context import render_template_to_string
    except ImportError:
        from airflow.utils.helpers import render_template_to_string  # type: ignore[no-redef]
    return str(render_template_to_string(template, context))


def xcom_is_json_in_database() -> bool:
    """Whether a result goes into a JSON column: on Airflow 3, without an XCom backend; 2.11 has bytes there."""
    from airflow.providers.common.compat.sdk import XCom

    return bool(XCom.__module__ == "airflow.sdk.bases.xcom")


class TaskInstanceKey(Protocol):
    """What names one try of a task: a part of Airflow's task instance, on a worker and in a triggerer."""

    @property
    def dag_id(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def task_id(self) -> str: ...
    @property
    def map_index(self) -> int | None: ...
    @property
    def try_number(self) -> int: ...


class TaskInstance(TaskInstanceKey, Protocol):
    """Airflow's task instance on a worker, as far as this package uses it."""

    @property
    def max_tries(self) -> int | None: ...
    @property
    def start_date(self) -> datetime | None: ...
    def xcom_push(self, key: str, value: Any) -> None: ...
    def xcom_pull(self, task_ids: str, *, key: str, map_indexes: int) -> Any: ...


def tasks_have_state_store() -> bool:
    """Whether a task can remember something across its tries and pokes: from Airflow 3.3 on."""
    return NEVER_EXPIRE is not None


class TaskStateStore:
    """What a task remembers across its tries: Airflow 3.3's ``task_state_store``; before it, nothing.

    A store that fails is a memory less and not a failed task: that is logged, and nothing raised.
    """

    def __init__(self, context: Context) -> None:
        self._store: Any = context.get("task_state_store") if tasks_have_state_store() else None

    def __bool__(self) -> bool:
        return self._store is not None

    def get(self, key: str) -> Any:
        return self._tried("read", lambda: self._store.get(key))

    def set(self, key: str, value: Any) -> None:
        self._tried("written", lambda: self._store.set(key, value, retention=NEVER_EXPIRE))

    def delete(self, key: str) -> None:
        self._tried("cleared", lambda: self._store.delete(key))

    def _tried(self, what: str, call: Callable[[], Any]) -> Any:
        if not self:
            return None
        try:
            return call()
        except Exception as error:  # whatever Airflow's API, or a state store backend of somebody's own, may raise
            log.warning("The task state store could not be %s: %s", what, error)
            return None


@dataclass(frozen=True, slots=True)
class TaskNow:
    """What the metadata database has of a trigger's task.

    Args:
        state: None where the task has just been cleared; :data:`DELETED` where its dag run has been deleted.
        deferred_last: whether its deferral is the last that is known of it: no worker has taken over since.
    """

    state: str | None
    deferred_last: bool


DELETED = "deleted"
"""A state of ours: the database has no such task instance any more."""


async def task_now(task_instance: TaskInstanceKey) -> TaskNow:
    """The state of a trigger's task as the database has it now.

    Raises:
        Exception: whatever the database or Airflow's API raises, and a :class:`LookupError` where the answer cannot be
            identified as this task's.
    """
    from asgiref.sync import sync_to_async

    # Not asyncio.to_thread: in Airflow 3 the question goes back to the triggerer's own loop, which only asgiref's
    # threads find; from another one it is never answered.
    return await sync_to_async(_task_now)(task_instance)


def note_deferred(ti: TaskInstance) -> None:
    """Write to XCom, on a worker, that this try is deferred: a trigger knows by that whether a kill is its business."""
    ti.xcom_push(key=DEFERRED_KEY, value=ti.try_number)


def note_resumed(ti: TaskInstance) -> None:
    """Write to XCom that a worker has taken over: what becomes of the task now is no trigger's business."""
    ti.xcom_push(key=DEFERRED_KEY, value=NOT_DEFERRED)


async def push_xcom(ti: TaskInstanceKey, key: str, value: Any) -> None:
    """Write to XCom from a trigger (Airflow 3.3 and later).

    Not by the task instance's own ``axcom_push``, which wants of its task what a stored DAG's tasks lack (3.3.2).
    """
    from airflow.providers.common.compat.sdk import XCom

    await XCom.aset(key, value, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)


def write_xcom(ti: TaskInstanceKey, key: str, value: Any, *, task_id: str) -> None:
    """Write to the XCom of another task of the same dag run, with the same map index, on a worker."""
    from airflow.providers.common.compat.sdk import XCom

    index = -1 if ti.map_index is None else ti.map_index
    XCom.set(key, value, dag_id=ti.dag_id, task_id=task_id, run_id=ti.run_id, map_index=index)


def current_dag() -> Any:
    """The DAG whose ``with`` block is being read, or None."""
    try:  # Airflow 3
        from airflow.sdk.definitions._internal.contextmanager import DagContext
    except ImportError:
        from airflow.models.dag import DagContext  # type: ignore[no-redef]

        return DagContext.get_current_dag()
    return DagContext.get_current()


def _task_now(ti: TaskInstanceKey) -> TaskNow:
    from airflow.providers.common.compat.sdk import XCom

    # In this order: a worker that takes over notes that before the state can be a final one.
    state = _task_state(ti)
    deferred_in = XCom.get_one(
        key=DEFERRED_KEY, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index
    )
    return TaskNow(state, deferred_last=deferred_in == ti.try_number)


def _task_state(ti: TaskInstanceKey) -> str | None:
    try:  # Airflow 3: the triggerer asks its supervisor
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    except ImportError:
        return _task_state_from_database(ti)
    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    return state_in_answer(states, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index)


def state_in_answer(
    states: Mapping[str, Mapping[str, Any]], *, run_id: str, task_id: str, map_index: int | None
) -> str | None:
    """The state in Airflow 3's answer to a question about one task instance.

    A mapped task instance is under ``{task_id}_{map_index}`` there (3.0.6, 3.1.8, 3.2.2 and 3.3.2, source:
    ``api_fastapi/execution_api/routes/task_instances.py``). Another task may be called just that; but the question was
    about one task id and one map index, so its answer has one entry at most.

    Raises:
        LookupError: the entry is another task's, or there are several.
    """
    there = states.get(run_id) or {}
    if not there:
        return DELETED
    key = task_id if map_index is None or map_index < 0 else f"{task_id}_{map_index}"
    if list(there) != [key]:
        raise LookupError(f"Airflow was asked for the state of {key!r} and answered with those of {list(there)}")
    state = there[key]
    return None if state is None else str(getattr(state, "value", state))


def _task_state_from_database(ti: TaskInstanceKey) -> str | None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        row = (
            session.query(TaskInstance.state)
            .filter_by(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
            .one_or_none()
        )
    if row is None:
        return DELETED
    return None if row[0] is None else str(row[0])


INSTRUMENTATION = "airflow_provider_conductor"
"""The name of this package's tracer."""

FLUSH_MILLISECONDS = 5_000
"""How long the export of a task's spans may take where Airflow does not do it when the task ends (before 3.2)."""


@dataclass(frozen=True, slots=True)
class TaskSpan:
    """The span of a task in the process that executes it.

    Attributes:
        carrier: its W3C trace context: ``traceparent``, and ``tracestate`` where it has one.
        tracer: makes spans where Airflow's go.
        flush: to call when they have been made.
    """

    carrier: Mapping[str, str]
    tracer: Tracer
    flush: Callable[[], object]


def task_span(ti: TaskInstanceKey, dag_run: Any) -> TaskSpan | None:
    """The span of the task that runs in this process, or None where nothing is traced.

    ==============================================  =================================================================
    the case, the first that applies                the span
    ==============================================  =================================================================
    Airflow 2.11, with ``[traces] otel_on``         the task instance's, whose ids the scheduler derives from the
                                                    names and the number of the try (``airflow/traces/utils.py``). A
                                                    current span is its executor's, inherited by a fork
    Airflow 3.0 or 3.1, with ``[traces] otel_on``   the task instance's, which its executor keeps and sends along
    a span is current, and recorded                 that: Airflow 3.2 and later has one in each process of a task, an
                                                    instrumentation of the user's own perhaps elsewhere
    otherwise                                       None, and OpenTelemetry has not been imported
    ==============================================  =================================================================
    """
    if find_spec("airflow.traces") is not None:  # before Airflow 3.2
        from airflow.providers.common.compat.sdk import conf

        if conf.getboolean("traces", "otel_on", fallback=False):
            return _task_span_of_scheduler(ti, dag_run)
    trace: Any = sys.modules.get("opentelemetry.trace")
    current: Span | None = trace and trace.get_current_span()
    if current is None or not current.is_recording():
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return TaskSpan(carrier, trace.get_tracer(INSTRUMENTATION), flush=lambda: None)


def _task_span_of_scheduler(ti: TaskInstanceKey, dag_run: Any) -> TaskSpan | None:
    from airflow.traces.tracer import Trace

    if hasattr(ti, "context_carrier"):  # Airflow 3
        carrier = dict(ti.context_carrier or {})
    elif dag_run.start_date is None:
        return None
    else:
        from airflow.traces.utils import gen_span_id_from_ti_key, gen_trace_id

        carrier = {"traceparent": f"00-{gen_trace_id(dag_run)}-{gen_span_id_from_ti_key(ti)}-01"}
    tracer: Any = Trace.get_tracer(INSTRUMENTATION)
    processor = getattr(tracer, "span_processor", None)
    if processor is None or not carrier:  # OpenTelemetry is not installed, or the task instance has no span
        return None
    return TaskSpan(carrier, tracer, flush=lambda: processor.force_flush(FLUSH_MILLISECONDS))


def first_poke(sensor: BaseSensorOperator, context: Context) -> datetime | None:
    """When a rescheduled sensor poked first in this series of tries, or None where this is the first poke."""
    ti = context["ti"]
    if hasattr(ti, "get_first_reschedule_date"):  # Airflow 3
        return ti.get_first_reschedule_date(context)
    from airflow.sensors.base import _orig_start_date

    first_try = (ti.max_tries or 0) - (sensor.retries or 0) + 1
    began: datetime | None = _orig_start_date(
        dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index, try_number=first_try
    )
    return began


def skip_downstream(context: Context, task_id: str, *, all_of_them: bool) -> None:
    """Skip what follows directly, or all that is downstream; teardowns are not skipped.

    Airflow 3 does that by an exception of its own (``DownstreamTasksSkipped``), after which the task is a success.
    """
    task = context["task"]
    relatives = task.get_flat_relatives(upstream=False) if all_of_them else task.get_direct_relatives(upstream=False)
    skipped = [found for found in relatives if not found.is_teardown]
    if skipped:
        _brancher(task_id).skip(ti=context["ti"], tasks=skipped)


def branch_into(context: Context, task_id: str, branches: list[str]) -> None:
    """Skip what follows directly, but these tasks or task groups; raises as :func:`skip_downstream` does."""
    _brancher(task_id).do_branch(context, branches)


def _brancher(task_id: str) -> Any:
    """Airflow's own mixin, whose import a DAG file need not pay for."""
    from airflow.providers.common.compat.sdk import BranchMixIn

    brancher = type("Brancher", (BranchMixIn,), {"task_id": task_id})
    return brancher()


__all__ = [
    "DEFERRED_KEY",
    "DELETED",
    "RETRIES_MAY_RESUME",
    "TIMEOUT_FORESTALLS_RESUMPTION",
    "TaskNow",
    "TaskSpan",
    "TaskStateStore",
    "branch_into",
    "current_dag",
    "events_are_confirmed",
    "first_poke",
    "masked",
    "note_deferred",
    "note_resumed",
    "push_xcom",
    "skip_downstream",
    "state_in_answer",
    "task_now",
    "task_span",
    "tasks_have_state_store",
    "triggers_hear_of_kills",
    "triggers_render_templates",
    "watchers_exist",
    "write_xcom",
    "xcom_is_json_in_database",
]
