"""The operator over a network that loses, cuts and delays: one workflow for each task, whose result it returns."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorClient
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, submission as starting
from tests.faults.proxy import FaultProxy
from tests.faults.test_starts import PATIENCE, READ_TIMEOUT, THREADS, TRIES, Report, Tally, mix, on_server, thousand
from tests.operators.airflow_standin import AIRFLOW_2, context_of

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("count", thousand(300))
def test_as_many_workflows_as_executions(
    direct: ConductorClient, proxy: FaultProxy, report: Report, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    connection = {
        "conn_type": "conductor",
        "host": proxy.url,
        "extra": json.dumps({"read_timeout": READ_TIMEOUT, "identity_prefix": "faults"}),
    }
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(starting, "MIN_SEARCH_SECONDS", PATIENCE)
    run_id = f"execute-{uuid.uuid4().hex[:8]}"
    proxy.choose = mix(seed=count, share=0.2)
    tally = Tally(proxy)

    def execute(number: int) -> Any:
        for try_number in range(1, TRIES + 1):
            task = ConductorExecuteWorkflowOperator(
                task_id="execute",
                workflow_name="fault_ends",
                version=1,
                workflow_input={"number": number},
                poll_interval=0.2,
                retries=TRIES - 1,
            )
            context = context_of(task, run_id=run_id, map_index=number, try_number=try_number)
            context.setdefault("task_state_store", None)
            try:
                result = task.execute(context)
            except Exception as error:
                failures.append(repr(error))
                continue
            tally.tries[try_number] += 1
            return result
        raise AssertionError(f"{number} did not get through: {failures[-1]}; {tally}")

    failures: list[str] = []
    with ThreadPoolExecutor(THREADS, initializer=let_operators_run_in_threads) as pool:
        results = list(pool.map(execute, range(count)))
    assert [result["number"] for result in results] == list(range(count))
    keys = [f"faults:nightly_orders:{run_id}:execute:{number}:1" for number in range(count)]
    there = on_server(direct, keys, "fault_ends")
    counts = Counter(len(found) for found in there.values())
    report(f"{count} executions: workflows for each {dict(counts)}; {tally}; failed tries: {Counter(failures)}")
    assert counts == {1: count}, str(tally)
    assert all(found[0].status.successful for found in there.values())


def let_operators_run_in_threads() -> None:
    """Airflow 2's guard against nested operators expects the main thread."""
    if AIRFLOW_2:
        from airflow.models.baseoperator import ExecutorSafeguard

        ExecutorSafeguard._sentinel.callers = {}
