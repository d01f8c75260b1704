"""Records what a real Conductor keeps of a workflow and of what it starts under its own name.

    python -m tests.recorded.record_children --url http://localhost:8080/api --into conductor-3.32.2

Three workflows run: one runs itself as a sub-workflow, one starts its own successor with its own input, one is its own
failure workflow. What ``GET /workflow/{id}`` says of each and of its child is written to ``children/<version>.json``.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.recorded.record import Server

HERE = Path(__file__).parent / "children"

WAIT = {"name": "wait", "taskReferenceName": "wait", "type": "WAIT", "inputParameters": {}}


def switch(on: str, cases: dict[str, Any], default: list[Any]) -> dict[str, Any]:
    return {
        "name": "which",
        "taskReferenceName": "which",
        "type": "SWITCH",
        "evaluatorType": "value-param",
        "expression": "on",
        "inputParameters": {"on": on},
        "decisionCases": cases,
        "defaultCase": default,
    }


def definitions(mark: str) -> dict[str, dict[str, Any]]:
    """Kind of child → the definition whose workflows have one."""
    sub, successor, failure = (f"{kind}_{mark}" for kind in ("runs_itself", "starts_itself", "fails_into_itself"))
    again = {
        "name": "again",
        "taskReferenceName": "again",
        "type": "SUB_WORKFLOW",
        "inputParameters": {"depth": "0"},
        "subWorkflowParam": {"name": sub, "version": 1},
    }
    start = {
        "name": "next",
        "taskReferenceName": "next",
        "type": "START_WORKFLOW",
        "inputParameters": {"startWorkflow": {"name": successor, "version": 1, "input": "${workflow.input}"}},
    }
    fail = {
        "name": "fail",
        "taskReferenceName": "fail",
        "type": "TERMINATE",
        "inputParameters": {"terminationStatus": "FAILED", "terminationReason": "on purpose"},
    }
    tasks: dict[str, tuple[str, list[Any]]] = {
        "SUB_WORKFLOW": (sub, [switch("${workflow.input.depth}", {"1": [again]}, [WAIT])]),
        "START_WORKFLOW": (successor, [WAIT, start]),
        # A failure workflow gets its parent's input, and more: without a case of its own it would fail without end.
        "failureWorkflow": (failure, [switch("${workflow.input.failureStatus}", {"FAILED": [WAIT]}, [fail])]),
    }
    common = {"version": 1, "schemaVersion": 2, "ownerEmail": "records@example.com", "timeoutSeconds": 0}
    made = {kind: {"name": name, "tasks": steps, **common} for kind, (name, steps) in tasks.items()}
    made["failureWorkflow"]["failureWorkflow"] = failure
    return made


def child_of(workflow: dict[str, Any]) -> str | None:
    """The id of the workflow that it has started, when it has."""
    for task in workflow["tasks"]:
        found = task.get("subWorkflowId") or (task.get("outputData") or {}).get("workflowId")
        if found:
            return str(found)
    found = workflow["output"].get("conductor.failure_workflow")
    return str(found) if found else None


def eventually(read: Callable[[], Any]) -> Any:
    for _ in range(150):
        if found := read():
            return found
        time.sleep(0.2)
    raise SystemExit("it does not come")


def record(server: Server) -> dict[str, Any]:
    mark = uuid.uuid4().hex[:6]
    found: dict[str, Any] = {}
    for kind, definition in definitions(mark).items():
        server.call("PUT", "/metadata/workflow", [definition])
        start = {"name": definition["name"], "version": 1, "input": {"depth": "1"}, "correlationId": f"label_{mark}"}
        parent = server.call("POST", "/workflow", start)
        if kind == "START_WORKFLOW":
            (wait,) = eventually(lambda: server.workflow(parent)["tasks"])  # noqa: B023
            done = {"workflowInstanceId": parent, "taskId": wait["taskId"], "status": "COMPLETED"}
            server.call("POST", "/tasks", done)
        child = eventually(lambda: child_of(server.workflow(parent)))  # noqa: B023
        for role, workflow_id in (("parent", parent), ("child", child)):
            found.setdefault(kind, {})[role] = server.call("GET", f"/workflow/{workflow_id}?includeTasks=false")
        server.call("DELETE", f"/workflow/{child}")
    return dict(json.loads(json.dumps(found).replace(mark, "x")))


def main() -> None:
    parser = argparse.ArgumentParser(description="Record a server's workflows and their children.")
    parser.add_argument("--url", required=True, help="the API's root, for example http://localhost:8080/api")
    parser.add_argument("--into", required=True, help="name of the file, for example conductor-3.32.2")
    chosen = parser.parse_args()
    (HERE / f"{chosen.into}.json").write_text(json.dumps(record(Server(chosen.url)), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
