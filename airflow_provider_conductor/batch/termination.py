"""What a kill, or a timeout, does with the active workflows of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from airflow_provider_conductor.batch.item_starts import ItemStarts
from airflow_provider_conductor.batch.item_tasks import ItemTasks
from airflow_provider_conductor.batch.patient_client import PatientClient
from airflow_provider_conductor.batch.plan import BatchPlan
from airflow_provider_conductor.batch.state import Batch
from airflow_provider_conductor.client.errors import ConductorRequestError
from airflow_provider_conductor.client.flows import read_many
from airflow_provider_conductor.client.termination import terminate_concurrently
from airflow_provider_conductor.submission.earlier_workflows import Action, Found, decide
from airflow_provider_conductor.submission.lookup import IDS_AT_ONCE

LAST_STARTS = 15.0
"""Seconds for starts under way to end once the task has been killed."""


@dataclass(slots=True, eq=False)
class BatchTermination:
    """Terminates the active workflows; what has ended meanwhile keeps its status."""

    batch: Batch
    plan: BatchPlan
    client: PatientClient
    starts: ItemStarts
    tasks: ItemTasks
    warn: Callable[[str], None]
    clock: Callable[[], float]
    terminated: int | None = None
    """How many were terminated; None if they were not to be, or could not be."""
    _sent: set[str] = field(default_factory=set)
    _not_running: set[str] = field(default_factory=set)

    @property
    def may_run(self) -> list[str]:
        """What may still run, as far as its ids are known."""
        return [workflow_id for workflow_id in self._known() if workflow_id not in self._not_running]

    async def run(self, reason: str | None) -> None:
        """Terminate what is active; with None it is only noted what runs.

        First what is known: the process may not live long enough for the rest. Then the starts under way, whose
        answers would otherwise be lost, and those whose answers were.
        """
        self.tasks.cancel_waits()
        failure: ConductorRequestError | None = None
        # A busy server takes long to terminate many: what is being started must not wait for that.
        for steps in ((self._terminate, self._await_starts), (self._find_lost_starts,), (self._find_earlier,)):
            for result in await asyncio.gather(*(step(reason) for step in steps), return_exceptions=True):
                if isinstance(result, ConductorRequestError):
                    failure = failure or result
                elif isinstance(result, BaseException):
                    raise result
        if failure is not None:
            self.terminated = None
            self.warn(f"the running workflows of the batch could not be terminated, and may still run: {failure}")

    def _known(self) -> dict[str, int]:
        """Workflow → place, of the active items whose ids are known."""
        return {workflow_id: index for index, workflow_id in self.batch.active_ids().items() if workflow_id}

    def _lost(self) -> list[int]:
        """The active items whose ids are not known."""
        return [index for index, workflow_id in self.batch.active_ids().items() if not workflow_id]

    async def _terminate(self, reason: str | None) -> None:
        if reason is None:
            return
        ids = [workflow_id for workflow_id in self.may_run if workflow_id not in self._sent]
        if not ids and self.terminated is not None:
            return
        self._sent.update(ids)
        places = self._known()
        done = await terminate_concurrently(self.client.run, ids, reason, on_done=self._not_running.update)
        for workflow_id, workflow in done.ended.items():
            self.batch.observe(places[workflow_id], workflow)
        self.terminated = (self.terminated or 0) + len(done.terminated)

    async def _await_starts(self, reason: str | None) -> None:
        """Let the starts under way end; what they have started is terminated as it becomes known."""
        end = self.clock() + LAST_STARTS
        while self.tasks.starting.intersection(self._lost()) and self.clock() < end:
            await self.tasks.wait_for_progress(end)
            await self._terminate(reason)
        await self.tasks.cancel()

    async def _find_lost_starts(self, reason: str | None) -> None:
        lost = self._lost()
        if lost and self.starts.findable:
            found = dict(zip(lost, await self.starts.look_up(lost), strict=True))
            found |= await self.starts.look_up_in_index([index for index in lost if not found[index]])
            for index in lost:
                decision = decide(self.plan.plan_of(index), found[index])
                if decision.action is Action.ATTACH and decision.workflow is not None:
                    self.batch.begin(index, decision.workflow.workflow_id)
                else:
                    self.batch.put_back(index)
        await self._terminate(reason)
        if reason is None:
            places = self._known()
            for workflow_id, workflow in (await self.client.run(read_many(list(places)))).items():
                self.batch.observe(places[workflow_id], workflow)

    async def _find_earlier(self, reason: str | None) -> None:
        """Terminate what an earlier try has left, where this one was killed before it had found that.

        First what a look-up finds, which is quick; then what only the search index shows.
        """
        if reason is None or not self.starts.findable or self.starts.taken_over or not self.plan.may_have_started:
            return
        missing: list[int] = []
        next_place = 0
        while places := self.batch.pending_from(next_place, IDS_AT_ONCE):
            next_place = places[-1] + 1
            found = dict(zip(places, await self.starts.look_up(places), strict=True))
            missing += [index for index in places if not found[index]]
            await self._terminate_found(found, reason)
        await self._terminate_found(await self.starts.look_up_in_index(missing), reason)

    async def _terminate_found(self, found: Mapping[int, Iterable[Found]], reason: str) -> None:
        beside: list[str] = []
        for index, items in found.items():
            running = [item.workflow.workflow_id for item in items if not item.workflow.status.ended]
            if running:
                self.batch.begin(index, running[0])
                beside += running[1:]  # of a start that was sent twice, or of an earlier series
        await self._terminate(reason)
        await terminate_concurrently(self.client.run, beside, reason)
