"""Runs the Python blocks of the docs, page by page, and then their DAGs; what became of each goes into a file.

A process of its own, with an Airflow of its own. Arguments: the blocks' file, and the file to write.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_conductor.client import ConductorClient, ConductorNotFoundError
from airflow_provider_conductor.testing import ConductorStandIn
from dev import run_dags


def run_block(name: str, code: str, namespace: dict[str, Any]) -> None:
    before = set(namespace)
    compiled = compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    # An operator that a block shows without its DAG has one here: tasks that are mapped or decorated want one.
    with DAG(name.replace("/", ".").replace(":", "."), schedule=None):
        if compiled.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(compiled, namespace))
        else:
            exec(compiled, namespace)
    for test in [value for key, value in namespace.items() if key.startswith("test_") and key not in before]:
        run_test(test)  # an example of a test is a test that passes


def run_test(test: Callable[..., None]) -> None:
    """Run it as pytest would, with the one fixture that the docs offer."""
    if "conductor" not in inspect.signature(test).parameters:
        test()
        return
    with (
        ConductorStandIn() as conductor,
        patch.dict(os.environ, AIRFLOW_CONN_CONDUCTOR_DEFAULT=conductor.connection_uri()),
    ):
        test(conductor)


def run_pages(blocks: list[dict[str, Any]], client: ConductorClient) -> dict[str, str]:
    """Each page's blocks in their order, in one namespace; "" for a block that ran, else its traceback."""
    said: dict[str, str] = {}
    pages: dict[str, dict[str, Any]] = {}
    for block in blocks:
        namespace = pages.setdefault(block["page"], {"__name__": "docs"})
        code = block["code"]
        if "WORKFLOW_ID" in code:
            workflow_id = client.start_workflow_by_name("order_fulfilment", {"order_id": "A-1007", "amount": 129.9})
            code = code.replace("WORKFLOW_ID", workflow_id)
        try:
            run_block(block["name"], code, namespace)
            said[block["name"]] = ""
        except Exception:
            said[block["name"]] = traceback.format_exc()
    return said


def define_what_is_missing(dag: Any, client: ConductorClient) -> None:
    """A workflow that a DAG of the docs names, and no example defines, ends at once."""
    for task in dag.tasks:
        name = getattr(task, "workflow_name", None)
        if not isinstance(name, str) or "{{" in name:
            continue
        try:
            client.get_workflow_def(name)
        except ConductorNotFoundError:
            end = {"name": "end", "taskReferenceName": "end", "type": "SET_VARIABLE", "inputParameters": {}}
            client.register_workflow_defs(
                {"name": name, "version": 1, "schemaVersion": 2, "ownerEmail": "docs@example.com", "tasks": [end]}
            )


def run_dag_files(client: ConductorClient) -> dict[str, Any]:
    """By the file's stem: its import error, or each DAG's state and those of its tasks."""
    bag = run_dags.read_dags()
    found: dict[str, Any] = {Path(file).stem: {"error": error} for file, error in bag.import_errors.items()}
    for dag_id, dag in bag.dags.items():
        stem = Path(dag.fileloc).stem
        if stem.startswith("parsed_"):
            found[stem] = {"error": ""}
            continue
        define_what_is_missing(dag, client)
        try:
            outcome = run_dags.run(dag)
            tasks = {task["task_id"]: task["state"] for task in outcome["tasks"]}
            failed = "" if outcome["state"] == "success" else f"{dag_id}: {outcome['state']}, {tasks}"
        except BaseException:  # Airflow 2 ends the runner with its task
            failed = traceback.format_exc()
        found[stem] = {"error": failed}
    return found


def main() -> None:
    blocks = json.loads(Path(sys.argv[1]).read_text())
    result = Path(sys.argv[2]).resolve()
    os.chdir(Path(sys.argv[1]).parent)  # where the folder "dags" is, as in the reader's project
    with ConductorClient(os.environ["CONDUCTOR_API"]) as client:
        outcome = {"blocks": run_pages(blocks, client), "dags": run_dag_files(client)}
    result.write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
