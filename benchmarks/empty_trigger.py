"""A trigger that does nothing: what Airflow itself costs for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

__all__ = ["EmptyTrigger"]


class EmptyTrigger(BaseTrigger):
    """Waits for ever. It carries an id, as every trigger does."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.workflow_id = workflow_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {"workflow_id": self.workflow_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.Event().wait()
        yield TriggerEvent({})
