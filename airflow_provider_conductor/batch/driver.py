"""Running a batch: at most so many workflows at a time, each started once, all waited for by one poller."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import Any

from airflow_provider_conductor.batch.state import REFUSED, Batch
from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorConfigError,
    ConductorDefinitionNotFoundError,
    ConductorMissingRouteError,
    ConductorRequestError,
    NotConductorError,
)
from airflow_provider_conductor.client.flow import steady
from airflow_provider_conductor.client.flows import read_many
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.client.termination import terminate, terminate_concurrently
from airflow_provider_conductor.polling.next_poll import next_poll_after_failure
from airflow_provider_conductor.polling.observation import REFUSALS
from airflow_provider_conductor.polling.poll_pause import PollPause, Revision
from airflow_provider_conductor.polling.poller import Poller
from airflow_provider_conductor.polling.wait import STALLED, WaitEvent, WaitPlan, wait
from airflow_provider_conductor.submission.earlier_workflows import Action, Found
from airflow_provider_conductor.submission.errors import (
    StartRefusedError,
    TaskKilledError,
    WorkflowTerminatedError,
)
from airflow_provider_conductor.submission.kill_check import unless_killed
from airflow_provider_conductor.submission.lookup import (
    ARCHIVED_AT_ONCE,
    IDS_AT_ONCE,
    LOOKUP_PAUSES,
    look_up,
    look_up_archived,
)
from airflow_provider_conductor.submission.start_once import start_once
from airflow_provider_conductor.submission.start_plan import StartPlan
from airflow_provider_conductor.submission.start_record import StartRecord

__all__ = ["BatchOutcome", "BatchPlan", "Driver", "waiting_for"]

STARTS_AT_ONCE = 8
"""Starts under way at the same time; the server is what bounds them, and the rest of the pool is the poller's."""

FIRST_LOOK = 0.5
"""Seconds from a start to the first look, at least."""

FIRST_LOOK_AT_TASKS = 60.0
"""Seconds after which a wait reads its workflow's tasks for the first time; until then a line of a bulk answer does."""

LOOK_AGAIN = 2.0
"""Seconds in which a worker that takes over finds out for itself what the triggerer has seen."""

WARNINGS = 5
"""Warnings of single waits that are told; after that they are the same in other words."""

PATIENCE_WHEN_KILLED = 15.0
"""Seconds for starts under way to come to an end when the task is killed."""


class BatchOutcome(Enum):
    ENDED = "ended"
    """All items have ended, or those that were started have and no more are."""
    QUIET = "quiet"
    """Nothing has moved for the caller's patience: the wait can go on elsewhere."""
    TIMEOUT = "timeout"
    KILLED = "killed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """How a batch is run. Moments are seconds since the epoch, durations seconds.

    Args:
        plan_of: place → what to start; made anew at each call, so that inputs are not held twice.
        max_active: how many may run at a time.
        may_have_started: whether an earlier try, or another process of this one, may have left workflows.
        looked_up: whether earlier running ones have been found already, in another process of this try.
        starts_no_more: asked before each start: the batch has failed, and is not to go on.
        deadline: when the wait is over.
        timeout_reason: given to what is terminated then, and after a standstill; None leaves it running.
    """

    plan_of: Callable[[int], StartPlan]
    max_active: int
    may_have_started: bool = False
    looked_up: bool = False
    starts_no_more: Callable[[], bool] = lambda: False
    deadline: float | None = None
    stall_timeout: float | None = None
    poll_interval: float | None = None
    timeout_reason: str | None = None


def waiting_for(
    workflow_id: str, now: float, *, began: float, stall_timeout: float | None, poll_interval: float | None
) -> WaitPlan:
    """A wait that begins at rest: its first looks are shares of bulk requests.

    ``began`` is when it was first waited for; a standstill before that never counts. Where one is to be told, only the
    tasks show it: then it begins with a look at them.
    """
    rest = PollPause(
        0.0,
        workflow_id=workflow_id,
        revision=Revision("RUNNING"),
        started=now,
        poll_interval=poll_interval,
        wake_at=now + FIRST_LOOK_AT_TASKS,
        blind_wake_at=now + FIRST_LOOK_AT_TASKS,
    )
    return WaitPlan(
        workflow_id=workflow_id,
        started_at=began,
        stall_timeout=stall_timeout,
        poll_interval=poll_interval,
        rest=rest.to_json() if stall_timeout is None else None,
    )


@dataclass(slots=True, eq=False)
class Driver:
    """Drives one batch in an event loop; :meth:`run` may be called once.

    Args:
        batch: where it stands; changed as it goes on.
        say, warn: take lines for people.
        clock, sleep: replaced by tests.
    """

    batch: Batch
    plan: BatchPlan
    poller: Poller
    say: Callable[[str], None]
    warn: Callable[[str], None]
    clock: Callable[[], float] = field(default_factory=lambda: steady(time.time, time.monotonic))
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    findable: bool = True
    """False where this server does not find workflows by their correlation ids: then they must not be let go of."""
    terminated: int | None = None
    """How many were terminated when it was killed or out of time; None where they were not, or could not be."""
    _being_ended: set[str] = field(default_factory=set)
    _not_running: set[str] = field(default_factory=set)
    """Those that have been terminated, or found to have ended, since it was killed or out of time."""
    _waits: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _starting: set[int] = field(default_factory=set)
    _found: dict[int, tuple[Found, ...]] = field(default_factory=dict)
    _at_risk: set[int] = field(default_factory=set)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _moved_at: float = 0.0
    _error: BaseException | None = None
    _kill: asyncio.Event = field(default_factory=asyncio.Event)
    _kill_reason: str | None = None
    _probed: bool = False
    _has_earlier: bool = False
    _warnings: int = 0
    _posts: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(STARTS_AT_ONCE))

    async def run(self, patience: float | None = None) -> BatchOutcome:
        """Start and wait until everything has ended.

        Args:
            patience: seconds without any movement after which the caller takes the wait elsewhere.

        Raises:
            ConductorAuthError: the server refuses the credentials.
            StartRefusedError: there is no such definition.
        """
        self._moved_at = self.clock()
        self._has_earlier = self.plan.looked_up
        work = asyncio.ensure_future(self._work(patience))
        kill = asyncio.ensure_future(self._kill.wait())
        try:
            await asyncio.wait((work, kill), return_when=asyncio.FIRST_COMPLETED)
            if not self._killed:
                return await work
            # Whatever it is doing, asking a server that is away perhaps: a killed task has but seconds.
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self._end(self._kill_reason)
            return BatchOutcome.KILLED
        finally:
            tasks = (work, kill, *self._waits.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, patience: float | None) -> BatchOutcome:
        await self._take_over()
        if self.plan.may_have_started and not self.plan.looked_up:
            await self._find_earlier()
        return await self._drive(patience)

    async def _take_over(self) -> None:
        """What was waited for elsewhere: note which have ended, and wait for the others."""
        places = {workflow_id: index for index, workflow_id in self.batch.active_ids().items()}
        if places:
            self._settle(places, await self._patiently(partial(read_many, list(places))))
        for index, workflow_id in self.batch.active_ids().items():
            self._launch(index, self._wait_for(index, workflow_id, self.batch.began))
        self._moved_at = self.clock() + (LOOK_AGAIN if places else 0.0)

    def _settle(self, places: Mapping[str, int], workflows: Mapping[str, Workflow]) -> None:
        """Note those that have ended."""
        for workflow_id, workflow in workflows.items():
            if workflow.status.successful:
                self.batch.complete(places[workflow_id])
            elif workflow.status.ended:
                self.batch.fail(places[workflow_id], str(workflow.status), workflow.reason)

    def kill(self, reason: str | None) -> None:
        """The task is killed: start nothing more, and terminate what runs; with None that is left running."""
        self._kill_reason = reason
        self._kill.set()

    @property
    def _killed(self) -> bool:
        return self._kill.is_set()

    @property
    def left(self) -> list[str]:
        """What may still run, as far as its ids are known."""
        return [workflow_id for workflow_id in self._known() if self._may_run(workflow_id)]

    def _may_run(self, workflow_id: str) -> bool:
        return workflow_id not in self._not_running

    async def _drive(self, patience: float | None) -> BatchOutcome:
        while True:
            if self._error is not None:
                raise self._error
            now = self.clock()
            if self.plan.deadline is not None and now >= self.plan.deadline:
                await self._end(self.plan.timeout_reason)
                return BatchOutcome.TIMEOUT if self.batch.active or self.batch.pending else BatchOutcome.ENDED
            await self._start_more()
            if not self.batch.active and (not self.batch.pending or self.plan.starts_no_more()):
                return BatchOutcome.ENDED
            quiet_at = None
            if patience is not None and not self._starting and self.findable:
                quiet_at = self._moved_at + patience
                if self.clock() >= quiet_at:
                    return BatchOutcome.QUIET
            await self._until_moved(min((at for at in (self.plan.deadline, quiet_at) if at is not None), default=None))

    async def _until_moved(self, at: float | None) -> None:
        """Until an item has got on, or the moment has come."""
        if at is None:
            await self._moved.wait()
        else:
            moved = asyncio.ensure_future(self._moved.wait())
            try:
                await asyncio.wait((moved,), timeout=max(0.0, at - self.clock()))
            finally:
                moved.cancel()
        self._moved.clear()

    def _launch(self, index: int, work: Coroutine[Any, Any, None], *, starting: bool = False) -> None:
        self.batch.begin(index)
        if starting:
            self._starting.add(index)
        task = asyncio.create_task(work)
        self._waits[index] = task
        task.add_done_callback(lambda done: self._done(index, done))

    def _done(self, index: int, task: asyncio.Task[None]) -> None:
        self._waits.pop(index, None)
        self._starting.discard(index)
        self._moved_at = self.clock()
        if not task.cancelled() and task.exception() is not None:
            self._error = self._error or task.exception()
        self._moved.set()

    # What earlier tries left

    async def _find_earlier(self) -> None:
        """Before anything is started: keep what has completed, and go on with what runs."""
        everything = self.batch.pending_from(0, self.batch.total)
        running: list[int] = []
        leftovers: dict[str, str] = {}
        nothing, missing = everything, dict.fromkeys(everything)
        try:
            for pause in LOOKUP_PAUSES:
                # What the earlier try sent last may come to light a little later.
                places = self._may_come_to_light(nothing) if pause else nothing
                if not places:
                    break
                await self.sleep(pause)
                again: list[int] = []
                for index, found in zip(places, await self._look_up(places), strict=True):
                    if not found:
                        again.append(index)
                        continue
                    missing.pop(index)
                    if self._is_running(index, found, leftovers):
                        running.append(index)
                if pause:
                    self._at_risk.update(again)
                nothing = again
            await self._find_archived(list(missing), leftovers)
        except ConductorMissingRouteError as error:
            self.findable = False
            self.warn(f"{error}, so workflows of earlier tries cannot be found: they are started again")
            return
        for reason in set(leftovers.values()):
            ids = [workflow_id for workflow_id, why in leftovers.items() if why == reason]
            await self._patiently(partial(terminate, ids, reason))
        self.batch.before = self.batch.ended
        self.say(
            f"an earlier try has left {self.batch.completed:,} completed workflows, which are kept, and "
            f"{len(running):,} that run, which are waited for"
        )
        for index in running:
            self._launch(index, self._run_item(index), starting=True)
        self._has_earlier = True

    async def _find_archived(self, missing: list[int], leftovers: dict[str, str]) -> None:
        """Keep what has completed and was archived since, which only the search index knows.

        Items are sent in order, so as many without a trace as may run at a time are the end of those that were.
        """
        without = 0
        for begin in range(0, len(missing), ARCHIVED_AT_ONCE):
            places = missing[begin : begin + ARCHIVED_AT_ONCE]
            plans = [self.plan.plan_of(index) for index in places]
            for index, found in zip(places, await self._patiently(partial(look_up_archived, plans)), strict=True):
                without = 0 if found else without + 1
                if found and not self._is_running(index, found, leftovers) and self.batch.is_pending(index):
                    self._found[index] = found
            if without >= self.plan.max_active:
                return

    def _may_come_to_light(self, nothing: list[int]) -> list[int]:
        """Of the places of which nothing is there, those that may have been sent: items are sent in order."""
        first = nothing[: self.plan.max_active]
        last = max((index for index in range(self.batch.total) if not self.batch.is_pending(index)), default=0)
        near = [index for index in nothing if abs(index - last) <= self.plan.max_active]
        return sorted({*first, *near})

    def _is_running(self, index: int, found: tuple[Found, ...], leftovers: dict[str, str]) -> bool:
        """Keep what has completed; note what is to be terminated; whether one runs that is gone on with."""
        plan = self.plan.plan_of(index)
        decision = plan.decide(found)
        leftovers |= decision.to_terminate
        workflow = decision.workflow
        if decision.action is not Action.ATTACH or workflow is None:
            return False
        if workflow.status.successful:
            self.batch.complete(index, workflow.workflow_id)
            return False
        self._found[index] = found
        return True

    async def _look_up(self, places: list[int]) -> list[tuple[Found, ...]]:
        chunks = [places[i : i + IDS_AT_ONCE] for i in range(0, len(places), IDS_AT_ONCE)]
        found = [
            await self._patiently(partial(look_up, [self.plan.plan_of(index) for index in chunk])) for chunk in chunks
        ]
        return list(itertools.chain.from_iterable(found))

    async def _patiently(self, flow_of: Callable[[], Any]) -> Any:
        """A flow that reads, or may be repeated: while Conductor is unreachable it begins again, until the deadline."""
        for failures in itertools.count(1):
            try:
                return await self.poller.client.run(flow_of())
            except ConductorRequestError as error:
                if not _passes(error, failures) or self._killed:
                    raise
                if failures == 1:
                    self.say(f"Conductor is unreachable; the batch goes on: {error}")
                await self._pause(failures, error)
        raise AssertionError  # pragma: no cover - the loop has no end

    async def _pause(self, failures: int, error: ConductorRequestError) -> None:
        now = self.clock()
        if self.plan.deadline is not None and now >= self.plan.deadline:
            raise error
        at = next_poll_after_failure(
            failures, now, jitter=0.5, poll_by=self.plan.deadline, retry_after=error.retry_after
        )
        await self.sleep(at - now)

    # Starting

    async def _start_more(self) -> None:
        """Start items until as many are active as may be."""
        while self.batch.active < self.plan.max_active and not self.plan.starts_no_more() and not self._killed:
            index = self.batch.next_to_start()
            if index is None:
                return
            if self.plan.may_have_started and index not in self._found:
                await self._find_next(index)
                continue
            self._launch(index, self._run_item(index), starting=True)

    async def _find_next(self, index: int) -> None:
        """What is there of this item and those after it; failed workflows of an earlier try are run on."""
        places = [i for i in self.batch.pending_from(index, IDS_AT_ONCE) if i not in self._found]
        if not self.findable:
            self._found |= dict.fromkeys(places, ())
            return
        self._found |= dict(zip(places, await self._look_up(places), strict=True))

    async def _run_item(self, index: int) -> None:
        """Start one item, once, and wait for it."""
        started = await self._start(index)
        if started:
            await self._probe(index, started)
            self._starting.discard(index)
            self._moved_at = self.clock()
            self._moved.set()
            # On the second: those started within the same one are looked at together.
            await self.sleep(FIRST_LOOK + -self.clock() % 1.0)
            await self._wait_for(index, started, self.clock())

    async def _start(self, index: int) -> str:
        """The id of the item's workflow, "" where there is none to wait for: it has ended, or is refused."""
        plan = replace(
            self.plan.plan_of(index),
            record=None,
            keeps_records=True,
            found=self._found.pop(index, ()),
            check_duplicates=index in self._at_risk,
        )
        put_down: list[StartRecord] = []
        for failures in itertools.count(1):
            try:
                async with self._posts:
                    if self._killed or self._error is not None:
                        self.batch.put_back(index)
                        return ""
                    start = start_once(plan, log=lambda _: None, warn=self._warn, save=put_down.append)
                    started = await self.poller.client.run(unless_killed(start, lambda: self._killed))
            except TaskKilledError:
                if not put_down:
                    self.batch.put_back(index)
                elif put_down[-1].workflow_id is not None:
                    self.batch.begin(index, put_down[-1].workflow_id)
                return ""  # and if it was sent without an answer, it is looked for
            except WorkflowTerminatedError as error:
                self.batch.fail(index, "TERMINATED", error.workflow.reason, error.workflow.workflow_id)
                return ""
            except StartRefusedError as error:
                if isinstance(error.__cause__, ConductorDefinitionNotFoundError):
                    self._error = error  # now, so that none of the others is sent any more
                    raise
                self.batch.fail(index, REFUSED, str(error))
                return ""
            except ConductorRequestError as error:
                if not _passes(error, failures):
                    raise
                if failures == 1:
                    self._warn(f"Conductor is unreachable; the batch goes on: {error}")
                await self._pause(failures, error)
                (found,) = await self._patiently(partial(look_up, [plan]))
                plan = replace(plan, found=found, check_duplicates=True)
            else:
                self.batch.begin(index, started.workflow_id)
                return started.workflow_id
        raise AssertionError  # pragma: no cover - the loop has no end

    async def _probe(self, index: int, workflow_id: str) -> None:
        """After the first start: whether this server finds workflows by their correlation ids at all."""
        if self._probed or self.plan.looked_up:
            return
        self._probed = True
        for pause in LOOKUP_PAUSES:
            await self.sleep(pause)
            try:
                (found,) = await self._look_up([index])
            except ConductorMissingRouteError:
                break
            if any(item.workflow.workflow_id == workflow_id for item in found):
                return
        self.findable = False
        self.warn(
            "this server does not find workflows by their correlation id: it has no look-up, or a slow index. This try "
            "keeps the ids in memory and is not deferred; a try after a crash starts workflows again"
        )

    def _warn(self, line: str) -> None:
        self._warnings += 1
        if self._warnings <= WARNINGS:
            self.warn(line)
        if self._warnings == WARNINGS:
            self.warn("further warnings of single workflows are not told")

    # Waiting

    async def _wait_for(self, index: int, workflow_id: str, began: float) -> None:
        plan = waiting_for(
            workflow_id,
            self.clock(),
            began=began,
            stall_timeout=self.plan.stall_timeout,
            poll_interval=self.plan.poll_interval,
        )
        self.batch.begin(index, workflow_id)
        event: WaitEvent = await self.poller.run(wait(plan, lambda _: None, warn=self._warn))
        if event.status == "COMPLETED":
            self.batch.complete(index)
            return
        if event.status == STALLED and self.plan.timeout_reason is not None:
            done = await self._patiently(partial(terminate, [workflow_id], self.plan.timeout_reason))
            if workflow_id in done.ended and done.ended[workflow_id].status.successful:
                self.batch.complete(index)
                return
        self.batch.fail(index, event.status.upper(), event.message)

    # Ending

    async def _end(self, reason: str | None) -> None:
        """Terminate what is active; what has ended meanwhile keeps its end, and counts as such.

        What is known comes first: the process may not live long enough for the rest. Then the starts that are under
        way, whose unheard answers would leave orphans, and those of unknown fate.
        """
        for index, task in self._waits.items():
            if index not in self._starting:
                task.cancel()
        failure: ConductorRequestError | None = None
        # A busy server takes long to terminate many: what is being started is not to wait for that.
        for steps in ((self._terminate, self._until_started), (self._end_unknown,), (self._end_earlier,)):
            for result in await asyncio.gather(*(step(reason) for step in steps), return_exceptions=True):
                if isinstance(result, ConductorRequestError):
                    failure = failure or result
                elif isinstance(result, BaseException):
                    raise result
        if failure is not None:
            self.terminated = None
            self.warn(f"the running workflows of the batch could not be terminated, and may still run: {failure}")

    def _known(self) -> dict[str, int]:
        """Workflow → place, of the active ones whose ids are known."""
        return {workflow_id: index for index, workflow_id in self.batch.active_ids().items() if workflow_id}

    async def _terminate(self, reason: str | None) -> None:
        """Terminate what is known to be active."""
        if reason is None:
            return
        places = {
            workflow_id: place
            for workflow_id, place in self._known().items()
            if self._may_run(workflow_id) and workflow_id not in self._being_ended
        }
        if not places and self.terminated is not None:
            return
        self._being_ended.update(places)
        done = await terminate_concurrently(
            self.poller.client.run, list(places), reason, on_done=self._not_running.update
        )
        self._settle(places, done.ended)
        self.terminated = (self.terminated or 0) + len(done.terminated)

    async def _until_started(self, reason: str | None) -> None:
        """Starts under way come to an end by themselves; what they have started is terminated as it becomes known."""
        end = self.clock() + PATIENCE_WHEN_KILLED
        while self._starting.intersection(self._unknown()) and self.clock() < end:
            await self._until_moved(end)
            await self._terminate(reason)
        for task in self._waits.values():
            task.cancel()
        await asyncio.gather(*self._waits.values(), return_exceptions=True)

    async def _end_unknown(self, reason: str | None) -> None:
        """The starts of which no answer was heard."""
        unknown = self._unknown()
        if unknown and self.findable:
            for index, items in zip(unknown, await self._look_up(unknown), strict=True):
                decision = self.plan.plan_of(index).decide(items)
                if decision.action is Action.ATTACH and decision.workflow is not None:
                    self.batch.begin(index, decision.workflow.workflow_id)
                else:
                    self.batch.put_back(index)
        await self._terminate(reason)
        if reason is None:
            places = self._known()
            self._settle(places, await self.poller.client.run(read_many(list(places))))

    async def _end_earlier(self, reason: str | None) -> None:
        """What an earlier try has left running, where this one was killed before it had found that."""
        if reason is None or not self.findable or self._has_earlier or not self.plan.may_have_started:
            return
        next_place = 0
        while places := self.batch.pending_from(next_place, IDS_AT_ONCE):
            next_place = places[-1] + 1
            beside: list[str] = []
            for index, found in zip(places, await self._look_up(places), strict=True):
                running = [item.workflow.workflow_id for item in found if not item.workflow.status.ended]
                if running:
                    self.batch.begin(index, running[0])
                    beside += running[1:]  # of a start that was sent twice, or of an earlier series
            await self._terminate(reason)
            await terminate_concurrently(self.poller.client.run, beside, reason)

    def _unknown(self) -> list[int]:
        """Places of the active ones whose ids are not known."""
        return [index for index, workflow_id in self.batch.active_ids().items() if not workflow_id]


def _passes(error: ConductorRequestError, failures: int) -> bool:
    """Whether the server may be well again after a while; ``failures`` have come in a row."""
    if isinstance(error, (ConductorAuthError, ConductorConfigError, ConductorMissingRouteError)):
        return False
    if isinstance(error, NotConductorError) and error.refused and failures > REFUSALS:
        return False
    return error.repeatable or error.fate_unknown or error.status is None or error.status >= 500 or error.status == 429
