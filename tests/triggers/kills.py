"""Triggers that Airflow cancels, because of a kill or otherwise."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_conductor._airflow import TaskNow, triggers_hear_of_kills
from airflow_provider_conductor.testing import ConductorStandIn
from airflow_provider_conductor.triggers import base
from airflow_provider_conductor.triggers.base import ConductorTrigger

KILLED = "Airflow task was killed"


def task_instance() -> Any:
    return SimpleNamespace(dag_id="orders", task_id="execute", run_id="run", map_index=-1, try_number=1)


async def run_until_cancelled(trigger: ConductorTrigger, conductor: ConductorStandIn) -> None:
    """The trigger in the middle of its wait, then cancelled, as the triggerer does."""
    running = asyncio.create_task(anext(trigger.run()))
    give_up = time.monotonic() + 10
    while not conductor.requests:
        assert time.monotonic() < give_up
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def stop_because_killed(trigger: ConductorTrigger, conductor: ConductorStandIn) -> None:
    """What Airflow does with the trigger of a task that was marked or cleared: 3.3 calls it, earlier ones cancel."""
    await run_until_cancelled(trigger, conductor)
    if triggers_hear_of_kills():
        await trigger.on_kill()


def now_in_state(monkeypatch: pytest.MonkeyPatch, state: str | None, *, deferred_last: bool = True) -> None:
    async def task_now(_: Any) -> TaskNow:
        return TaskNow(state, deferred_last=deferred_last)

    monkeypatch.setattr(base, "task_now", task_now)
