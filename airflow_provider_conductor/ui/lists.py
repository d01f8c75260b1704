"""What the lists show: the workflows of a DAG run or of a batch, waits that need attention, connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fastapi import HTTPException
from fastapi.concurrency import run_in_threadpool

from airflow_provider_conductor._airflow import masked
from airflow_provider_conductor.client.flows import read_many
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.ui.conductors import READ_LIMIT
from airflow_provider_conductor.ui.ownership import BatchTask, NamedWorkflow, TaskInstanceId
from airflow_provider_conductor.ui.shared_reads import FRESH, LIST_AFTER, SharedReads
from airflow_provider_conductor.ui.task_instances import NO_LONGER_KNOWN
from airflow_provider_conductor.view.batch import FAILED, IDS, RUNNING, BatchWorkflows, read_batch
from airflow_provider_conductor.view.graph import REASON_LIMIT
from airflow_provider_conductor.view.queues import read_queues
from airflow_provider_conductor.view.summary import Standstill, summary
from airflow_provider_conductor.view.workflow import ENDED_AFTER

ROWS = 200
"""Task instances, or workflows of a batch, that a list has."""

READ_CLOSELY = 50
"""Running workflows of a list whose tasks are read, to say what they wait for."""

AT_ONCE = 6
"""Requests to Conductor that one list has under way."""

ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
"""States of a task instance that starts nothing more."""

NONE_FOUND = (
    "No workflow of this batch has been found in Conductor. Either it has started none so far; or Conductor has no "
    "search index, and Airflow does not have the inputs that identify the items (item_key): it cuts rendered arguments "
    "([core] max_templated_field_length), and keeps them for the newest runs of a task only"
)


async def _read_all(
    state: SharedReads, named: Sequence[NamedWorkflow]
) -> tuple[dict[TaskInstanceId, Workflow], dict[TaskInstanceId, Standstill], dict[str, str]]:
    """The workflows without their tasks; of the first that run, what they wait for; and errors by connection."""
    workflows: dict[TaskInstanceId, Workflow] = {}
    errors: dict[str, str] = {}
    for conn_id in sorted({one.conn_id for one in named}):
        ids = list(dict.fromkeys(one.workflow_id for one in named if one.conn_id == conn_id))
        try:
            found = await state.run(conn_id, read_many(ids))
        except HTTPException as error:
            errors[conn_id] = str(error.detail)
            continue
        prefix = (await state.settings(conn_id)).identity_prefix
        for one in named:
            workflow = found.get(one.workflow_id) if one.conn_id == conn_id else None
            if workflow is not None and one.owns(workflow, prefix):
                workflows[one.id] = workflow
    running = [one for one in named if one.id in workflows and not workflows[one.id].status.ended]
    read = await _standstills(state, [(one.conn_id, one.workflow_id) for one in running])
    waiting = ((one.id, read.get((one.conn_id, one.workflow_id))) for one in running)
    return workflows, {ti: standstill for ti, standstill in waiting if standstill is not None}, errors


async def _standstills(state: SharedReads, running: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Standstill]:
    """What the first of these running workflows wait for, by connection and id."""
    slots, found = asyncio.Semaphore(AT_ONCE), {}

    async def read(one: tuple[str, str]) -> None:
        async with slots:
            with contextlib.suppress(HTTPException):  # gone since, or unreachable: it has no blocker then
                standstill = await state.standstill(*one)
                if standstill is not None:
                    found[one] = standstill

    with contextlib.suppress(TimeoutError):  # the others have no blocker
        async with asyncio.timeout(READ_LIMIT):
            await asyncio.gather(*map(read, running[:READ_CLOSELY]))
    return found


async def list_run(state: SharedReads, named: Sequence[NamedWorkflow]) -> dict[str, Any]:
    """The workflows of a DAG run."""
    shown = named[:ROWS]
    workflows, standstills, errors = await _read_all(state, shown)
    rows = []
    for one in shown:
        workflow = workflows.get(one.id)
        standstill = standstills.get(one.id)
        missing = f"Conductor has no workflow {one.workflow_id} of this task" if one.rendered else NO_LONGER_KNOWN
        error = errors.get(one.conn_id, "" if workflow else missing)
        rows.append(
            {
                **one.to_json(),
                "conn_id": one.conn_id,
                "workflow": summary(workflow) if workflow is not None else None,
                "blocker": standstill.blocker if standstill is not None else "",
                "needs_user": standstill is not None and standstill.needs_user,
                "error": error,
            }
        )
    all_ended = all(workflow.status.ended for workflow in workflows.values()) and not errors
    return {"rows": rows, "more": len(named) - len(shown), "poll_after": ENDED_AFTER if all_ended else LIST_AFTER}


async def list_batch(state: SharedReads, task: BatchTask) -> dict[str, Any]:
    """The workflows of a batch, those first that have failed, or that wait for a user."""
    prefix = (await state.settings(task.conn_id)).identity_prefix

    async def read() -> dict[str, Any]:
        ids = await run_in_threadpool(task.ids, prefix, IDS)
        flow = read_batch(task.identity(prefix), task.workflow_name, ids, ROWS)
        return await _batch_rows(state, task.conn_id, await state.run(task.conn_id, flow))

    key = (task.conn_id, "batch", task.id, task.try_number)
    rows = await state.reads.get(key, read, lambda _: LIST_AFTER * FRESH)
    ended = task.state in ENDED and not rows["counts"].get(RUNNING)
    return {"task": task.to_json(), "batch": rows, "poll_after": ENDED_AFTER if ended else LIST_AFTER}


async def _batch_rows(state: SharedReads, conn_id: str, found: BatchWorkflows) -> dict[str, Any]:
    running = [(conn_id, one.workflow.workflow_id) for one in found.shown if one.group == RUNNING]
    standstills = await _standstills(state, running)
    rows = []
    for one in found.shown:
        standstill = standstills.get((conn_id, one.workflow.workflow_id))
        reason = masked(one.workflow.reason or "") if one.group != RUNNING else ""
        rows.append(
            {
                "item": one.item,
                "workflow": summary(one.workflow),
                "reason": one_line(reason, REASON_LIMIT),
                "blocker": standstill.blocker if standstill is not None else "",
                "needs_user": standstill is not None and standstill.needs_user,
                "stalled": standstill is not None and standstill.stalled,
                "failed": one.group == FAILED,
            }
        )
    rows.sort(key=lambda row: (not row["failed"], not row["needs_user"], not row["stalled"]))
    more = max(0, sum(found.counts.values()) - len(rows))
    note = "" if rows else NONE_FOUND
    return {"rows": rows, "counts": dict(found.counts), "more": more, "complete": found.complete, "note": note}


async def list_waits(state: SharedReads, named: Sequence[NamedWorkflow]) -> dict[str, Any]:
    """Of task instances that wait, those whose workflow stands still or needs a user."""
    shown = named[:ROWS]
    workflows, standstills, _ = await _read_all(state, shown)
    waits = [
        {
            **asdict(one.id),
            "conn_id": one.conn_id,
            "workflow_id": one.workflow_id,
            "workflow_name": workflows[one.id].name,
            **asdict(standstill),
        }
        for one in shown
        if (standstill := standstills.get(one.id)) is not None and (standstill.stalled or standstill.needs_user)
    ]
    waits.sort(key=lambda wait: int(wait["since"]))
    return {"waits": waits, "more": len(named) - len(shown)}


async def describe_connection(state: SharedReads, conn_id: str) -> dict[str, Any]:
    """Whether the Conductor of a connection is reachable, and its queues."""
    about: dict[str, Any] = {"conn_id": conn_id, "address": "", "ok": True, "message": ""}
    about |= {"queues": [], "queues_error": ""}
    try:
        about["address"] = (await state.settings(conn_id)).api_url
        queues, about["queues_error"] = await state.run(conn_id, read_queues())
        about["queues"] = [asdict(queue) for queue in queues]
    except HTTPException as error:
        about |= {"ok": False, "message": str(error.detail)}
    return about
