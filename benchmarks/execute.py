"""From a workflow's end to its output in the task that executes it, beside the bare HTTP call that the server holds."""

from __future__ import annotations

import statistics
import time

import requests

from benchmarks.airflow_here import allow_direct_calls, connect, context_of
from benchmarks.comparison import AtMost, Comparison
from benchmarks.registry import Bench, row
from benchmarks.worker import Worker

DURATIONS = (0.05, 0.5, 3.0)
"""Seconds that the workflow's one task takes."""


@row("execute", "execute: from the workflow's end to its output, not deferred")
def execute(bench: Bench) -> list[Comparison]:
    """Lag behind the workflow's own ``endTime``; server and client share a clock here."""
    rounds = bench.count(15, 3)
    return [_measure(bench, seconds, rounds) for seconds in DURATIONS[: bench.count(len(DURATIONS), 1)]]


def _measure(bench: Bench, seconds: float, rounds: int) -> Comparison:
    from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator

    lab = bench.lab
    what = f"short_{int(seconds * 1000)}"
    queue = f"bench_{what}_{lab.tag}_work"
    lab.client.register_task_defs(
        [{"name": queue, "retryCount": 0, "timeoutSeconds": 0, "ownerEmail": "bench@example.com"}]
    )
    name = lab.define(what, {"name": queue, "taskReferenceName": "work", "type": "SIMPLE"})
    conn_id = connect(lab.api_url)
    allow_direct_calls()
    session = requests.Session()
    lags: dict[str, list[float]] = {"ours": [], "bare": []}

    def ours(turn: int) -> None:
        operator = ConductorExecuteWorkflowOperator(
            task_id=f"execute_{turn}", workflow_name=name, conductor_conn_id=conn_id, deferrable=False
        )
        context = context_of(operator, f"run_{turn}")
        operator.execute(context)
        returned = time.time()
        lags["ours"].append(returned - _ended_at(context["ti"].xcom_pull(key="workflow_id")))

    def bare(turn: int) -> None:
        answer = session.post(
            f"{lab.api_url}/workflow/execute/{name}/1",
            params={"waitForSeconds": "20", "requestId": f"{lab.tag}-{turn}"},
            json={"name": name, "version": 1, "input": {}},
            timeout=60,
        )
        answer.raise_for_status()
        returned = time.time()
        lags["bare"].append(returned - _ended_at(answer.json()["workflowId"]))

    def _ended_at(workflow_id: str) -> float:
        found = lab.client.get_workflow(workflow_id, include_tasks=False)
        assert found.status.successful, f"workflow {workflow_id} is {found.status}"
        lab.remove([workflow_id])
        return found.end_time / 1000

    with session, Worker(lab.api_url, queue, seconds):
        for turn in range(rounds + 1):
            for run in (ours, bare) if turn % 2 else (bare, ours):
                run(turn)
    lab.client.unregister_task_def(queue)
    taken = {who: statistics.median(found[1:]) * 1e3 for who, found in lags.items()}
    return Comparison(
        what=f"end to output, a run of {seconds:g} s",
        unit="ms",
        ours=taken["ours"],
        peer="POST /workflow/execute",
        theirs=taken["bare"],
        n=rounds,
        goal=AtMost(20.0, "difference"),
        note=f"longest {max(lags['ours'][1:]) * 1e3:.0f} ms, {max(lags['bare'][1:]) * 1e3:.0f} ms",
    )
