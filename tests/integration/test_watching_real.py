"""The poller on real servers: many waits, few requests, and every end seen."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
import requests

from airflow_provider_conductor.client import AsyncConductorClient, ConductorSettings, endpoints
from airflow_provider_conductor.client.endpoints.reading import whole_workflows
from airflow_provider_conductor.client.models import Task, Workflow, fields_of
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_event import WaitEvent
from airflow_provider_conductor.polling.wait_spec import WaitSpec

pytestmark = pytest.mark.integration

MANY = 120
FEW = 10

DEEP = 980
"""Lists in each other, in the input of one workflow."""


def definition(padding: int = 0) -> dict[str, Any]:
    """One task that waits for a signal."""
    signal = {"name": "signal", "taskReferenceName": "signal", "type": "WAIT"}
    fields = {"version": 1, "ownerEmail": "tests@example.com", "description": "x" * padding, "tasks": [signal]}
    return {"name": f"watched_{uuid.uuid4().hex[:8]}", **fields}


class Lab:
    """A poller on a real server, and another client that does things to workflows."""

    def __init__(self, api_url: str, **settings: Any) -> None:
        self.client = AsyncConductorClient(api_url)
        self.watching = AsyncConductorClient(ConductorSettings(api_url, **settings))
        self.poller = Poller(self.watching)
        self.waits: dict[str, asyncio.Task[WaitEvent]] = {}
        self.lines: list[str] = []

    async def __aenter__(self) -> Lab:
        return self

    async def __aexit__(self, *_: object) -> None:
        left = [workflow_id for workflow_id, waiting in self.waits.items() if not waiting.done()]
        for waiting in self.waits.values():
            waiting.cancel()
        await asyncio.gather(*self.waits.values(), return_exceptions=True)
        await self.poller.close()
        if left:
            for workflow_id in left:
                await self.client.send(endpoints.terminate_workflow(workflow_id))
        await self.client.close()

    async def start(self, count: int, padding: int = 0) -> list[str]:
        body = {"name": "", "workflowDef": definition(padding), "input": {}}
        body["name"] = body["workflowDef"]["name"]
        return [await self.client.send(endpoints.start_workflow(body)) for _ in range(count)]

    def wait_for(self, *workflow_ids: str, **plan: Any) -> None:
        for workflow_id in workflow_ids:
            whole = WaitSpec(workflow_id=workflow_id, started_at=time.time(), **plan)
            self.waits[workflow_id] = asyncio.create_task(self.poller.run(wait(whole, self.lines.append)))

    async def complete(self, *workflow_ids: str) -> None:
        for workflow_id in workflow_ids:
            await self.signal(workflow_id, "COMPLETED")

    async def signal(self, workflow_id: str, status: str) -> None:
        task = (await self.client.send(endpoints.get_workflow(workflow_id))).latest_attempt("signal")
        assert task is not None
        await self.client.send(endpoints.update_task(workflow_id, task.task_id, status))

    async def swept(self, times: int) -> None:
        """Until everything has been looked at so often more."""
        wanted = self.poller.counts.polls + times * len([w for w in self.waits.values() if not w.done()])
        await self.until(lambda: self.poller.counts.polls >= wanted)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not condition():  # noqa: ASYNC110 - a real server is what changes it
                await asyncio.sleep(0.05)

    async def events(self) -> dict[str, str]:
        async with asyncio.timeout(120):
            ended = await asyncio.gather(*self.waits.values())
        return {event.workflow_id: event.status for event in ended}


async def test_many_waits_share_their_requests_and_each_end_is_told(conductor_server: Any) -> None:
    async with Lab(conductor_server.api_url) as lab:
        ids = await lab.start(MANY)
        lab.wait_for(*ids, "no-such-workflow")
        await lab.swept(1)
        before = lab.poller.counts.requests
        looks = lab.poller.counts.polls
        await lab.swept(4)
        requests, looks = lab.poller.counts.requests - before, lab.poller.counts.polls - looks
        assert looks >= 4 * MANY
        assert requests <= looks / 10, "peers send one request a look"
        await lab.complete(*ids[: MANY - 2])
        await lab.client.send(endpoints.terminate_workflow(ids[-1], "enough"))
        await lab.signal(ids[-2], "FAILED_WITH_TERMINAL_ERROR")
        events = await lab.events()
        assert events.pop("no-such-workflow") == "gone"
        assert (events.pop(ids[-1]), events.pop(ids[-2])) == ("TERMINATED", "FAILED")
        assert set(events.values()) == {"COMPLETED"}
        assert len(events) == MANY - 2


async def test_waits_that_begin_with_an_id_alone_begin_in_bulk(conductor_server: Any) -> None:
    async with Lab(conductor_server.api_url) as lab:
        ids = await lab.start(MANY)
        lab.wait_for(*ids, "no-such-workflow")
        await lab.until(lambda: len(lab.lines) >= MANY)
        assert lab.poller.counts.requests <= MANY / 2
        await lab.complete(*ids[:FEW])
        await lab.until(lambda: sum(waiting.done() for waiting in lab.waits.values()) > FEW)
        assert {lab.waits[workflow_id].result().status for workflow_id in ids[:FEW]} == {"COMPLETED"}
        assert lab.waits["no-such-workflow"].result().status == "gone"


async def test_a_bulk_answer_with_tasks_has_what_a_read_of_each_has(conductor_server: Any) -> None:
    async with Lab(conductor_server.api_url) as lab:
        ids = await lab.start(4)
        await lab.signal(ids[1], "COMPLETED")
        await lab.signal(ids[2], "FAILED_WITH_TERMINAL_ERROR")
        await lab.client.send(endpoints.terminate_workflow(ids[3], "enough"))
        call = replace(endpoints.bulk_search(ids, include_tasks=True), parse=whole_workflows)
        found: Any = await lab.client.send(call)
        for workflow_id in ids:
            alone = await lab.client.send(endpoints.get_workflow(workflow_id))
            assert _as_read(found[workflow_id]) == _as_read(alone)
        await lab.client.send(endpoints.terminate_workflow(ids[0], "enough"))


def _as_read(workflow: Workflow) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All that the views read."""
    fields = [name for name in fields_of(Workflow) if name != "createTime"]
    of_tasks = [*fields_of(Task), "retried"]
    tasks = [{name: task.data.get(name) for name in of_tasks} for task in workflow.tasks]
    return {name: workflow.data.get(name) for name in fields}, tasks


async def test_large_workflows_are_not_read_in_bulk(conductor_server: Any) -> None:
    async with Lab(conductor_server.api_url) as lab:
        asked: list[str] = []
        send = lab.watching.send

        async def counting(call: Any) -> Any:
            if ("includeTasks", "true") not in call.params:  # a first poll reads the tasks, however large
                asked.append(call.path)
            return await send(call)

        lab.watching.send = counting  # type: ignore[method-assign]
        ids = await lab.start(FEW, padding=60_000)
        lab.wait_for(*ids)
        await lab.swept(6)
        assert asked.count("/workflow/bulk/search") == 1
        by_itself = {
            path for workflow_id in ids for path in (f"/workflow/{workflow_id}", f"/workflow/{workflow_id}/status")
        }
        assert sum(path in by_itself for path in asked) >= 4 * FEW
        await lab.complete(*ids)
        assert set((await lab.events()).values()) == {"COMPLETED"}


async def test_a_workflow_that_cannot_be_read_harms_no_other_wait(conductor_server: Any) -> None:
    """The server takes JSON that is nearly a thousand deep, of which Python 3.11 reads less."""
    async with Lab(conductor_server.api_url) as lab:
        sound = await lab.start(FEW)
        inline = definition()
        start = {"name": inline["name"], "workflowDef": inline, "input": {"deep": "HERE"}}
        body = json.dumps(start).replace('"HERE"', "[" * DEEP + "]" * DEEP)  # our own client refuses to send it
        headers = {"Content-Type": "application/json"}
        answer = await asyncio.to_thread(
            requests.post, f"{conductor_server.api_url}/workflow", data=body, headers=headers, timeout=60
        )
        deeper = answer.text
        lab.wait_for(*sound)
        await lab.swept(1)
        lab.wait_for(deeper)
        await lab.swept(2)
        assert not any(waiting.done() for waiting in lab.waits.values())
        await lab.complete(*sound)
        async with asyncio.timeout(120):
            ended = await asyncio.gather(*(lab.waits[workflow_id] for workflow_id in sound))
        assert {event.status for event in ended} == {"COMPLETED"}
        await lab.client.send(endpoints.terminate_workflow(deeper, "enough"))
        assert (await lab.events())[deeper] == "TERMINATED"


@pytest.mark.parametrize(
    "server",
    [pytest.param("conductor_server", marks=pytest.mark.lacks("event stream")), "old_conductor_server"],
    ids=["newest", "oldest"],
)
async def test_a_server_without_the_event_stream_is_polled(server: str, request: pytest.FixtureRequest) -> None:
    """The oldest is asked one by one, since it has no bulk requests either."""
    async with Lab(request.getfixturevalue(server).api_url, completion_stream=True) as lab:
        ids = await lab.start(FEW)
        lab.wait_for(*ids)
        await lab.swept(3)
        await lab.complete(*ids)
        assert set((await lab.events()).values()) == {"COMPLETED"}


@pytest.mark.needs("event stream")
async def test_the_event_stream_tells_of_the_end(conductor_server: Any) -> None:
    """The waits poll once in ten minutes: an end seen in less was heard."""
    async with Lab(conductor_server.api_url, completion_stream=True) as lab:
        ids = await lab.start(FEW)
        listen, heard = lab.watching.listen, set()

        async def listening(workflow_id: str) -> AsyncIterator[str]:
            async for event in listen(workflow_id):
                heard.add(workflow_id)
                yield event

        lab.watching.listen = listening  # type: ignore[method-assign]
        lab.wait_for(*ids, poll_interval=600.0)
        await lab.until(lambda: heard == set(ids))
        looks = lab.poller.counts.polls
        await lab.complete(*ids[:5])
        await lab.client.send(endpoints.terminate_workflow(ids[5], "enough"))
        await lab.until(lambda: sum(waiting.done() for waiting in lab.waits.values()) >= 6)
        assert lab.poller.counts.polls - looks <= 6 * 4
        await lab.complete(*ids[6:])
        events = await lab.events()
        assert events.pop(ids[5]) == "TERMINATED"
        assert set(events.values()) == {"COMPLETED"}


@pytest.mark.parametrize("padding", [0, 60_000])
async def test_a_wait_that_is_cancelled_is_not_asked_about(conductor_server: Any, padding: int) -> None:
    async with Lab(conductor_server.api_url) as lab:
        ids = await lab.start(2, padding=padding)
        lab.wait_for(*ids)
        await lab.swept(2)
        for waiting in lab.waits.values():
            waiting.cancel()
        await asyncio.gather(*lab.waits.values(), return_exceptions=True)
        looks = lab.poller.counts.polls
        await asyncio.sleep(3)
        assert lab.poller.counts.polls == looks
        assert lab.poller.counts.waits == 0
        for workflow_id in ids:
            await lab.client.send(endpoints.terminate_workflow(workflow_id))
