"""The SDK's workflow guide, sample by sample: each run as it stands, and this provider's way beside it.

``guide`` has what the samples take for granted: a server, workers, the SDK's clients, and on our side a hook and tasks.
Where a sample does not work, on a stock server or with the SDK of today, the test says so and shows what does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conductor.client.configuration.configuration import Configuration
from conductor.client.configuration.settings.authentication_settings import AuthenticationSettings
from conductor.client.http.models import SkipTaskRequest, StartWorkflowRequest, WorkflowDef
from conductor.client.http.rest import ApiException
from conductor.client.orkes.orkes_workflow_client import OrkesWorkflowClient
from conductor.client.workflow.conductor_workflow import ConductorWorkflow
from conductor.client.workflow.executor.workflow_executor import WorkflowExecutor
from conductor.client.workflow.task.simple_task import SimpleTask

from airflow_provider_conductor.client import ConductorConflictError, ConductorNotFoundError
from airflow_provider_conductor.exceptions import ConductorInvalidStateError
from airflow_provider_conductor.hooks import ConductorHook
from airflow_provider_conductor.operators import (
    ConductorExecuteWorkflowOperator,
    ConductorRetryWorkflowOperator,
    ConductorStartWorkflowOperator,
    ConductorTerminateWorkflowOperator,
)
from dev.examples import running
from tests.integration.abilities import EXECUTE
from tests.integration.client_lab import Lab
from tests.operators.airflow_standin import context_of

pytestmark = pytest.mark.integration

ANSWER = {"answer": 42}
"""What the workers say, and the samples' workflow puts out."""


LONG_ENOUGH_TO_FAIL = 12
"""Seconds in which a worker has raised at the first attempt, and after which the next is not due yet."""

needs_execute = pytest.mark.needs(EXECUTE)
"""The SDK's own ``execute`` fails with 404 where the server has none; ours then starts and polls."""

FIRST_ATTEMPT_FAILED = [("flaky_task_ref", "FAILED"), ("flaky_task_ref", "SCHEDULED")]


class Guide(Lab):
    """A workflow as the guide makes it, registered, and the same under names of its own for other situations.

    ``idle`` has two tasks that no worker takes, so that it runs until somebody controls it. The worker of ``flaky``
    raises at the first attempt, and its task is tried again after 35 s.
    """

    def __init__(self, api_url: str) -> None:
        super().__init__(api_url)
        self.api_url = api_url
        self.configuration = Configuration(server_api_url=api_url)
        self.sample, self.idle, self.flaky = map(self.name, ("guide", "idle", "flaky"))

    @property
    def workflow_client(self) -> OrkesWorkflowClient:
        return OrkesWorkflowClient(self.configuration)

    @property
    def executor(self) -> WorkflowExecutor:
        return WorkflowExecutor(self.configuration)

    @property
    def hook(self) -> ConductorHook:
        return ConductorHook()

    def workflow(self) -> ConductorWorkflow:
        """The guide's own lines."""
        workflow = ConductorWorkflow(
            executor=self.executor, name=self.sample, description="Test Create Workflow", version=1
        )
        workflow.owner_email("tests@example.com")  # 3.21.14 wants one
        workflow.input_parameters(["a", "b"])
        workflow >> SimpleTask(self.name("simple_task"), "simple_task_ref")
        return workflow

    def run(self, operator: Any) -> Any:
        """What the task returns."""
        return operator.execute(context_of(operator, run_id=f"manual__{self.tag}"))

    def output(self, workflow_id: str) -> Any:
        return self.ended(workflow_id).output

    def status(self, workflow_id: str) -> str:
        return str(self.client.get_workflow_status(workflow_id).status)

    def two(self, name: str) -> tuple[str, str]:
        """Two running workflows alike, for the SDK and for us."""
        return self.client.start_workflow_by_name(name), self.client.start_workflow_by_name(name)


@pytest.fixture(scope="module")
def guide(conductor_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guide]:
    guide = Guide(conductor_server.api_url)
    worker = Path(__file__).with_name("guide_worker.py")
    log_file = tmp_path_factory.mktemp("guide") / "worker.log"
    with guide, log_file.open("w") as log:
        owner = {"ownerEmail": "tests@example.com", "timeoutSeconds": 0}
        guide.define("idle", guide.simple("pack"), guide.simple("ship"))
        flaky = {"retryCount": 1, "retryLogic": "FIXED", "retryDelaySeconds": 35}
        guide.client.register_task_defs(
            [owner | {"name": guide.name("simple_task")}, owner | flaky | {"name": guide.name("flaky_task")}]
        )
        failing = ConductorWorkflow(executor=None, name=guide.flaky, version=1)
        failing.owner_email("tests@example.com")
        failing >> SimpleTask(guide.name("flaky_task"), "flaky_task_ref")
        guide.client.register_workflow_defs([guide.workflow(), failing])
        with running([sys.executable, str(worker), guide.api_url, guide.tag], log=log) as process:
            yield guide
            assert process.poll() is None, log_file.read_text()
        guide.end("idle")


@pytest.fixture(autouse=True)
def connection(guide: Guide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", f'{{"conn_type": "conductor", "host": "{guide.api_url}"}}')


# Workflow client: initialization


@pytest.mark.covers("initialization")
def test_initialization(guide: Guide) -> None:
    configuration = Configuration(
        server_api_url=guide.api_url,
        debug=False,
        authentication_settings=AuthenticationSettings(key_id="KEY_ID", key_secret="KEY_SECRET"),
    )
    workflow_client = OrkesWorkflowClient(configuration)
    theirs = workflow_client.start_workflow_by_name(guide.sample, {})

    # Ours: address and key are in the connection, and the hook has the client.
    ours = ConductorHook("conductor_default").client.start_workflow_by_name(guide.sample, {})
    # For those who have a Configuration, or want one:
    taken_over = ConductorHook(configuration).client.start_workflow_by_name(guide.sample, {})
    handed_over = OrkesWorkflowClient(guide.hook.sdk_configuration()).start_workflow_by_name(guide.sample, {})
    assert [guide.output(started) for started in (theirs, ours, taken_over, handed_over)] == [ANSWER] * 4


# Start workflow execution


@pytest.mark.covers("POST /workflow", "start with a request")
def test_start_using_start_workflow_request(guide: Guide) -> None:
    workflow = ConductorWorkflow(
        executor=guide.executor, name=guide.sample, description="Test Create Workflow", version=1
    )
    workflow.owner_email("tests@example.com")
    workflow.input_parameters(["a", "b"])
    workflow >> SimpleTask(guide.name("simple_task"), "simple_task_ref")
    workflow_def = workflow.to_workflow_def()
    assert isinstance(workflow_def, WorkflowDef)
    start_workflow_request = StartWorkflowRequest(
        name=guide.sample, version=1, workflow_def=workflow_def, input={"a": 15, "b": 3}
    )
    theirs = guide.workflow_client.start_workflow(start_workflow_request)

    # Ours: the same objects, in a task or through the hook's client.
    by_task = guide.run(ConductorStartWorkflowOperator(task_id="by_request", request=start_workflow_request))
    by_definition = guide.run(
        ConductorStartWorkflowOperator(task_id="by_def", workflow_def=workflow, workflow_input={"a": 15, "b": 3})
    )
    by_client = guide.hook.client.start_workflow(start_workflow_request)
    found = [guide.ended(workflow_id) for workflow_id in (theirs, by_task, by_definition, by_client)]
    assert {(str(workflow.status), str(workflow.output), str(workflow.input)) for workflow in found} == {
        ("COMPLETED", str(ANSWER), "{'a': 15, 'b': 3}")
    }
    assert len({workflow.workflow_id for workflow in found}) == 4


@pytest.mark.covers("POST /workflow/{name}", "start by name")
def test_start_using_workflow_name(guide: Guide) -> None:
    workflow_input = {"a": 5, "b": "+", "c": [7, 8]}
    theirs = guide.workflow_client.start_workflow_by_name(guide.sample, workflow_input)

    operator = ConductorStartWorkflowOperator(
        task_id="by_name", workflow_name=guide.sample, workflow_input=workflow_input
    )
    by_client = guide.hook.client.start_workflow_by_name(guide.sample, workflow_input)
    for workflow_id in (theirs, guide.run(operator), by_client):
        workflow = guide.ended(workflow_id)
        assert (workflow.status, workflow.input, workflow.output) == ("COMPLETED", workflow_input, ANSWER)


# Execute workflow synchronously


@needs_execute
@pytest.mark.covers("POST /workflow/execute/{name}/{version}", "execute, up to a task")
def test_execute_workflow(guide: Guide) -> None:
    request = StartWorkflowRequest(name=guide.sample, version=1, input={"a": 5, "b": "+", "c": [7, 8]})
    request_id, version, wait_until = "request_id", 1, "simple_task_ref"

    # The guide hands over five arguments; the SDK of today takes name and version from the request.
    with pytest.raises(TypeError, match="positional arguments"):
        guide.workflow_client.execute_workflow(request, request_id, guide.sample, version, wait_until)
    # The server holds the line for ten seconds; on a busy machine that may be too short for the worker.
    theirs = guide.eventually(
        lambda: guide.workflow_client.execute_workflow(request, request_id, wait_until),
        lambda run: run.tasks[0].status == "COMPLETED",
    )
    assert theirs.status in ("RUNNING", "COMPLETED")  # the task has ended; the workflow may end a moment later
    assert [(task.reference_task_name, task.status) for task in theirs.tasks] == [(wait_until, "COMPLETED")]

    # Our client takes the guide's line as it is, and gives a workflow whose tasks are there in any case.
    ours = guide.eventually(
        lambda: guide.hook.client.execute_workflow(request, request_id, guide.sample, version, wait_until),
        lambda workflow: workflow.tasks[0].status == "COMPLETED",
    )
    assert [(task.reference_name, str(task.status)) for task in ours.tasks] == [(wait_until, "COMPLETED")]
    operator = ConductorExecuteWorkflowOperator(task_id="until", request=request, wait_until_task_ref=wait_until)
    assert guide.run(operator)["output"] == ANSWER


@needs_execute
@pytest.mark.covers("execute, to the end")
def test_execute_to_the_end(guide: Guide) -> None:
    request = StartWorkflowRequest(name=guide.sample, version=1, input={})
    theirs = guide.eventually(
        lambda: guide.workflow_client.execute_workflow(request, wait_for_seconds=20),
        lambda run: run.status == "COMPLETED",
    )
    assert (theirs.status, theirs.output) == ("COMPLETED", ANSWER)
    assert guide.run(ConductorExecuteWorkflowOperator(task_id="to_the_end", workflow_name=guide.sample)) == ANSWER


# wait_for_seconds and task retries


@needs_execute
@pytest.mark.covers("RUNNING and no output")
def test_running_and_empty_while_a_retry_is_due(guide: Guide) -> None:
    run = guide.executor.execute(name=guide.flaky, version=1, workflow_input={}, wait_for_seconds=LONG_ENOUGH_TO_FAIL)
    assert (run.status, run.output) == ("RUNNING", {})

    # Ours says the same only when told not to wait on, and says why.
    operator = ConductorExecuteWorkflowOperator(
        task_id="not_yet", workflow_name=guide.flaky, wait_for_seconds=LONG_ENOUGH_TO_FAIL, wait_for_completion=False
    )
    ours = guide.run(operator)
    assert (ours["status"], ours["output"]) == ("RUNNING", {})
    assert "card service down" in ours["progress"]
    assert "attempt 1 of 2" in ours["progress"]
    for workflow_id in (run.workflow_id, ours["workflow_id"]):
        guide.client.terminate_workflow(workflow_id)


@needs_execute
@pytest.mark.covers("wait_for_seconds=70")
def test_seventy_seconds_are_too_many_for_a_stock_server_and_not_for_us(guide: Guide) -> None:
    label = guide.name("theirs")

    def theirs() -> ApiException:
        with pytest.raises(ApiException) as failure:
            guide.executor.execute(
                name=guide.flaky, version=1, workflow_input={}, wait_for_seconds=70, correlation_id=label
            )
        return failure.value

    def ours() -> Any:
        operator = ConductorExecuteWorkflowOperator(task_id="covers", workflow_name=guide.flaky, wait_for_seconds=70)
        return guide.run(operator)

    def started() -> list[str]:
        running = map(guide.client.get_workflow, guide.client.get_running_workflows(guide.flaky))
        return [workflow.workflow_id for workflow in running if workflow.correlation_id == label]

    with ThreadPoolExecutor() as both:
        failed = both.submit(theirs)
        (left,) = guide.eventually(started)
        output = ours()
    # The server ends the hold with a 500 that names no workflow, and the workflow it started runs on.
    assert failed.result().status == 500
    assert left not in str(failed.result())
    assert guide.output(left) == output == ANSWER


# Debugging a stuck workflow


@pytest.fixture
def stuck(guide: Guide) -> Iterator[str]:
    """A workflow whose worker has raised, and whose task waits for its next attempt."""
    workflow_id = guide.client.start_workflow_by_name(guide.flaky)
    guide.eventually(lambda: len(guide.client.get_workflow(workflow_id).tasks) == 2)
    yield workflow_id
    guide.client.terminate_workflow(workflow_id)


@pytest.mark.covers("open Conductor's UI")
def test_check_the_conductor_ui(guide: Guide, stuck: str) -> None:
    assert guide.hook.workflow_url(stuck) == f"{guide.api_url.removesuffix('/api')}/execution/{stuck}"


@pytest.mark.covers("inspect task statuses")
def test_inspect_task_statuses(guide: Guide, stuck: str) -> None:
    wf = guide.executor.get_workflow(stuck, include_tasks=True)
    theirs = [(task.reference_task_name, task.status, task.reason_for_incompletion) for task in wf.tasks]
    # The attempt to come keeps the reason of the one before; but not on 3.21.14.
    kept = "card service down" if EXECUTE in guide.abilities else None
    reasons = ("card service down", kept)
    assert theirs == [(*attempt, reason) for attempt, reason in zip(FIRST_ATTEMPT_FAILED, reasons, strict=True)]

    ours = guide.hook.client.get_workflow(stuck, include_tasks=True)
    assert [(task.reference_name, str(task.status), task.reason or None) for task in ours.tasks] == theirs


@needs_execute
@pytest.mark.covers("WorkflowRun.reason_for_incompletion")
def test_the_run_itself_does_not_say_why(guide: Guide) -> None:
    """``WorkflowRun.reason_for_incompletion`` is deprecated; our answer to the same call has the tasks with reasons."""
    run = guide.executor.execute(name=guide.flaky, version=1, wait_for_seconds=LONG_ENOUGH_TO_FAIL)
    with pytest.deprecated_call():
        assert run.reason_for_incompletion is None
    ours = guide.hook.client.execute_workflow({"name": guide.flaky}, wait_for_seconds=LONG_ENOUGH_TO_FAIL)
    assert "card service down" in [task.reason for task in ours.tasks]
    for workflow_id in (run.workflow_id, ours.workflow_id):
        guide.client.terminate_workflow(workflow_id)


@pytest.mark.needs("index")
@pytest.mark.covers("GET /tasks/{taskId}/log", "read the worker's log")
def test_read_the_worker_logs(guide: Guide, stuck: str) -> None:
    """The SDK sends the traceback of a worker's exception along with its failure; the guide looks in its terminal."""
    failed = guide.hook.client.get_workflow(stuck).tasks[0]
    lines = guide.eventually(lambda: guide.hook.client.get_task_logs(failed.task_id))
    assert "RuntimeError: card service down" in "\n".join(lines)


# Fetch a workflow execution


@pytest.mark.covers("fetch without tasks")
def test_exclude_tasks(guide: Guide) -> None:
    workflow_id = guide.client.start_workflow_by_name(guide.idle)
    theirs = guide.workflow_client.get_workflow(workflow_id, False)
    assert theirs.status == "RUNNING"
    assert len(theirs.tasks) == 1  # the SDK leaves the parameter out, and the server's default is to send them

    ours = guide.hook.client.get_workflow(workflow_id, False)
    assert (ours.status, ours.tasks) == ("RUNNING", ())


@pytest.mark.covers("GET /workflow/{workflowId}", "fetch with tasks")
def test_include_tasks(guide: Guide) -> None:
    workflow_id = guide.client.start_workflow_by_name(guide.idle)
    theirs = guide.workflow_client.get_workflow(workflow_id, True)
    ours = guide.hook.client.get_workflow(workflow_id, True)
    assert [task.task_id for task in theirs.tasks] == [task.task_id for task in ours.tasks]
    assert len(ours.tasks) == 1


# Workflow execution management


@pytest.mark.covers("PUT /workflow/{workflowId}/pause", "PUT /workflow/{workflowId}/resume", "pause", "resume")
def test_pause_and_resume(guide: Guide) -> None:
    theirs, ours = guide.two(guide.idle)
    guide.workflow_client.pause_workflow(theirs)
    guide.hook.client.pause_workflow(ours)
    assert guide.status(theirs) == guide.status(ours) == "PAUSED"

    guide.workflow_client.resume_workflow(theirs)
    guide.hook.client.resume_workflow(ours)
    assert guide.status(theirs) == guide.status(ours) == "RUNNING"


@pytest.mark.covers("DELETE /workflow/{workflowId}", "terminate")
def test_terminate(guide: Guide) -> None:
    theirs, ours = guide.two(guide.idle)
    guide.workflow_client.terminate_workflow(theirs, "Termination reason")
    operator = ConductorTerminateWorkflowOperator(task_id="end", workflow_id=ours, reason="Termination reason")
    assert guide.run(operator) == [ours]
    for workflow_id in (theirs, ours):
        workflow = guide.client.get_workflow(workflow_id)
        assert (workflow.status, workflow.reason) == ("TERMINATED", "Termination reason")


@pytest.mark.covers("restart")
def test_restart(guide: Guide) -> None:
    theirs, ours = guide.two(guide.idle)
    # "No effect" on one that has not ended is an error in fact.
    with pytest.raises(ApiException, match="409"):
        guide.workflow_client.restart_workflow(theirs, use_latest_def=True)
    with pytest.raises(ConductorConflictError):
        guide.hook.client.restart_workflow(ours, use_latest_def=True)

    guide.client.bulk_terminate([theirs, ours])
    guide.workflow_client.restart_workflow(theirs, use_latest_def=True)
    guide.hook.client.restart_workflow(ours, use_latest_def=True)
    assert guide.status(theirs) == guide.status(ours) == "RUNNING"


@pytest.mark.covers("POST /workflow/{workflowId}/retry", "retry")
def test_retry(guide: Guide) -> None:
    theirs, ours = guide.two(guide.idle)
    for workflow_id in (theirs, ours):
        (task,) = guide.client.get_workflow(workflow_id).tasks
        guide.client.update_task(workflow_id, task.task_id, "FAILED")
        assert guide.ended(workflow_id).status == "FAILED"
    guide.workflow_client.retry_workflow(theirs, resume_subworkflow_tasks=True)
    assert guide.run(ConductorRetryWorkflowOperator(task_id="retry", workflow_id=ours)) == ours
    for workflow_id in (theirs, ours):
        workflow = guide.client.get_workflow(workflow_id)
        assert workflow.status == "RUNNING"
        assert [str(task.status) for task in workflow.tasks] == ["FAILED", "SCHEDULED"]


def test_retry_of_what_has_nothing_to_retry(guide: Guide) -> None:
    theirs, ours = guide.two(guide.sample)
    assert guide.output(theirs) == guide.output(ours) == ANSWER
    # Nothing happens, and nobody is told; the server's 409 is kept for a retry without resume_subworkflow_tasks.
    guide.workflow_client.retry_workflow(theirs, resume_subworkflow_tasks=True)
    assert guide.status(theirs) == "COMPLETED"
    with pytest.raises(ApiException, match="409"):
        guide.workflow_client.retry_workflow(theirs)
    with pytest.raises(ConductorInvalidStateError, match="ConductorRestartWorkflowOperator runs it again"):
        guide.run(ConductorRetryWorkflowOperator(task_id="retry", workflow_id=ours))


@pytest.mark.covers("skip a task")
def test_skip_task(guide: Guide) -> None:
    theirs, ours = guide.two(guide.idle)
    # The guide's line has two arguments; the SDK of today wants a third.
    with pytest.raises(TypeError, match="request"):
        guide.workflow_client.skip_task_from_workflow(theirs, "ship")
    guide.workflow_client.skip_task_from_workflow(theirs, "ship", SkipTaskRequest())
    guide.hook.client.skip_task_from_workflow(ours, "ship")
    for workflow_id in (theirs, ours):
        (pack,) = [task for task in guide.client.get_workflow(workflow_id).tasks if task.reference_name == "pack"]
        guide.client.update_task(workflow_id, pack.task_id, "COMPLETED")
        workflow = guide.ended(workflow_id)
        assert (workflow.status, guide.status_of(workflow_id, "ship")) == ("COMPLETED", "SKIPPED")


@pytest.mark.covers("delete")
def test_delete(guide: Guide) -> None:
    theirs, ours = guide.two(guide.sample)
    assert guide.output(theirs) == guide.output(ours) == ANSWER
    guide.workflow_client.delete_workflow(theirs)
    guide.hook.client.delete_workflow(ours)
    with pytest.raises(ApiException, match="404"):
        guide.workflow_client.get_workflow(theirs)
    with pytest.raises(ConductorNotFoundError):
        guide.hook.client.get_workflow(ours)
