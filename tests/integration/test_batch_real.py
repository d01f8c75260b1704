"""Batches on a real server: thousands of workflows with a crash in the middle, policies, a kill."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_conductor.client import AsyncConductorClient, endpoints
from airflow_provider_conductor.client.models import PayloadType
from airflow_provider_conductor.exceptions import ConductorBatchFailedError
from airflow_provider_conductor.operators import ConductorExecuteWorkflowsOperator
from airflow_provider_conductor.polling.poller import Poller
from tests.integration.client_lab import Lab
from tests.operators.airflow_standin import context_of, in_a_thread, run

pytestmark = pytest.mark.integration


class BatchLab(Lab):
    """A definition of its own, and what the server has of it."""

    def __init__(self, api_url: str) -> None:
        super().__init__(api_url)
        self.run_id = f"run_{self.tag}"

    def end_by_themselves(self) -> str:
        """Those whose fate is bad fail, others complete and put out their number."""
        stop = {"terminationStatus": "FAILED", "terminationReason": "number ${workflow.input.number}"}
        switch = self.system(
            "SWITCH",
            "which",
            evaluatorType="javascript",
            expression="$.fate == 'bad' ? 'bad' : 'good'",
            inputParameters={"fate": "${workflow.input.fate}"},
            decisionCases={"bad": [self.system("TERMINATE", "stop", inputParameters=stop)]},
            defaultCase=[self.system("SET_VARIABLE", "note", inputParameters={"number": "${workflow.input.number}"})],
        )
        return self.define("batch", switch, outputParameters={"number": "${workflow.input.number}"})

    def wait(self) -> str:
        return self.define("batch", self.system("WAIT", "w"))

    def batch(self, name: str, inputs: list[dict[str, Any]], **arguments: Any) -> ConductorExecuteWorkflowsOperator:
        defaults: dict[str, Any] = {"deferrable": False, "retries": 3}
        return ConductorExecuteWorkflowsOperator(
            task_id="batch", workflow_name=name, workflow_inputs=inputs, **{**defaults, **arguments}
        )

    def context(self, task: Any, attempt: int = 1) -> dict[str, Any]:
        return context_of(task, dag_id=f"dag_{self.tag}", run_id=self.run_id, try_number=attempt)

    def workflows(self, count: int) -> dict[str, list[str]]:
        """Correlation id → statuses, of each item of the first series."""
        labels = [f"airflow:dag_{self.tag}:{self.run_id}:batch:-1:i{index}:1" for index in range(count)]
        found: dict[str, list[str]] = {}
        name = self.name("batch")
        for begin in range(0, count, 200):
            answer = self.client.get_by_correlation_ids(name, labels[begin : begin + 200])
            found |= {label: [str(w.status) for w in workflows] for label, workflows in answer.items()}
        return found


@pytest.fixture
def lab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> BatchLab:
    server: Any = request.getfixturevalue(getattr(request, "param", "conductor_server"))
    connection = {"conn_type": "conductor", "host": server.url}
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", json.dumps(connection))
    return BatchLab(server.api_url)


without_look_up = pytest.mark.parametrize(
    "lab",
    [pytest.param("conductor_server", marks=pytest.mark.lacks("look-up")), "old_conductor_server"],
    ids=["newest", "oldest"],
    indirect=True,
)


def tried_on(lab: BatchLab, task: ConductorExecuteWorkflowsOperator) -> Any:
    """What the tries from the second on return, up to the last that Airflow gives it.

    A start that was under way when its try crashed may still fail in a busy server, which then takes the workflow back
    (``WorkflowExecutorOps.startWorkflow``) though the next try has found it already: that try says that it is gone.
    """
    for attempt in range(2, task.retries + 1):
        try:
            return run(task, lab.context(task, attempt=attempt))
        except ConductorBatchFailedError as error:
            if {cause["status"] for cause in error.causes} != {"GONE"}:
                raise
    return run(task, lab.context(task, attempt=task.retries + 1))


@pytest.mark.needs("look-up")
@pytest.mark.parametrize("many", [150, pytest.param(2_000, marks=pytest.mark.faults)])
@pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])
def test_many_with_a_crash_in_the_middle(lab: BatchLab, deferrable: bool, many: int) -> None:
    name = lab.end_by_themselves()
    inputs = [{"number": number} for number in range(many)]
    task = lab.batch(name, inputs, max_active=many // 20, deferrable=deferrable, wait_for_seconds=0)
    crashing = lab.batch(name, inputs, max_active=many // 20, cancel_on_kill=False)
    thread, _ = in_a_thread(lambda: crashing.execute(lab.context(crashing)))
    lab.eventually(lambda: crashing._batch_run is not None and crashing._batch_run.batch.ended > many // 3, seconds=120)
    crashing._batch_run.thread.cancel()  # type: ignore[union-attr]
    thread.join(60)
    left = sum(map(len, lab.workflows(many).values()))
    assert many // 3 < left < many
    assert tried_on(lab, task) == [{"number": number} for number in range(many)]
    assert Counter(map(tuple, lab.workflows(many).values())) == {("COMPLETED",): many}


def test_failures_are_summarised_and_a_share_of_them_is_borne(lab: BatchLab) -> None:
    name = lab.end_by_themselves()
    inputs = [{"number": number, "fate": "bad" if number in (2, 4) else "good"} for number in range(1, 11)]
    task = lab.batch(name, inputs)
    with pytest.raises(ConductorBatchFailedError) as failed:
        run(task, lab.context(task))
    assert [cause["count"] for cause in failed.value.causes] == [2]
    assert "2 times FAILED" in str(failed.value)
    assert "TERMINATE task" in str(failed.value), "one of them was diagnosed"
    lab.run_id = uuid.uuid4().hex
    tolerant = lab.batch(name, inputs, failure_policy=0.2)
    found = run(tolerant, lab.context(tolerant))
    assert found[:4] == [{"number": 1}, None, {"number": 3}, None]


def test_a_kill_terminates_what_runs_and_the_next_try_starts_it_anew(lab: BatchLab) -> None:
    name = lab.wait()
    inputs = [{"number": number} for number in range(30)]
    task = lab.batch(name, inputs, max_active=20)
    thread, _ = in_a_thread(lambda: task.execute(lab.context(task)))
    lab.eventually(
        lambda: (run := task._batch_run) is not None and run.batch.active == 20 and not run.driver.tasks.starting
    )
    running = lab.client.get_running_workflows(name)
    task.on_kill()
    thread.join(60)
    assert lab.client.get_running_workflows(name) == []
    assert Counter(str(lab.client.get_workflow(item).status) for item in running) == {"TERMINATED": 20}


@without_look_up
def test_without_a_look_up_a_batch_keeps_its_worker_and_a_next_try_starts_again_and_both_say_so(
    lab: BatchLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = lab.wait()
    for attempt in (1, 2):
        task = lab.batch(name, [{"number": 1}, {"number": 2}], deferrable=True, wait_for_seconds=0)
        warned: list[str] = []
        monkeypatch.setattr(task.log, "warning", lambda line, *values, to=warned: to.append(line % values))
        thread, raised = in_a_thread(lambda task=task, attempt=attempt: task.execute(lab.context(task, attempt)))
        lab.eventually(lambda attempt=attempt: len(lab.client.get_running_workflows(name)), (2 * attempt).__eq__)
        lab.eventually(
            lambda warned=warned: any("does not find workflows by their correlation id" in line for line in warned)
        )
        assert thread.is_alive()
        assert not raised
        task._batch_run.thread.cancel()  # type: ignore[union-attr]
        thread.join(60)
    lab.end("batch")


@pytest.mark.needs("look-up")
async def test_the_triggerer_terminates_with_the_task(lab: BatchLab) -> None:
    name = lab.wait()
    task = lab.batch(name, [{"number": 1}, {"number": 2}], deferrable=True, wait_for_seconds=0)
    with pytest.raises(TaskDeferred) as deferral:
        task.execute(lab.context(task))
    trigger = deferral.value.trigger
    poller = Poller(AsyncConductorClient(lab.client.settings))
    try:
        assert await trigger._terminate(poller, "enough") == "2 terminated, 0 had ended"
    finally:
        await poller.close()
    assert list(lab.workflows(2).values()) == [["TERMINATED"], ["TERMINATED"]]


def test_an_output_in_external_storage_is_fetched_or_told_by_its_place(lab: BatchLab, tmp_path: Path) -> None:
    """A stock server gives no address to read it from; one on Postgres does."""
    name = lab.define("batch", lab.simple("pack"), outputParameters={"rows": "${pack.output.rows}"})
    task = lab.batch(name, [{"number": 1}, {"number": 2}], result_path=f"file://{tmp_path}/results.jsonl")
    thread, raised = in_a_thread(lambda: task.execute(lab.context(task)))
    large, small = (
        lab.work("pack", output={"rows": "x" * size}).data["workflowInstanceId"] for size in (6_000_000, 10)
    )
    thread.join(60)
    assert not raised
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    by_id = {line["workflow_id"]: line for line in lines}
    assert by_id[small]["output"] == {"rows": "x" * 10}
    path = lab.client.get_workflow(large).external_output_path
    if lab.client.send(endpoints.get_external_storage_location(path, PayloadType.WORKFLOW_OUTPUT)):
        assert by_id[large]["output"] == {"rows": "x" * 6_000_000}
        return
    assert by_id[large]["output"] is None
    assert by_id[large]["external_output_path"] == path
