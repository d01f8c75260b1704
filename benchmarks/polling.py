"""How others ask: the patterns that the waits are measured beside, as plainly as they can be written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import aiohttp

__all__ = ["bulk_search", "new_session_per_poll", "pooled_polls"]

AT_ONCE = 16


async def new_session_per_poll(api_url: str, workflow_ids: Sequence[str]) -> None:
    """A session for each poll of each wait, as the trigger of dbt Cloud has it."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def poll(workflow_id: str) -> None:
        async with (
            gate,
            aiohttp.ClientSession() as session,
            session.get(f"{api_url}/workflow/{workflow_id}/status") as answer,
        ):
            answer.raise_for_status()
            assert (await answer.json())["workflowId"] == workflow_id

    await asyncio.gather(*map(poll, workflow_ids))


async def pooled_polls(session: aiohttp.ClientSession, api_url: str, workflow_ids: Sequence[str]) -> None:
    """One request for each wait, over kept connections."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def poll(workflow_id: str) -> None:
        async with gate, session.get(f"{api_url}/workflow/{workflow_id}/status") as answer:
            answer.raise_for_status()
            assert (await answer.json())["workflowId"] == workflow_id

    await asyncio.gather(*map(poll, workflow_ids))


async def bulk_search(session: aiohttp.ClientSession, api_url: str, workflow_ids: Sequence[str]) -> None:
    """The bare request, and its JSON."""
    async with session.post(
        f"{api_url}/workflow/bulk/search", params={"includeTasks": "false"}, json=list(workflow_ids)
    ) as answer:
        answer.raise_for_status()
        found = json.loads(await answer.read())["bulkSuccessfulResults"]
    assert len(found) == len(workflow_ids)
