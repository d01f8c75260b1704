"""What a killed task leaves to a process that outlives it."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorSettings, detached_termination as detached
from airflow_provider_conductor.client.detached_termination import end_all, terminate_detached
from airflow_provider_conductor.testing import ConductorStandIn, Request

LOG = logging.getLogger("airflow.task")

REASON = "Airflow task was killed: d.t run r try 1"


def until(what: Any) -> None:
    give_up = time.monotonic() + 120
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_it_terminates_what_runs_and_only_that(conductor: ConductorStandIn) -> None:
    running, failed = conductor.add(), conductor.add("FAILED")
    terminate_detached(ConductorSettings(conductor.url), [running, failed], REASON, LOG)
    until(lambda: conductor.status(running) == "TERMINATED")
    assert conductor.reason(running) == REASON
    assert conductor.status(failed) == "FAILED"


def test_it_is_in_a_session_of_its_own_and_shows_no_secret(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3.3 sends SIGKILL to the process group of the task."""
    started: list[dict[str, Any]] = []
    popen = subprocess.Popen

    def noted(command: list[str], **options: Any) -> Any:
        started.append({"command": command, **options})
        return popen(command, **options)

    monkeypatch.setattr(subprocess, "Popen", noted)
    settings = ConductorSettings(conductor.url, headers={"X-Key": "very-secret"})
    workflow_id = conductor.add()
    terminate_detached(settings, [workflow_id], REASON, LOG)
    until(lambda: conductor.status(workflow_id) == "TERMINATED")
    (how,) = started
    assert how["command"] == [sys.executable, "-m", "airflow_provider_conductor.client.detached_termination"]
    assert how["start_new_session"] is True
    assert "env" not in how
    assert how["stdout"] == how["stderr"] == subprocess.DEVNULL, "Airflow waits for the end of a task's output"


def test_nothing_is_started_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(subprocess, "Popen")
    terminate_detached(ConductorSettings("http://localhost:1/api"), [], REASON, LOG)


def test_a_process_that_cannot_be_started_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    log = logging.getLogger("tests.detached")
    terminate_detached(ConductorSettings("http://localhost:1/api"), ["a", "b"], REASON, log)
    assert "terminate 2 workflows; they may still run" in caplog.text


def test_while_the_server_is_unreachable_it_tries_again(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    workflow_id = conductor.add()

    def come_back(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            conductor.instead = lambda request: None

    monkeypatch.setattr(detached.time, "sleep", come_back)
    conductor.instead = lambda request: (0, "", b"")
    settings = ConductorSettings(conductor.url, max_attempts=1)
    assert end_all(settings, [workflow_id], REASON, until=time.monotonic() + 600) == []
    assert conductor.status(workflow_id) == "TERMINATED"
    assert pauses == [0.5, 1.0]


@pytest.mark.parametrize("status", [401, 503])
def test_it_gives_up(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """At its end, or where the credentials are refused."""
    workflow_id = conductor.add()
    asked: list[Request] = []

    def refuse(request: Request) -> tuple[int, str, bytes]:
        asked.append(request)
        return status, "application/json", b'{"message": "no", "retryable": false}'

    conductor.instead = refuse
    settings = ConductorSettings(conductor.url, max_attempts=1)
    assert end_all(settings, [workflow_id], REASON, until=time.monotonic()) == [workflow_id]
    assert asked
