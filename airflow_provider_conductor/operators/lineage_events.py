"""The run that a workflow has in OpenLineage, below the task's; imported only where OpenLineage is on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.providers.openlineage.plugins import macros
from airflow.providers.openlineage.plugins.listener import get_openlineage_listener
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.facet_v2 import error_message_run, job_type_job, parent_run

from airflow_provider_conductor.client.lineage import PARENT, ROOT, job_namespace, workflow_run_id
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.progress import known_status

log = logging.getLogger(__name__)

PRODUCER = "https://airflow-provider-conductor.readthedocs.io/"

NAME_LIMIT = 255
REASON_LIMIT = 1_000

ENDS = {
    "COMPLETED": RunState.COMPLETE,
    "FAILED": RunState.FAIL,
    "TIMED_OUT": RunState.FAIL,
    "TERMINATED": RunState.ABORT,
}
"""Status of an ended workflow → type of the event that ends its run."""


def run_of_task(task_instance: Any) -> dict[str, str]:
    """The task's run and job, and the root above them, under the names that a dag run's conf has for a parent."""
    parent = (
        macros.lineage_run_id(task_instance),
        macros.lineage_job_name(task_instance),
        macros.lineage_job_namespace(),
    )
    root = (
        macros.lineage_root_run_id(task_instance),
        macros.lineage_root_job_name(task_instance),
        macros.lineage_root_job_namespace(task_instance),
    )
    return dict(zip((*PARENT, *ROOT), map(str, (*parent, *root)), strict=True))


def emit_workflow_run(task_instance: Any, workflow: Workflow, api_url: str, facets: Mapping[str, Any]) -> None:
    """Emit the start and the end of a workflow that has ended, with Conductor's times.

    What fails here is logged: the task's own event is sent all the same.

    Args:
        facets: further facets of its run.
    """
    try:
        if known_status(workflow).ended:
            adapter = get_openlineage_listener().adapter
            for event in workflow_events(workflow, api_url, run_of_task(task_instance), facets):
                adapter.emit(event)
    except Exception as error:  # whatever its macros, or a transport of somebody's own, may raise
        log.warning("OpenLineage gets no run of workflow %s: %s", workflow.workflow_id, error)


def workflow_events(
    workflow: Workflow, api_url: str, of_task: Mapping[str, str], facets: Mapping[str, Any]
) -> tuple[RunEvent, RunEvent]:
    """The two events of an ended workflow's run.

    Args:
        of_task: the task's run and the root above it, as :func:`run_of_task` has them.
    """
    run_id, job_name, namespace, root_run_id, root_job_name, root_namespace = (of_task[key] for key in (*PARENT, *ROOT))
    status = str(known_status(workflow))
    run_facets: dict[str, Any] = {
        **facets,
        "parent": parent_run.ParentRunFacet(
            run=parent_run.Run(runId=run_id),
            job=parent_run.Job(namespace=namespace, name=job_name),
            root=parent_run.Root(
                run=parent_run.RootRun(runId=root_run_id),
                job=parent_run.RootJob(namespace=root_namespace, name=root_job_name),
            ),
            producer=PRODUCER,
        ),
    }
    job = Job(
        namespace=job_namespace(api_url),
        name=one_line(workflow.name, NAME_LIMIT),
        facets={
            "jobType": job_type_job.JobTypeJobFacet(
                processingType="BATCH", integration="CONDUCTOR", jobType="WORKFLOW", producer=PRODUCER
            )
        },
    )
    failure: dict[str, Any] = {}
    if ENDS[status] is not RunState.COMPLETE:
        reason = one_line(workflow.reason, REASON_LIMIT) or status
        failure["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=reason, programmingLanguage="Conductor", producer=PRODUCER
        )
    own_id = workflow_run_id(workflow.workflow_id)
    began = workflow.start_time or workflow.create_time
    return (
        RunEvent(
            eventType=RunState.START,
            eventTime=_iso(began),
            run=Run(runId=own_id, facets=run_facets),
            job=job,
            producer=PRODUCER,
        ),
        RunEvent(
            eventType=ENDS[status],
            eventTime=_iso(max(began, workflow.end_time)),
            run=Run(runId=own_id, facets={**run_facets, **failure}),
            job=job,
            producer=PRODUCER,
        ),
    )


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
