"""Waiting on a real server: what the task says meanwhile, when it notices, and how it ends.

Every scenario is a function that plays worker and people and checks what the task makes of it; all of them run at the
same time, since most of what they do is wait.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_conductor.exceptions import (
    ConductorStartRefusedError,
    ConductorWorkflowFailedError,
    ConductorWorkflowFailedPermanentlyError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.sensors import ConductorWorkflowSensor
from dev.conductor_server import ConductorServer
from tests.integration.abilities import EXECUTE
from tests.integration.waiting_lab import WaitingLab
from tests.waiting_modes.modes import run_task

pytestmark = pytest.mark.integration

TIME = r"(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d UTC"
"""A moment as messages name it: with its date where that is another day's."""

CARD = {"charge_card": {"retryCount": 2, "retryLogic": "FIXED", "retryDelaySeconds": 3}}
CARD_LATER = {"charge_card": {"retryCount": 2, "retryLogic": "FIXED", "retryDelaySeconds": 30}}
"""A delay that is not over before a slow server has told of it."""
DOWN = "card service down"

SCENARIOS: dict[str, Callable[[WaitingLab], None]] = {}


def scenario(play: Callable[[WaitingLab], None]) -> Callable[[WaitingLab], None]:
    SCENARIOS[play.__name__] = play
    return play


@pytest.fixture(scope="module")
def plays(conductor_server: Any, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    """Those scenarios whose tests are selected, all begun."""
    wanted = {item.callspec.params["name"] for item in request.session.items if item.module is request.module}
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(SCENARIOS)) as pool:
        patch.setenv(
            "AIRFLOW_CONN_CONDUCTOR_DEFAULT", f'{{"conn_type": "conductor", "host": "{conductor_server.url}"}}'
        )
        patch.setenv("AIRFLOW_CONN_CONDUCTOR_CRASHING", "")
        yield {
            name: pool.submit(WaitingLab(conductor_server.api_url).play, play)
            for name, play in SCENARIOS.items()
            if name in wanted
        }


# Retry delays


@scenario
def a_retry_delay_within_wait_for_seconds(lab: WaitingLab) -> None:
    lab.begin(lab.workflow(lab.simple("charge_card"), policy=CARD_LATER), wait_for_seconds=300)
    lab.work("charge_card", "FAILED", reason=DOWN)
    lab.hears("Conductor will retry it at")
    lab.work("charge_card", output={"paid": True})
    outcome = lab.completes()
    line = outcome.told("Conductor will retry it at")
    assert line.startswith("charge_card failed (attempt 1 of 3: card service down)")
    assert re.search(rf" at {TIME} \(in ([12]?\d|30) s\)$", line)
    assert outcome.deferrals == 0


@scenario
def a_retry_delay_past_wait_for_seconds(lab: WaitingLab) -> None:
    lab.begin(lab.workflow(lab.simple("charge_card"), policy=CARD), wait_for_seconds=2)
    for attempt in (1, 2):
        lab.work("charge_card", "FAILED", reason=DOWN)
        lab.hears(f"attempt {attempt} of 3")
    lab.work("charge_card", output={"paid": True})
    outcome = lab.completes()
    assert outcome.told("Still RUNNING after 2 s: ")
    assert outcome.told("attempt 1 of 3")
    assert outcome.told("attempt 2 of 3")
    assert outcome.deferrals == 1
    assert "charge_card  3" in outcome.told("attempts")


@scenario
def exponential_backoff_is_announced(lab: WaitingLab) -> None:
    policy = {"ship": {"retryCount": 3, "retryLogic": "EXPONENTIAL_BACKOFF", "retryDelaySeconds": 20}}
    lab.begin(lab.workflow(lab.simple("ship"), policy=policy))
    for attempt in (1, 2):
        lab.work("ship", "FAILED", reason="no driver")
        lab.hears(f"ship failed (attempt {attempt} of 4")
    lab.work("ship")
    outcome = lab.completes()
    assert re.search(r"\(in (1?[1-9]|[12]0) s\)$", outcome.told("failed (attempt 1 of 4"))
    assert re.search(r"\(in (2[1-9]|3\d|40) s\)$", outcome.told("failed (attempt 2 of 4"))


@scenario
def a_wait_on_the_worker_longer_than_any_hold(lab: WaitingLab) -> None:
    name = lab.workflow(lab.system("WAIT", "cool_down", inputParameters={"duration": "30 seconds"}), lab.simple("ship"))
    lab.begin(name, wait_for_seconds=300)
    lab.hears("cool_down waits until")
    time.sleep(25)
    lab.work("ship", output={"shipped": 1})
    done = lab.completes()
    assert lab.client.get_running_workflows(name) == []
    assert done.deferrals == 0
    assert done.seconds > 29  # the server's own WAIT; no bound above, since machines are noisy
    assert re.search(rf"cool_down waits until {TIME} \(in \d+ s\)", done.told("cool_down waits"))


# Workers


@scenario
def nobody_works(lab: WaitingLab) -> None:
    lab.begin(lab.workflow(lab.simple("charge_card")), stall_timeout=13)
    done = lab.done()
    workflow = lab.client.get_workflow(done.workflow_id)
    assert type(done.error) is ConductorWorkflowTimeoutError
    message = str(done.error)
    assert re.search(rf"stall_timeout: .* no progress since {TIME}", message)
    assert re.search(
        rf"charge_card has been queued since {TIME}, and no worker has ever polled queue 'charge_card_\w+'", message
    )
    assert "did not end in time; it was terminated." in message
    assert workflow.status == "TERMINATED"
    assert workflow.reason.startswith("Airflow task timed out: nightly_orders.wait")
    assert done.seconds > 12.5  # not before the stall_timeout


@scenario
def a_worker_comes_back_after_the_stall_clock_began(lab: WaitingLab) -> None:
    name = lab.workflow(lab.simple("charge_card"))
    lab.client.poll_task(lab.name("charge_card"), "worker-3")
    lab.begin(name, stall_timeout=300)
    lab.hears("no worker has polled")
    lab.work("charge_card", output={"paid": True})
    outcome = lab.completes()
    assert re.search(r"queue 'charge_card_\w+' for \d+ s \(last poll: worker-3\)", outcome.told("no worker has polled"))


# People


@scenario
def pause_and_resume(lab: WaitingLab) -> None:
    lab.begin(lab.workflow(lab.simple("charge_card")), stall_timeout=40)
    lab.client.pause_workflow(lab.workflow_id)
    lab.hears("paused since")
    time.sleep(41)
    lab.client.resume_workflow(lab.workflow_id)
    lab.hears("somebody resumed the workflow")
    lab.work("charge_card", output={"paid": True})
    outcome = lab.completes()
    assert outcome.told("paused since").endswith(". Resume it in Conductor to continue")
    assert outcome.seconds > 41


@scenario
def a_person_signs_off(lab: WaitingLab) -> None:
    lab.begin(lab.workflow(lab.system("HUMAN", "sign_off")), stall_timeout=20)
    lab.hears("sign_off has been waiting")
    time.sleep(22)
    task = lab.client.get_workflow(lab.workflow_id).tasks[0]
    lab.client.update_task(lab.workflow_id, task.task_id, "COMPLETED", {"approved": True})
    outcome = lab.completes()
    assert outcome.result == {"approved": True}
    assert outcome.told("sign_off has been waiting").endswith(" for a person to complete it")


@scenario
def somebody_skips(lab: WaitingLab) -> None:
    lab.begin(lab.workflow(lab.simple("charge_card"), lab.simple("thank")))
    lab.hears("Still RUNNING")
    lab.client.skip_task_from_workflow(lab.workflow_id, "thank")
    lab.hears("somebody skipped")
    lab.work("charge_card")
    outcome = lab.completes()
    assert outcome.told("somebody skipped") == "somebody skipped thank"
    assert "SKIPPED" in outcome.told("completed")


@scenario
def somebody_retries_and_restarts(lab: WaitingLab) -> None:
    """Between two looks it has failed and was brought back: a wait that sees it RUNNING goes on."""
    lab.begin(lab.workflow(lab.simple("charge_card"), lab.simple("ship")), poll_interval=25, wait_for_seconds=0)
    workflow_id = lab.workflow_id
    for act, word in ((lab.client.retry_workflow, "retried"), (lab.client.restart_workflow, "restarted")):
        if word == "retried":
            lab.hears("charge_card has been queued")
            time.sleep(1)
        lab.work("charge_card", "FAILED", reason=DOWN)
        lab.eventually(lambda: lab.client.get_workflow(workflow_id).status == "FAILED")
        act(workflow_id)
        lab.hears(f"somebody {word} the workflow")
    for ref in ("charge_card", "ship"):
        lab.work(ref)
    outcome = lab.completes()
    assert outcome.told("somebody retried the workflow; it continues from its failed tasks")
    assert outcome.told("somebody restarted the workflow; it runs again from its first task")


@scenario
def somebody_terminates(lab: WaitingLab) -> None:
    lab.begin(lab.workflow(lab.simple("charge_card")))
    lab.hears("charge_card has been queued")
    lab.client.terminate_workflow(lab.workflow_id, "cancelled by the customer")
    outcome = lab.done()
    assert type(outcome.error) is ConductorWorkflowFailedPermanentlyError
    assert isinstance(outcome.error, AirflowFailException)
    assert "was terminated: cancelled by the customer" in str(outcome.error)
    assert "Open at that time: charge_card." in str(outcome.error)


# Failures


@scenario
def a_failure_two_levels_down(lab: WaitingLab) -> None:
    inner = lab.workflow(lab.simple("pack"), what="inner", policy={"pack": {"retryCount": 1, "retryDelaySeconds": 1}})

    def runs(what: str, ref: str) -> dict[str, Any]:
        return lab.system("SUB_WORKFLOW", ref, subWorkflowParam={"name": lab.name(what), "version": 1})

    assert inner == lab.name("inner")
    lab.workflow(runs("inner", "to_inner"), what="middle")
    lab.begin(lab.workflow(runs("middle", "to_middle")))
    lab.hears_from_below("to_middle/to_inner/pack")
    lab.work("pack", "FAILED", reason="box too small")
    task = lab.take("pack")
    for line in ("measured 7 boxes", "none is larger than 30 cm"):
        lab.client.log_task(task.task_id, line)
    lab.client.update_task(task.data["workflowInstanceId"], task.task_id, "FAILED", {}, reason="box too small")
    outcome = lab.done()
    assert type(outcome.error) is ConductorWorkflowFailedError
    message = str(outcome.error)
    first = message.splitlines()[0]
    assert "to_middle/to_inner/pack failed (attempt 2 of 2): box too small" in first
    assert ", which to_middle/to_inner runs" in message
    assert "What to do" in message
    assert f"/execution/{outcome.workflow_id}" in message
    error = outcome.error
    assert (error.task_reference_name, error.attempts, error.reason) == ("pack", 2, "box too small")
    assert error.workflow_id == outcome.workflow_id != error.failed_workflow_id
    if "index" in lab.abilities:
        assert "last log lines (2 of 2)" in message
        assert "    none is larger than 30 cm" in message
        assert error.log_lines == ("measured 7 boxes", "none is larger than 30 cm")
    else:
        assert "log lines" not in message
        assert error.log_lines == ()
    assert outcome.told("to_middle/to_inner/pack")


@scenario
def a_terminal_error_is_not_retried(lab: WaitingLab) -> None:
    lab.begin(lab.workflow(lab.simple("charge_card"), policy=CARD))
    lab.work("charge_card", "FAILED_WITH_TERMINAL_ERROR", reason="no such card")
    outcome = lab.done()
    assert type(outcome.error) is ConductorWorkflowFailedPermanentlyError
    assert isinstance(outcome.error, AirflowFailException)
    assert "terminal error" in str(outcome.error)


@scenario
def a_missing_definition_is_not_retried(lab: WaitingLab) -> None:
    outcome = lab.begin(lab.name("never_defined")).done()
    assert type(outcome.error) is ConductorStartRefusedError
    assert isinstance(outcome.error, AirflowFailException)


@scenario
def a_timeout_terminates(lab: WaitingLab) -> None:
    lab.begin(lab.workflow(lab.simple("charge_card")), timeout=45)
    lab.take("charge_card")
    done = lab.done()
    workflow = lab.client.get_workflow(done.workflow_id)
    assert type(done.error) is ConductorWorkflowTimeoutError
    assert "charge_card has been running on tester since" in str(done.error)
    assert workflow.status == "TERMINATED"
    assert workflow.reason.startswith("Airflow task timed out: nightly_orders.wait")


# Scripts, which the server itself evaluates


def script(lab: WaitingLab, ref: str, expression: str, **more: Any) -> dict[str, Any]:
    return lab.system("INLINE", ref, inputParameters={"evaluatorType": "javascript", "expression": expression, **more})


def loop(lab: WaitingLab, condition: str, *tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return lab.system("DO_WHILE", "loop", loopCondition=condition, loopOver=list(tasks), inputParameters=more)


def every_kind_of_script(lab: WaitingLab, *, deferrable: bool) -> None:
    step = lab.simple("step")
    rounds = loop(lab, "$.loop['iteration'] < $.rounds", step, rounds="${plan.output.result.rounds}")
    way = lab.system(
        "SWITCH",
        "way",
        evaluatorType="javascript",
        expression="$.rounds > 2 ? 'many' : 'few'",
        inputParameters={"rounds": "${plan.output.result.rounds}"},
        decisionCases={"many": [rounds], "few": []},
    )
    total = lab.system(
        "LAMBDA",
        "total",
        inputParameters={"scriptExpression": "return {rounds: $.done * 10};", "done": "${loop.output.iteration}"},
    )
    plan = script(lab, "plan", "({rounds: $.a + 2})", a="${workflow.input.a}")
    name = lab.workflow(
        plan, way, total, policy={"step": {}}, outputParameters={"total": "${total.output.result.rounds}"}
    )
    lab.begin(name, deferrable=deferrable)
    lab.hears("step__1 has been queued since")
    lab.hears("Still RUNNING after 1 s: step__1 has been queued since")
    for _ in range(3):
        lab.work("step")
    outcome = lab.completes()
    assert outcome.result == {"total": 30}
    assert outcome.deferrals == deferrable
    assert re.fullmatch(
        rf"step__1 has been queued since {TIME}, waiting for a worker to poll queue 'step_\w+'",
        outcome.told("step__1 has been queued"),
    )
    # Three iterations are one situation, unless a slow server makes each last a minute.
    assert sum(" has been queued since" in line for line in outcome.lines if line.startswith("step__")) <= 3
    assert "step__3" in outcome.told("attempts")


@scenario
def scripts_of_every_kind(lab: WaitingLab) -> None:
    every_kind_of_script(lab, deferrable=False)


@scenario
def scripts_of_every_kind_deferred(lab: WaitingLab) -> None:
    every_kind_of_script(lab, deferrable=True)


@scenario
def scripts_that_fail(lab: WaitingLab) -> None:
    note = lab.system("SET_VARIABLE", "note", inputParameters={"seen": True})
    # 3.21.14 evaluates an expression without the workflow's input, and refuses a definition in which that fails.
    given = {"a": "${workflow.input.a}"}
    fails = "$.a == 1 ? $.a.b.c : 'never'"
    cases = {"expression": fails, "decisionCases": {"never": [note]}, "inputParameters": given}
    way = lab.system("SWITCH", "check", evaluatorType="javascript", **cases)
    lambda_task = lab.system("LAMBDA", "check", inputParameters={"scriptExpression": "return $.a.b;"})
    endless = script(lab, "check", "while (true) {}")
    failing_loop = loop(lab, "$.a == 1 ? $.a.b.c < 3 : false", note, **given) | {"taskReferenceName": "check"}
    for number, (task, permanent, failed, why) in enumerate(
        (
            (script(lab, "check", "throw new Error('no stock')"), True, " (attempt 1", "Error: no stock"),
            (lambda_task, False, " (attempt 1", "Cannot read property "),  # each JavaScript has its own words for it
            (way, False, " (attempt 1", "Cannot read property "),
            (failing_loop, True, "", "Unable to evaluate condition"),
            *([(endless, False, " (attempt 1", "Script not evaluated within")] if EXECUTE in lab.abilities else []),
        )
    ):
        error = lab.begin(lab.workflow(task, what=f"script_{number}")).done().error
        assert type(error) is (ConductorWorkflowFailedPermanentlyError if permanent else ConductorWorkflowFailedError)
        assert f"check failed{' with a terminal error' if permanent else ''}{failed}" in str(error)
        assert why in str(error)
        assert "The worker" not in str(error)


@scenario
def a_loop_without_an_end(lab: WaitingLab) -> None:
    nap = lab.system("WAIT", "nap", inputParameters={"duration": "1 seconds"})
    lab.begin(lab.workflow(loop(lab, "true;", nap)), timeout=40)
    done = lab.done()
    workflow = lab.client.get_workflow(done.workflow_id)
    assert type(done.error) is ConductorWorkflowTimeoutError
    assert "did not end in time; it was terminated" in str(done.error)
    assert workflow.status == "TERMINATED"
    assert len({task.reference_name for task in workflow.tasks}) > 3
    assert len([line for line in done.lines if "nap" in line or "no task has been open" in line]) < 10


# One task, no completion, archives


@scenario
def one_task_is_waited_for(lab: WaitingLab) -> None:
    name = lab.workflow(lab.simple("charge_card"), lab.simple("ship"), policy=CARD)
    lab.begin(name, wait_until_task_ref="charge_card")
    lab.work("charge_card", "FAILED", reason=DOWN)
    lab.work("charge_card", output={"paid": True})
    done = lab.done()
    workflow = lab.client.get_workflow(done.workflow_id)
    lab.client.terminate_workflow(done.workflow_id, "the test is over")
    assert done.error is None
    assert (done.result["status"], done.result["output"]) == ("RUNNING", {"paid": True})
    assert workflow.status == "RUNNING"


@scenario
def an_archived_workflow_has_an_end(lab: WaitingLab) -> None:
    name = lab.workflow(lab.simple("charge_card"))
    ended = {}
    for status in ("COMPLETED", "FAILED"):
        workflow_id = lab.client.start_workflow_by_name(name, {})
        lab.work("charge_card", status, reason=DOWN)
        lab.ended(workflow_id)
        query = f"workflowId IN ({workflow_id}) AND status IN ({status})"
        if "index" in lab.abilities:
            lab.eventually(lambda query=query: list(lab.client.search_workflows(query=query)))
        lab.client.delete_workflow(workflow_id, archive_workflow=True)
        ended[status] = run_task(ConductorWorkflowSensor, workflow_id=workflow_id, deferrable=True)
    ended["gone"] = run_task(ConductorWorkflowSensor, workflow_id="0f7d3c36-aaaa-bbbb-cccc-" + lab.tag * 2)
    assert "is gone" in str(ended["gone"].error)
    if "index" not in lab.abilities:
        for each in ended.values():
            assert "how it ended is unknown" in str(each.error)
        return
    assert ended["COMPLETED"].error is None
    assert ended["COMPLETED"].told("Conductor has archived the workflow; its search index has it as COMPLETED")
    assert type(ended["FAILED"].error) is ConductorWorkflowFailedError
    assert "ended as FAILED" in str(ended["FAILED"].error)


# What is said of each phase: of those that no scenario above comes to


def progress(lab: WaitingLab, name: str) -> str:
    """What the task says that does not wait for completion; a loaded server may take 45 s until there is something."""
    outcome = lab.begin(name, wait_for_completion=False, wait_for_seconds=45.0).done()
    assert outcome.error is None
    lab.client.terminate_workflow(outcome.workflow_id, "the test is over")
    return str(outcome.result["progress"])


@scenario
def a_limit_keeps_a_task_from_its_worker(lab: WaitingLab) -> None:
    name = lab.workflow(lab.simple("charge_card"), policy={"charge_card": {"concurrentExecLimit": 1}})
    other = lab.client.start_workflow_by_name(name, {})
    lab.take("charge_card")

    def poll_in_vain() -> None:
        while not lab.is_done:
            lab.client.poll_task(lab.name("charge_card"), "worker-3")
            time.sleep(1)
        lab.client.terminate_workflow(other, "the test is over")

    lab.later(0, poll_in_vain)
    assert re.match(
        rf"charge_card has been queued since {TIME}, although worker-3 polled queue 'charge_card_\w+' \d+ s ago: "
        "probably because of its rate or concurrency limit",
        progress(lab, name),
    )


@scenario
def a_worker_postpones_its_task(lab: WaitingLab) -> None:
    later = {"worker_id": "tester", "callback_after_seconds": 600}
    lab.later(0, lambda: lab.work("long_job", "IN_PROGRESS", {}, **later))
    told = progress(lab, lab.workflow(lab.simple("long_job")))
    assert re.match(rf"long_job was postponed by tester until {TIME} \(in (9|10) min\)", told)


@scenario
def a_task_starts_later(lab: WaitingLab) -> None:
    told = progress(lab, lab.workflow(lab.simple("charge_card", startDelay=110)))
    assert re.match(rf"charge_card will start at {TIME} \(in \d+ s\)", told)


@scenario
def every_branch_of_a_fork_is_told(lab: WaitingLab) -> None:
    branches = [[lab.system("HUMAN", "sign_off")], [lab.system("WAIT", "approval")], [lab.simple("pack")]]
    split = lab.system("FORK_JOIN", "fork", forkTasks=branches)
    told = progress(lab, lab.workflow(split, lab.system("JOIN", "join", joinOn=["sign_off", "approval", "pack"])))
    assert re.match(
        rf"pack has been queued since {TIME}, .*; approval has been waiting since {TIME} for a signal; "
        rf"sign_off has been waiting since {TIME} for a person to complete it",
        told,
    )


# A crash


@scenario
def a_server_that_is_killed_and_comes_back(_: WaitingLab) -> None:
    """SIGKILL in the middle of the wait; the server keeps its data, the wait its patience."""
    with ConductorServer() as server:
        os.environ["AIRFLOW_CONN_CONDUCTOR_CRASHING"] = f'{{"conn_type": "conductor", "host": "{server.url}"}}'
        lab = WaitingLab(server.api_url)
        lab.begin(lab.workflow(lab.simple("charge_card")), timeout=600, conductor_conn_id="conductor_crashing")
        workflow_id = lab.workflow_id
        lab.hears("Still RUNNING")
        server.kill()
        lab.hears("Conductor is unreachable")
        time.sleep(3)
        server.restart()
        lab.hears("Conductor is reachable again after")
        lab.work("charge_card", output={"paid": True})
        done = lab.done()
        assert done.error is None
        assert done.workflow_id == workflow_id
        about_conductor = [line for line in done.lines if line.startswith("Conductor is ")]
        assert len(about_conductor) == 2, about_conductor


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_wait(plays: dict[str, Future[None]], name: str) -> None:
    plays[name].result(630)
