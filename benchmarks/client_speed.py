"""The blocking client beside bare requests and Conductor's Python SDK: reading a workflow, and parsing a large one."""

from __future__ import annotations

import json
from typing import Any

import requests

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.flow import Answer
from benchmarks.comparison import AtLeast, AtMost, Comparison
from benchmarks.registry import Bench, row
from benchmarks.timing import side_by_side

TASKS = 200

MAKE_LARGE = 5
"""Workflows that are tried for one that completes with so many tasks."""


@row("get", "get_workflow per second")
def get_workflow(bench: Bench) -> list[Comparison]:
    """One running workflow of one task, read over one kept connection each."""
    from conductor.client.configuration.configuration import Configuration
    from conductor.client.orkes.orkes_workflow_client import OrkesWorkflowClient

    lab = bench.lab
    (workflow_id,) = lab.start(lab.waiting, 1)
    each, rounds = bench.count(100, 5), bench.count(31, 3)
    session = requests.Session()
    url = f"{lab.api_url}/workflow/{workflow_id}"
    sdk = OrkesWorkflowClient(Configuration(server_api_url=lab.api_url))

    def bare() -> None:
        for _ in range(each):
            answer = session.get(url, timeout=60)
            answer.raise_for_status()
            assert answer.json()["workflowId"] == workflow_id

    def ours() -> None:
        for _ in range(each):
            assert lab.client.get_workflow(workflow_id).workflow_id == workflow_id

    def by_sdk() -> None:
        for _ in range(each):
            assert sdk.get_workflow(workflow_id).workflow_id == workflow_id

    with session:
        taken = side_by_side(rounds, {"ours": ours, "bare": bare, "sdk": by_sdk})
    lab.remove([workflow_id])

    def beside(peer: str, competitor: str, bound: float) -> Comparison:
        mine, theirs = taken["ours"], taken[competitor]
        return Comparison(
            what="get_workflow",
            unit="/s",
            ours=each / mine.wall,
            peer=peer,
            theirs=each / theirs.wall,
            n=rounds,
            goal=AtLeast(bound, "ratio"),
            note=f"{each} reads a round; CPU a read {mine.cpu / each * 1e3:.2f} ms, {theirs.cpu / each * 1e3:.2f} ms",
        )

    return [beside("requests.Session", "bare", 0.95), beside("conductor-python", "sdk", 1.2)]


@row("parse", "parsing a workflow of 200 tasks")
def parse(bench: Bench) -> list[Comparison]:
    """The server's own answer, parsed again and again; ours reads id, name and status of each task besides."""
    from conductor.client.http.api_client import ApiClient

    lab, tasks = bench.lab, bench.count(TASKS, 20)
    noop: list[dict[str, Any]] = [
        {"name": f"step_{n}", "taskReferenceName": f"step_{n}", "type": "SET_VARIABLE"} for n in range(tasks)
    ]
    for n, task in enumerate(noop):
        task["inputParameters"] = {"last": n, "order": "${workflow.input.order}"}
    content = _large_answer(bench, lab.define("large", *noop), tasks)
    call = endpoints.get_workflow("any")
    answer = Answer(200, {"content-type": "application/json"}, content)
    sdk, text = ApiClient(), content.decode()
    each, rounds = bench.count(20, 2), bench.count(31, 3)

    def ours() -> None:
        for _ in range(each):
            workflow = call.parse(answer)
            seen = [(task.task_id, task.reference_name, task.status) for task in workflow.tasks]
            assert len(seen) == tasks

    def bare() -> None:
        for _ in range(each):
            assert len(json.loads(content)["tasks"]) == tasks

    def by_sdk() -> None:
        workflow = sdk.deserialize(_Response(text), "Workflow")
        assert len(workflow.tasks) == tasks

    taken = side_by_side(rounds, {"ours": ours, "bare": bare, "sdk": by_sdk})
    mine = taken["ours"].cpu / each * 1e3
    note = f"{len(content) / 1e3:.0f} kB; CPU time"
    return [
        Comparison(
            what=f"parse {tasks} tasks",
            unit="ms",
            ours=mine,
            peer="json.loads",
            theirs=taken["bare"].cpu / each * 1e3,
            n=rounds,
            goal=AtMost(1.3, "ratio"),
            note=note,
        ),
        Comparison(
            what=f"parse {tasks} tasks",
            unit="ms",
            ours=mine,
            peer="conductor-python",
            theirs=taken["sdk"].cpu * 1e3,
            n=rounds,
            note=note,
        ),
    ]


def _large_answer(bench: Bench, name: str, tasks: int) -> bytes:
    """A completed workflow of so many tasks, as the server tells it.

    Raises:
        RuntimeError: none of a few has come out so; a busy server on SQLite does not bring every one through.
    """
    lab = bench.lab
    came_out = []
    for _ in range(MAKE_LARGE):
        (workflow_id,) = lab.start(name, 1, {"order": "4711"})
        lab.until_ended(workflow_id)
        answer = requests.get(f"{lab.api_url}/workflow/{workflow_id}", timeout=60)
        answer.raise_for_status()
        lab.remove([workflow_id])
        workflow = answer.json()
        if workflow["status"] == "COMPLETED" and len(workflow["tasks"]) == tasks:
            return answer.content
        came_out.append(f"{workflow['status']} with {len(workflow['tasks'])} tasks")
    raise RuntimeError(f"no workflow of {tasks} tasks has completed: {', '.join(came_out)}")


class _Response:
    """An answer as the SDK's own transport hands it to its parser."""

    def __init__(self, text: str) -> None:
        self.data = text

    def json(self) -> Any:
        return json.loads(self.data)
