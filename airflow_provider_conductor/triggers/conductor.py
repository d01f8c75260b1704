"""The trigger that waits for a workflow in the triggerer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from airflow_provider_conductor.client.errors import ConductorError
from airflow_provider_conductor.version_compat import BaseTrigger, TriggerEvent
from airflow_provider_conductor.waiting.wait import WaitPlan, wait

__all__ = ["ConductorWorkflowTrigger"]


class ConductorWorkflowTrigger(BaseTrigger):
    """Fires one event when the workflow has ended, or the wait has.

    The event is ``{"workflow_id": …, "status": …, "message": …}``; ``status`` is a final workflow status, or
    ``timeout``, ``task_ended``, or ``error`` with the reason as message.

    Args:
        conductor_conn_id: id of the connection; it is looked up in the triggerer.
        plan: a :class:`~airflow_provider_conductor.waiting.wait.WaitPlan` as JSON: ids and numbers only.
    """

    def __init__(self, *, conductor_conn_id: str, plan: dict[str, Any]) -> None:
        super().__init__()
        self.conductor_conn_id = conductor_conn_id
        self.plan = plan

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"conductor_conn_id": self.conductor_conn_id, "plan": self.plan},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from airflow_provider_conductor.hooks.conductor import ConductorHook

        plan = WaitPlan(**self.plan)
        try:
            async with await ConductorHook(self.conductor_conn_id).async_client() as client:
                event = (await client.run(wait(plan, client.capabilities, self.log.info))).to_json()
        except ConductorError as error:
            event = {"workflow_id": plan.workflow_id, "status": "error", "message": str(error)}
        yield TriggerEvent(event)
