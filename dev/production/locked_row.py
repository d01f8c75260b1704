"""What a Conductor on PostgreSQL answers about a workflow whose row is locked, and what the provider makes of it."""

from __future__ import annotations

import uuid

import psycopg

from airflow_provider_conductor.client import ConductorClient
from airflow_provider_conductor.control.selection import Selection, select

__all__ = ["check_locked_row"]

TABLES = ("workflow", "workflow_def_to_workflow")
"""Those that the look-up by correlation id joins, with ``FOR SHARE SKIP LOCKED``."""


def check_locked_row(api_url: str, database_port: int) -> list[str]:
    """Lock a running workflow's row, as a write of the server does, and select it by name and correlation id.

    Returns:
        What is not as docs/guarantees.md says; [] if all of it is.
    """
    name, label = f"locked_{uuid.uuid4().hex[:8]}", "monday"
    task = {"name": "hold", "taskReferenceName": "hold", "type": "WAIT", "inputParameters": {}}
    faults = []
    with ConductorClient(api_url) as client:
        client.register_workflow_defs([{"name": name, "version": 1, "ownerEmail": "a@example.com", "tasks": [task]}])
        workflow_id = client.start_workflow_by_name(name, correlation_id=label)
        selection = Selection(10, {"workflow_name": name, "correlation_id": label, "status": "RUNNING"})

        def looked_up() -> list[str]:
            return [item.workflow_id for item in client.get_by_correlation_ids(name, [label]).get(label, ())]

        if looked_up() != [workflow_id]:
            faults.append(f"not locked: the look-up finds {looked_up()}, expected [{workflow_id!r}]")
        for table in TABLES:
            with psycopg.connect(
                host="127.0.0.1", port=database_port, user="conductor", dbname="conductor"
            ) as connection:
                connection.execute(f"SELECT 1 FROM {table} WHERE workflow_id = %s FOR UPDATE", [workflow_id])
                if looked_up():
                    faults.append(f"{table} locked: the look-up finds {looked_up()}, docs/guarantees.md says nothing")
                if client.get_workflow(workflow_id).workflow_id != workflow_id:
                    faults.append(f"{table} locked: the workflow cannot be read by its id")
                selected = client.run(select(selection, log=print))
                if selected != [workflow_id]:
                    faults.append(f"{table} locked: a control operator selects {selected}, expected [{workflow_id!r}]")
        client.terminate_workflow(workflow_id)
    return faults
