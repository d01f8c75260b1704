"""Many tasks that follow one workflow cost about the polls of one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from airflow_provider_conductor.testing import ConductorStandIn
from airflow_provider_conductor.triggers import ConductorWorkflowStepTrigger

STEPS = 300


def requests_for(conductor: ConductorStandIn, steps: int, seconds: float = 6.0) -> int:
    """How many requests arrive while so many steps of one workflow are followed."""
    opened = {"taskType": "x", "status": "IN_PROGRESS"}
    tasks = [{**opened, "taskId": str(n), "referenceTaskName": f"step_{n}", "seq": n} for n in range(STEPS)]
    workflow_id = conductor.add(tasks=tasks)
    before = len(conductor.requests)

    async def follow(ref: str) -> str:
        trigger = ConductorWorkflowStepTrigger(workflow_id=workflow_id, wait_until_task_ref=ref)
        (status,) = [event.payload["status"] async for event in trigger.run()]
        return str(status)

    async def follow_all() -> list[str]:
        waits = [asyncio.create_task(follow(f"step_{number}")) for number in range(steps)]
        await asyncio.sleep(seconds / 2)
        conductor.has_tasks(workflow_id, {**tasks[0], "status": "COMPLETED"}, *tasks[1:])
        await asyncio.sleep(seconds / 2)
        conductor.has_tasks(workflow_id, *({**task, "status": "COMPLETED"} for task in tasks))
        conductor.end(workflow_id, "COMPLETED")
        return await asyncio.gather(*waits)

    events = asyncio.run(follow_all())
    assert set(Counter(events)) <= {"task_ended", "COMPLETED"}
    return len(conductor.requests) - before


def test_three_hundred_steps_of_one_workflow_share_their_polls(
    conductor: ConductorStandIn, record_property: Callable[[str, object], None]
) -> None:
    one = requests_for(conductor, 1)
    many = requests_for(conductor, STEPS)
    record_property("counted", f"requests for 1 step: {one}; for {STEPS}: {many}")
    assert many <= 2 * one + 20
