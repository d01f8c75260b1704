"""Every situation in every mode: the same result, the same kind of error, the same words, the same effect."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_conductor._airflow import NEVER_EXPIRE
from airflow_provider_conductor.client import ConductorAuthError
from airflow_provider_conductor.exceptions import (
    ConductorOutputMissingError,
    ConductorOutputTooLargeError,
    ConductorSensorTimeoutError,
    ConductorTaskUnreachableError,
    ConductorWorkflowFailedError,
    ConductorWorkflowFailedPermanentlyError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator
from airflow_provider_conductor.sensors import ConductorWorkflowSensor
from airflow_provider_conductor.submission.termination_reasons import timed_out_reason
from tests.waiting_modes.modes import ALL, EXECUTE, SENSOR, Outcome, run_task
from tests.waiting_modes.recorded_server import AWAY, GONE, REFUSED, RecordedServer, Scene, recorded

WORKING = recorded("working")
OUTPUT = {"total": 42, "note": "x" * 100}
COMPLETED = recorded("ended_completed", output=OUTPUT)
SOON, LATER = 0.6, 1.6


@dataclass(frozen=True)
class Situation:
    """What happens to a workflow, and what its task makes of it.

    Attributes:
        play: the scenes, by the second they begin.
        index: what the search index knows.
        arguments: of the operator and the sensor alike; ``sensor`` for the sensor alone.
        error: the error's exact type; where the sensor has Airflow's own in its place, both.
        words: in the error's message, whatever the mode.
        then: the workflow's status afterwards, where that is not what the play says.
    """

    play: tuple[tuple[float, Scene], ...]
    index: tuple[Mapping[str, Any], ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sensor: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    error: type[BaseException] | tuple[type[BaseException], type[BaseException]] | None = None
    words: tuple[str, ...] = ()
    then: str = ""
    lines: tuple[str, ...] = ()


def ends_as(recording: str, **changes: Any) -> tuple[tuple[float, Scene], ...]:
    return (0.0, WORKING), (SOON, recorded(recording, **changes))


TIMED_OUT = (ConductorWorkflowTimeoutError, ConductorSensorTimeoutError)
SUMMARY = {"workflowType": "orders", "version": 1, "status": "COMPLETED", "output": "{}"}

SITUATIONS = {
    "completed": Situation(ends_as("ended_completed", output=OUTPUT), result=OUTPUT),
    "completed before the first look": Situation(((0.0, COMPLETED),), result=OUTPUT),
    "output too large": Situation(
        ends_as("ended_completed", output=OUTPUT),
        arguments={"max_output_bytes": 50},
        error=ConductorOutputTooLargeError,
        words=("over max_output_bytes=50", "outputParameters"),
    ),
    "failed with a task": Situation(
        ends_as("ended_failed"),
        error=ConductorWorkflowFailedError,
        words=("charge_card failed (attempt 2 of 2): card service still down", "What to do: Fix the cause"),
    ),
    "failed two levels down": Situation(
        ends_as("ended_failed_two_levels_down"),
        error=ConductorWorkflowFailedError,
        words=("to_middle/to_inner/", "In sub-workflow", "The worker's last log lines"),
    ),
    "failed with a terminal error": Situation(
        ends_as("ended_failed_with_terminal_error"),
        error=ConductorWorkflowFailedPermanentlyError,
        words=("terminal error", "The worker ruled out another attempt"),
    ),
    "a task timed out": Situation(
        ends_as("ended_timed_out"),
        error=ConductorWorkflowFailedError,
        words=("silent timed out", "responseTimeoutSeconds"),
    ),
    "no worker took a task in time": Situation(
        ends_as("ended_poll_timeout"),
        error=ConductorWorkflowFailedError,
        words=("no worker took nobody in time", "Start a worker that polls this queue"),
    ),
    "the server itself failed a task": Situation(
        ends_as("ended_script_failed"),
        error=ConductorWorkflowFailedPermanentlyError,
        words=("js failed with a terminal error", "Conductor itself runs this INLINE task"),
    ),
    "a JOIN that nothing can end": Situation(
        ((0.0, recorded("join_on_no_such_task", startTime=1)),),
        arguments={"stall_timeout": 1.0, "on_timeout": "leave"},
        error=TIMED_OUT,
        words=("stall_timeout: ", "no progress since", "join (JOIN) has been waiting since", "for 'typo', which the"),
        then="RUNNING",
    ),
    "the workflow timed out": Situation(
        ends_as("ended_workflow_timed_out"), error=ConductorWorkflowFailedError, words=("time: slow",)
    ),
    "terminated by somebody": Situation(
        ends_as("ended_terminated"),
        error=ConductorWorkflowFailedPermanentlyError,
        words=("Somebody terminated it",),
    ),
    "terminated by our own timeout": Situation(
        ends_as("ended_terminated", reasonForIncompletion=timed_out_reason("nightly.charge run r1 try 1")),
        error=ConductorWorkflowFailedError,
        words=("Airflow task timed out: nightly.charge run r1 try 1",),
    ),
    "paused and resumed": Situation(
        ((0.0, WORKING), (0.4, recorded("paused")), (3.4, WORKING), (4.0, COMPLETED)),
        arguments={"stall_timeout": 2.5},
        result=OUTPUT,
        lines=("paused since",),
    ),
    "waits for a person longer than the stall timeout": Situation(
        ((0.0, recorded("waiting_for_person")), (LATER, COMPLETED)),
        arguments={"stall_timeout": 0.5},
        result=OUTPUT,
        lines=("sign_off has been waiting since",),
    ),
    "gone": Situation(
        ((0.0, WORKING), (SOON, GONE)), error=ConductorWorkflowFailedError, words=("is gone", "how it ended is unknown")
    ),
    "archived when it had completed": Situation(
        ((0.0, WORKING), (SOON, GONE)),
        index=(SUMMARY,),
        error=ConductorOutputMissingError,
        words=("its output cannot be read any more", "archive listener"),
        lines=("its search index has it as COMPLETED",),
    ),
    "archived when it had completed, and nobody wants its output": Situation(
        ((0.0, WORKING), (SOON, GONE)),
        index=(SUMMARY,),
        arguments={"do_xcom_push": False},
        result=None,
        lines=("its search index has it as COMPLETED", "its output cannot be read any more"),
    ),
    "archived when it had failed": Situation(
        ((0.0, WORKING), (SOON, GONE)),
        index=(SUMMARY | {"status": "FAILED", "reasonForIncompletion": "no tea left"},),
        error=ConductorWorkflowFailedError,
        words=("ended as FAILED: no tea left", "archived"),
    ),
    "archived when somebody had terminated it": Situation(
        ((0.0, WORKING), (SOON, GONE)),
        index=(SUMMARY | {"status": "TERMINATED", "reasonForIncompletion": "cancelled by the customer"},),
        error=ConductorWorkflowFailedPermanentlyError,
        words=("cancelled by the customer",),
    ),
    "the server is away for a while": Situation(
        ((0.0, WORKING), (0.4, AWAY), (3.0, COMPLETED)),
        result=OUTPUT,
        lines=("Conductor is unreachable; polling continues", "Conductor is reachable again after"),
    ),
    "the server goes away just after the end": Situation(
        ((0.0, WORKING), (SOON, COMPLETED), (SOON + 0.3, AWAY), (2.5, COMPLETED)), result=OUTPUT
    ),
    "the server is away until the timeout": Situation(
        ((0.0, WORKING), (0.4, AWAY)),
        arguments={"timeout": 3.0, "on_timeout": "leave"},
        error=TIMED_OUT,
        # "is" from the last poll of poke mode, else "has been"
        words=("did not end in time; it was left running (on_timeout='leave'). Last state: Conductor ", " unreachable"),
    ),
    "credentials refused": Situation(
        ((0.0, WORKING), (SOON, REFUSED)),
        error=ConductorAuthError,
        words=("the wait for Conductor workflow", "failed: ", "INVALID_TOKEN"),
    ),
    "timeout that terminates": Situation(
        ((0.0, WORKING),),
        arguments={"timeout": 1.0, "on_timeout": "terminate"},
        error=TIMED_OUT,
        words=("timeout:", "charge_card has been running on worker-3", "did not end in time; it was terminated"),
        then="TERMINATED",
    ),
    "timeout that leaves": Situation(
        ((0.0, WORKING),),
        arguments={"timeout": 1.0, "on_timeout": "leave"},
        error=TIMED_OUT,
        words=("timeout:", "did not end in time; it was left running (on_timeout='leave')"),
        then="RUNNING",
    ),
    "timeout just after the end": Situation(
        ((0.0, WORKING), (0.9, COMPLETED)), arguments={"timeout": 3.0, "poll": 30.0}, result=OUTPUT
    ),
    "stall that terminates": Situation(
        ((0.0, recorded("queued_never_polled")),),
        arguments={"stall_timeout": 1.0, "on_timeout": "terminate"},
        error=TIMED_OUT,
        words=("stall_timeout:", "nobody has been queued since", "no worker has ever polled queue 'nobody_x'"),
        then="TERMINATED",
    ),
    "stall that leaves": Situation(
        ((0.0, recorded("retry_due")),),
        arguments={"stall_timeout": 1.0, "on_timeout": "leave"},
        error=TIMED_OUT,
        words=(
            "its retry has been queued since",
            "no worker has polled queue 'charge_card_x'",
            "(last poll: worker-3)",
        ),
        then="RUNNING",
    ),
    "the task waited for has ended": Situation(
        ((0.0, WORKING), (SOON, recorded("fork_at_rest"))),
        arguments={"wait_until_task_ref": "live"},
        result={"status": "RUNNING", "progress": "task live is COMPLETED"},
        then="RUNNING",
    ),
    "the task waited for has failed, but the workflow goes on": Situation(
        ((0.0, WORKING), (SOON, recorded("optional_failed"))),
        arguments={"wait_until_task_ref": "nice_to_have"},
        result={"status": "RUNNING", "progress": "task nice_to_have is COMPLETED_WITH_ERRORS"},
        then="RUNNING",
    ),
    "the task waited for never comes": Situation(
        ends_as("ended_completed"),
        arguments={"wait_until_task_ref": "charge_cart"},
        error=ConductorTaskUnreachableError,
        words=(
            "ended as COMPLETED without a task 'charge_cart' (its tasks: 'charge_card'; in a loop",
            "charge_cart__1)",
        ),
    ),
    "the task waited for has failed, and the workflow with it": Situation(
        ends_as("ended_failed"),
        arguments={"wait_until_task_ref": "charge_card"},
        error=ConductorWorkflowFailedError,
        words=("charge_card failed (attempt 2 of 2)",),
    ),
}

LENIENT = {
    name: SITUATIONS[name]
    for name in (
        "failed with a task",
        "failed with a terminal error",
        "terminated by somebody",
        "output too large",
        "gone",
        "the task waited for never comes",
        "timeout that terminates",
        "timeout that leaves",
        "stall that terminates",
        "the server is away until the timeout",
    )
}


@pytest.fixture
def playing(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[RecordedServer]:
    situation = SITUATIONS[request.node.callspec.params["name"]]
    server = RecordedServer(situation.play, situation.index)
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", server.connection_uri())
    monkeypatch.setattr(
        "airflow_provider_conductor.polling.missing_workflow.ASK_AGAIN", (0.01,) * 4
    )  # its index does not lag
    yield server
    server.close()


def run_in(mode: str, server: RecordedServer, situation: Situation, **more: Any) -> Outcome:
    arguments = {**situation.arguments, **more}
    poll = arguments.pop("poll", 0.2)
    if mode in EXECUTE:
        server.definitions = {"orders"}
        return run_task(
            ConductorExecuteWorkflowOperator,
            workflow_name="orders",
            workflow_input={"mode": mode},
            wait_for_seconds=0.1,
            poll_interval=poll,
            **arguments,
            **ALL[mode],
        )
    return run_task(
        ConductorWorkflowSensor,
        workflow_id=server.add(correlation_id=mode),
        return_output=True,
        poke_interval=poll,
        **arguments,
        **situation.sensor,
        **ALL[mode],
    )


def in_all(modes: Mapping[str, Any], server: RecordedServer, situation: Situation, **more: Any) -> dict[str, Outcome]:
    """Each mode with a workflow of its own, all at the same time."""
    with ThreadPoolExecutor(len(modes)) as pool:
        futures = {mode: pool.submit(run_in, mode, server, situation, **more) for mode in modes}
        return {mode: future.result() for mode, future in futures.items()}


def words_of(outcome: Outcome) -> str:
    """The message, without what differs between any two runs: ids, addresses, moments, and which request it was."""
    text = re.sub(r"(GET|POST) /workflow/\S+ at", "<request> at", str(outcome.error))
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]+", "<id>", text)
    text = re.sub(r"(http://127\.0\.0\.1:)\d+", r"\1<port>", text)
    text = re.sub(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d UTC", "<time>", text)
    text = re.sub(r"\b\d+ (s|min)\b", "<duration>", text)
    # Which of the two it is depends on whether the last poll of poke mode was sent before the limit or at it.
    return re.sub(r"(is|has been) unreachable( for <duration>)?: ", "is unreachable: ", text)


@pytest.mark.parametrize("name", SITUATIONS)
def test_all_modes_are_alike(name: str, playing: RecordedServer) -> None:
    situation = SITUATIONS[name]
    outcomes = in_all(ALL, playing, situation)
    for mode, outcome in outcomes.items():
        told = "\n".join([mode, *outcome.lines, repr(outcome.error)])
        if situation.error is None:
            assert outcome.error is None, told
            if isinstance(situation.result, dict) and "progress" in situation.result:
                assert {key: outcome.result[key] for key in situation.result} == situation.result, told
            else:
                assert outcome.result == situation.result, told
        else:
            kinds = situation.error if isinstance(situation.error, tuple) else (situation.error, situation.error)
            assert type(outcome.error) is kinds[mode in SENSOR], told
            for words in situation.words:
                assert words in str(outcome.error), told
        if mode != "sensor reschedule" or NEVER_EXPIRE is not None:  # else each poke knows nothing of the one before
            for line in situation.lines:
                assert len([s for s in outcome.lines if line in s and not s.startswith("Still RUNNING")]) == 1, told
        if situation.then:
            assert playing.status(outcome.workflow_id) == situation.then, told
        if situation.then == "TERMINATED":
            assert "nightly_orders.wait" in playing.reason(outcome.workflow_id)
        deferred = "deferrable" in mode and name != "completed before the first look"
        assert outcome.deferrals == deferred, told
    assert len({words_of(outcome) for outcome in outcomes.values()}) == 1, "\n".join(map(words_of, outcomes.values()))
    starts = [body["input"]["mode"] for body in playing.started]
    assert sorted(starts) == sorted(EXECUTE), "each started once"


@pytest.mark.parametrize("leniency", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("name", LENIENT)
def test_a_lenient_sensor_skips_alike(name: str, leniency: str, playing: RecordedServer) -> None:
    situation = SITUATIONS[name]
    outcomes = in_all(SENSOR, playing, situation, **{leniency: True})
    for mode, outcome in outcomes.items():
        assert outcome.skipped, (mode, outcome.error)
        assert str(outcome.error).startswith(f"skipped ({leniency}): ")
        for words in situation.words:
            assert words in str(outcome.error), mode
        if situation.then:
            assert playing.status(outcome.workflow_id) == situation.then, mode
    assert len({words_of(outcome) for outcome in outcomes.values()}) == 1


def test_what_airflow_does_not_retry_is_an_airflow_fail_exception() -> None:
    assert issubclass(ConductorWorkflowFailedPermanentlyError, AirflowFailException)
    assert not issubclass(ConductorWorkflowFailedError, AirflowFailException)
