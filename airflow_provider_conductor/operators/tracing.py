"""A workflow's timeline as spans under the task's own; imported only where the task is traced."""

from __future__ import annotations

from collections.abc import Mapping

from airflow.providers.common.compat.sdk import redact
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from airflow_provider_conductor._airflow import TaskSpan
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.client.text import Logger
from airflow_provider_conductor.polling.spans import timeline_spans

NANOSECONDS = 1_000_000
"""In a millisecond."""


def emit_spans(
    span: TaskSpan, carrier: Mapping[str, str], workflow: Workflow, below: Mapping[str, Workflow], *, log: Logger
) -> None:
    """Make the spans of a workflow; what fails here is logged, and does not fail the task.

    Args:
        carrier: W3C trace context of the span that the workflow's is put under.
        below: the sub-workflows that have been read, by id.
    """
    try:
        _emit(span, TraceContextTextMapPropagator().extract(carrier), workflow, below)
    except Exception as error:  # whatever an exporter of somebody's own may raise
        log.warning("No spans could be made of workflow %s: %s", workflow.workflow_id, error)


def _emit(span: TaskSpan, parent: Context, workflow: Workflow, below: Mapping[str, Workflow]) -> None:
    contexts: list[Context] = []
    for item in timeline_spans(workflow, below):
        made = span.tracer.start_span(
            item.name,
            context=parent if item.parent is None else contexts[item.parent],
            start_time=item.start * NANOSECONDS,
            attributes={key: redact(value) for key, value in item.attributes.items()},
        )
        if item.error is not None:
            made.set_status(trace.Status(trace.StatusCode.ERROR, str(redact(item.error))))
        contexts.append(trace.set_span_in_context(made))
        made.end(end_time=item.end * NANOSECONDS)
    span.flush()
