"""Waiting on the oldest server served: no ``/status``, no index, and nothing sweeps."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_conductor.exceptions import (
    ConductorWorkflowFailedError,
    ConductorWorkflowFailedPermanentlyError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.sensors import ConductorWorkflowSensor
from tests.integration.waiting_lab import WaitingLab
from tests.waiting_modes.modes import run_task

pytestmark = pytest.mark.integration


@pytest.fixture
def lab(old_conductor_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[WaitingLab]:
    url = old_conductor_server.url
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", f'{{"conn_type": "conductor", "host": "{url}"}}')
    return WaitingLab(old_conductor_server.api_url)


@pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])
def test_a_retry_delay_is_told_and_waited_for(lab: WaitingLab, deferrable: bool) -> None:
    policy = {"charge_card": {"retryCount": 2, "retryLogic": "FIXED", "retryDelaySeconds": 20}}
    lab.begin(lab.workflow(lab.simple("charge_card"), policy=policy), deferrable=deferrable)
    lab.work("charge_card", "FAILED", reason="card service down")
    line = lab.hears("Conductor will retry it at")
    lab.work("charge_card", output={"paid": True})
    outcome = lab.completes()
    assert line.startswith("charge_card failed (attempt 1 of 3: card service down)")
    assert outcome.deferrals == deferrable


def test_a_pause_is_no_stall_and_a_resume_is_named(lab: WaitingLab) -> None:
    lab.begin(lab.workflow(lab.simple("charge_card")), stall_timeout=20)
    lab.hears("Still RUNNING")
    lab.client.pause_workflow(lab.workflow_id)
    lab.hears("paused since")
    time.sleep(21)
    lab.client.resume_workflow(lab.workflow_id)
    lab.hears("somebody resumed the workflow")
    lab.work("charge_card")
    lab.completes()


def test_a_stall_names_the_queue(lab: WaitingLab) -> None:
    outcome = lab.begin(lab.workflow(lab.simple("charge_card")), stall_timeout=12).done()
    assert type(outcome.error) is ConductorWorkflowTimeoutError
    assert re.search(r"no worker has ever polled queue 'charge_card_\w+'", str(outcome.error))
    assert lab.client.get_workflow(outcome.workflow_id).status == "TERMINATED"


def test_a_failure_is_explained(lab: WaitingLab) -> None:
    lab.begin(lab.workflow(lab.simple("charge_card")))
    task = lab.take("charge_card")
    lab.client.log_task(task.task_id, "no answer for 30 s")
    lab.client.update_task(
        task.data["workflowInstanceId"], task.task_id, "FAILED", {}, reason="card service down", worker_id="tester"
    )
    outcome = lab.done()
    assert type(outcome.error) is ConductorWorkflowFailedError
    assert "charge_card failed (attempt 1 of 1): card service down" in str(outcome.error).splitlines()[0]


def test_what_somebody_terminates_is_not_retried(lab: WaitingLab) -> None:
    lab.begin(lab.workflow(lab.simple("charge_card")))
    lab.hears("Still RUNNING")
    lab.client.terminate_workflow(lab.workflow_id, "cancelled by the customer")
    outcome = lab.done()
    assert type(outcome.error) is ConductorWorkflowFailedPermanentlyError
    assert "cancelled by the customer" in str(outcome.error)


def test_one_task_is_waited_for(lab: WaitingLab) -> None:
    lab.begin(lab.workflow(lab.simple("charge_card"), lab.simple("ship")), wait_until_task_ref="charge_card")
    lab.work("charge_card", output={"paid": True})
    outcome = lab.done()
    assert (outcome.result["status"], outcome.result["output"]) == ("RUNNING", {"paid": True})
    lab.client.terminate_workflow(outcome.workflow_id, "the test is over")


def test_without_an_index_what_is_not_found_is_gone(lab: WaitingLab) -> None:
    outcome = run_task(ConductorWorkflowSensor, workflow_id="no-such-" + lab.tag, deferrable=True)
    assert type(outcome.error) is ConductorWorkflowFailedError
    assert "how it ended is unknown" in str(outcome.error)
