"""Running a batch: at most so many workflows at a time, each started once, all waited for by one poller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from airflow_provider_conductor.batch.item_starts import ItemStarts
from airflow_provider_conductor.batch.item_tasks import ItemTasks
from airflow_provider_conductor.batch.patient_client import PatientClient
from airflow_provider_conductor.batch.plan import BatchOutcome, BatchPlan
from airflow_provider_conductor.batch.state import Batch
from airflow_provider_conductor.batch.termination import BatchTermination
from airflow_provider_conductor.client.flow import steady
from airflow_provider_conductor.client.flows import read_many
from airflow_provider_conductor.client.termination import terminate
from airflow_provider_conductor.polling.poll_pause import PollPause, Revision
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait import wait
from airflow_provider_conductor.polling.wait_event import STALLED
from airflow_provider_conductor.polling.wait_spec import WaitSpec, WaitState

FIRST_POLL = 0.5
"""Seconds from a start to the first poll, at least."""

TOGETHER = 1.0
"""Workflows that are started within the same second are polled together."""

FIRST_READ_OF_TASKS = 60.0
"""Seconds after which a wait reads its workflow's tasks for the first time; until then the bulk answers do."""

TAKEOVER = 2.0
"""Seconds in which a worker that takes over reads by itself what the triggerer has seen."""

WARNINGS = 5
"""Warnings about single workflows that are logged; further ones would repeat them."""


def waiting_for(
    workflow_id: str, now: float, *, began: float, stall_timeout: float | None, poll_interval: float | None
) -> tuple[WaitSpec, WaitState]:
    """A wait that begins with a pause, so that its first polls are shares of bulk requests.

    With a ``stall_timeout`` it begins by reading the tasks, which alone show whether the workflow progresses.

    Args:
        began: when it was first waited for; a time without progress before that does not count.
    """
    spec = WaitSpec(workflow_id=workflow_id, started_at=began, stall_timeout=stall_timeout, poll_interval=poll_interval)
    if stall_timeout is not None:
        return spec, WaitState()
    pause = PollPause(
        0.0,
        workflow_id=workflow_id,
        revision=Revision("RUNNING"),
        started=now,
        poll_interval=poll_interval,
        wake_at=now + FIRST_READ_OF_TASKS,
        blind_wake_at=now + FIRST_READ_OF_TASKS,
    )
    return spec, WaitState(pause=pause)


class Driver:
    """Drives one batch in an event loop; :meth:`run` may be called once. Tests replace ``clock`` and ``sleep``."""

    def __init__(
        self,
        batch: Batch,
        plan: BatchPlan,
        poller: Poller,
        log: Callable[[str], None],
        warn: Callable[[str], None],
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.batch, self.plan, self.poller, self.sleep, self._warn = batch, plan, poller, sleep, warn
        self.clock = clock = clock or steady(time.time, time.monotonic)
        self._warnings = 0
        self._kill = asyncio.Event()
        self._kill_reason: str | None = None
        killed = self._kill.is_set
        self.client = PatientClient(poller.client, plan.deadline, clock, sleep, warn, killed)
        self.tasks = ItemTasks(clock)
        self.starts = ItemStarts(
            batch, plan, self.client, log, warn, self._warn_of_one, sleep, killed, taken_over=plan.looked_up
        )
        self.termination = BatchTermination(batch, plan, self.client, self.starts, self.tasks, warn, clock)

    def kill(self, reason: str | None) -> None:
        """The task is killed: start nothing more, and terminate what runs; with None that is left running."""
        self._kill_reason = reason
        self._kill.set()

    async def run(self, patience: float | None = None) -> BatchOutcome:
        """Start and wait until everything has ended.

        Args:
            patience: seconds without any start or end after which the caller takes the wait elsewhere.

        Raises:
            ConductorError: no item can be started, or waiting for an answer cannot help.
        """
        work = asyncio.ensure_future(self._work(patience))
        kill = asyncio.ensure_future(self._kill.wait())
        try:
            await asyncio.wait((work, kill), return_when=asyncio.FIRST_COMPLETED)
            if not self._kill.is_set():
                return await work
            # Whatever it is doing, waiting for an unreachable server perhaps: a killed task has only seconds.
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self.termination.run(self._kill_reason)
            return BatchOutcome.KILLED
        finally:
            for task in (work, kill):
                task.cancel()
            await asyncio.gather(work, kill, return_exceptions=True)
            await self.tasks.cancel()

    async def _work(self, patience: float | None) -> BatchOutcome:
        await self._resume_waits()
        if self.plan.may_have_started and not self.plan.looked_up:
            for index in await self.starts.take_over():
                self._launch(index)
        while True:
            if self.tasks.error is not None:
                raise self.tasks.error
            if self.plan.deadline is not None and self.clock() >= self.plan.deadline:
                await self.termination.run(self.plan.timeout_reason)
                return BatchOutcome.TIMEOUT if self.batch.active or self.batch.pending else BatchOutcome.ENDED
            await self._start_more()
            if not self.batch.active and (not self.batch.pending or self.plan.starts_no_more()):
                return BatchOutcome.ENDED
            until = [] if self.plan.deadline is None else [self.plan.deadline]
            if patience is not None and not self.tasks.starting and self.starts.findable:
                quiet_at = self.tasks.moved_at + patience
                if self.clock() >= quiet_at:
                    return BatchOutcome.QUIET
                until.append(quiet_at)
            await self.tasks.wait_for_progress(min(until, default=None))

    async def _resume_waits(self) -> None:
        """Wait for what another process has waited for, unless it has ended meanwhile."""
        self.tasks.moved_at = self.clock()
        places = {workflow_id: index for index, workflow_id in self.batch.active_ids().items()}
        if not places:
            return
        workflows = await self.client.run_patiently(partial(read_many, list(places)))
        for workflow_id, index in places.items():
            if workflow_id in workflows:
                self.batch.observe(index, workflows[workflow_id])
            elif workflow_id in self.plan.completed_elsewhere:
                self.batch.complete(index)
        for index, workflow_id in self.batch.active_ids().items():
            self.tasks.launch(index, self._wait_for(index, workflow_id, self.batch.began))
        self.tasks.moved_at = self.clock() + TAKEOVER

    async def _start_more(self) -> None:
        """Start items until as many are active as may be."""
        while self.batch.active < self.plan.max_active and not self.plan.starts_no_more() and not self._kill.is_set():
            next_places = self.batch.pending_from(0, 1)
            if not next_places:
                return
            if await self.starts.prepare(next_places[0]):
                self._launch(next_places[0])

    def _launch(self, index: int) -> None:
        self.batch.begin(index)
        self.tasks.launch(index, self._run_item(index), starting=True)

    async def _run_item(self, index: int) -> None:
        """Start one item, once, and wait for it."""
        workflow_id = await self.starts.start(index)
        if workflow_id:
            self.tasks.started(index)
            await self.sleep(FIRST_POLL + -self.clock() % TOGETHER)
            await self._wait_for(index, workflow_id, self.clock())

    async def _wait_for(self, index: int, workflow_id: str, began: float) -> None:
        plan = self.plan
        limits = {"stall_timeout": plan.stall_timeout, "poll_interval": plan.poll_interval}
        spec, state = waiting_for(workflow_id, self.clock(), began=began, **limits)
        event = await self.poller.run(wait(spec, lambda _: None, state=state, warn=self._warn_of_one))
        completed = event.status == "COMPLETED"
        if event.status == STALLED and plan.timeout_reason is not None:
            done = await self.client.run_patiently(partial(terminate, [workflow_id], plan.timeout_reason))
            completed = workflow_id in done.ended and done.ended[workflow_id].status.successful
        if completed:
            self.batch.complete(index)
        else:
            self.batch.fail(index, event.status.upper(), event.message)

    def _warn_of_one(self, line: str) -> None:
        self._warnings += 1
        if self._warnings <= WARNINGS:
            self._warn(line)
        if self._warnings == WARNINGS:
            self._warn("further warnings about single workflows are not logged")
