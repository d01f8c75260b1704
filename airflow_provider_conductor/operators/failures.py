"""The error of a workflow that ended badly; imported when one has."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.client.sync import ConductorClient
from airflow_provider_conductor.client.text import Logger
from airflow_provider_conductor.exceptions import ConductorWorkflowFailedError, ConductorWorkflowFailedPermanentlyError
from airflow_provider_conductor.polling.failure_report import diagnose, explain
from airflow_provider_conductor.polling.missing_workflow import read_ended, search_index
from airflow_provider_conductor.polling.root_cause import Failure
from airflow_provider_conductor.polling.timeline import timeline
from airflow_provider_conductor.polling.wait_event import GONE, GONE_REASON, WaitEvent
from airflow_provider_conductor.submission.errors import WorkflowGoneError, WorkflowTerminatedError
from airflow_provider_conductor.submission.termination_reasons import ended_by_our_kill, ended_by_our_timeout


def failure_of(
    event: WaitEvent,
    deadline: float | None,
    url: str,
    *,
    client: ConductorClient,
    log: Logger,
    traced: Callable[[Workflow, Mapping[str, Workflow]], object] | None = None,
    rows: int | None = None,
) -> tuple[ConductorWorkflowFailedError, Workflow | None]:
    """The error of a workflow that ended badly, with cause, attempts, reason, log lines; and the workflow, if read.

    Args:
        traced: called with the workflow, and the sub-workflows that were read, by id.
        rows: how many the timeline in the log has at most; None: its own limit.
    """
    workflow, unread = event.workflow, "the server has archived or deleted it since"
    try:
        workflow = workflow or client.run(read_ended(event.workflow_id, deadline))
    except ConductorError as error:
        unread = str(error)
    if workflow is None and not event.message:
        with suppress(ConductorError):
            summary = client.run(search_index(event.workflow_id))
            event = event if summary is None else replace(event, message=summary.reason)
    reported = Failure(workflow_id=event.workflow_id, status=event.status, reason=event.message)
    if workflow is None:
        return _kind(terminal=False, status=event.status, reason=event.message)(
            f"Conductor workflow {event.workflow_id} ended as {event.status}: {event.message or 'no reason given'}"
            f"\nMore could not be read: {unread}\nSee {url}",
            reported,
            url=url,
        ), None
    below: dict[str, Workflow] = {}
    failure = client.run(diagnose(workflow, below))
    log.info("Workflow %s ended as %s\n%s", workflow.workflow_id, workflow.status, timeline(workflow, rows))
    if traced is not None:
        traced(workflow, below)
    if failure is None:  # it was retried or restarted between the event and this read
        return ConductorWorkflowFailedError(
            f"Conductor workflow {event.workflow_id} ended as {event.status} ({event.message or 'no reason given'}) "
            f"and is {workflow.status} again: somebody acted on it. See {url}",
            replace(reported, workflow_name=workflow.name),
            url=url,
        ), workflow
    kind = _kind(terminal=failure.terminal, status=event.status, reason=workflow.reason)
    return kind(explain(failure, url), replace(failure, status=event.status), url=url), workflow


def failure_of_earlier_try(
    error: WorkflowTerminatedError | WorkflowGoneError, url: str, *, client: ConductorClient, log: Logger
) -> ConductorWorkflowFailedError:
    """What a try raises that finds an earlier try's workflow terminated or gone: the same as where its wait finds it.

    One that is gone is permanent here: nobody knows how it ended, so this series does not start it again.
    """
    if isinstance(error, WorkflowGoneError):
        return ConductorWorkflowFailedPermanentlyError(
            f"Conductor {error}. See {url}",
            Failure(workflow_id=error.workflow_id, status=GONE, reason=GONE_REASON),
            url=url,
        )
    seen = error.workflow
    event = WaitEvent(workflow_id=seen.workflow_id, status=str(seen.status), message=seen.reason)
    return failure_of(event, time.time(), url, client=client, log=log)[0]


def _kind(*, terminal: bool, status: str, reason: str) -> type[ConductorWorkflowFailedError]:
    """Whether an Airflow retry can help: not after a terminal error, nor where somebody terminated it on purpose."""
    by_us = ended_by_our_kill(reason) or ended_by_our_timeout(reason)
    if terminal or (status == "TERMINATED" and not by_us):
        return ConductorWorkflowFailedPermanentlyError
    return ConductorWorkflowFailedError
