"""What the server has of a batch's items, and starting those that it does not have, once each."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

from airflow_provider_conductor.batch.patient_client import PatientClient
from airflow_provider_conductor.batch.plan import BatchPlan
from airflow_provider_conductor.batch.state import REFUSED, Batch
from airflow_provider_conductor.client.errors import (
    ConductorDefinitionNotFoundError,
    ConductorMissingRouteError,
    ConductorRequestError,
)
from airflow_provider_conductor.client.flows import LOOKUP_PAUSES
from airflow_provider_conductor.submission.earlier_workflows import Action, Found, decide
from airflow_provider_conductor.submission.errors import StartRefusedError, TaskKilledError, WorkflowTerminatedError
from airflow_provider_conductor.submission.kill_check import unless_killed
from airflow_provider_conductor.submission.lookup import (
    IDS_AT_ONCE,
    SEARCHED_AT_ONCE,
    look_up,
    look_up_in_index,
)
from airflow_provider_conductor.submission.start_once import start_once, terminate_each
from airflow_provider_conductor.submission.start_record import StartRecord

STARTS_AT_ONCE = 8
"""Starts under way at the same time; the server is what bounds them, and the rest of the pool is the poller's."""


@dataclass(slots=True, eq=False)
class ItemStarts:
    """Looks up the items of one batch, many at a time, and starts them."""

    batch: Batch
    plan: BatchPlan
    client: PatientClient
    log: Callable[[str], None]
    warn: Callable[[str], None]
    warn_of_one: Callable[[str], None]
    sleep: Callable[[float], Awaitable[None]]
    killed: Callable[[], bool]
    findable: bool = True
    """False once this server has shown that it does not find workflows by their correlation ids."""
    taken_over: bool = False
    """Whether all running workflows of earlier tries are in the batch."""
    _found: dict[int, tuple[Found, ...]] = field(default_factory=dict)
    _unclear: set[int] = field(default_factory=set)
    """Items that an earlier try may have sent, and that had not shown up when they were looked up last."""
    _checked: bool = False
    _impossible: bool = False
    """A start has failed for a reason that ends the batch."""
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(STARTS_AT_ONCE))

    async def take_over(self) -> list[int]:
        """Before anything is started: keep what has completed; returns the items whose workflows run."""
        running: list[int] = []
        to_terminate: dict[str, str] = {}
        missing = absent = self.batch.pending_from(0, self.batch.total)
        try:
            for pause in LOOKUP_PAUSES:
                # What the earlier try sent last may show up a little later.
                places = self._may_show_up(absent) if pause else absent
                if not places:
                    break
                await self.sleep(pause)
                found = dict(zip(places, await self.look_up(places), strict=True))
                running += [index for index in places if found[index] and self._runs(index, found[index], to_terminate)]
                absent = [index for index in places if not found[index]]
                missing = [index for index in missing if not found.get(index)]
                if pause:
                    self._unclear.update(absent)
            for index, items in (await self.look_up_in_index(missing)).items():
                if self._runs(index, items, to_terminate):
                    running.append(index)
                elif self.batch.is_pending(index):
                    self._found[index] = items
        except ConductorMissingRouteError as error:
            self.findable = False
            self.warn(f"{error}, so workflows of earlier tries cannot be found: they are started again")
            return []
        await self.client.run_patiently(partial(terminate_each, to_terminate))
        self.batch.before = self.batch.ended
        self.log(
            f"an earlier try has left {self.batch.completed:,} completed workflows, which are kept, and "
            f"{len(running):,} running ones, which this try waits for"
        )
        self.taken_over = True
        return running

    def _may_show_up(self, absent: list[int]) -> list[int]:
        """Of the items without a trace, those that may have been sent: items are sent in order."""
        last = max((index for index in range(self.batch.total) if not self.batch.is_pending(index)), default=0)
        near = [index for index in absent if abs(index - last) <= self.plan.max_active]
        return sorted({*absent[: self.plan.max_active], *near})

    def _runs(self, index: int, found: tuple[Found, ...], to_terminate: dict[str, str]) -> bool:
        """Whether the item has a running workflow to wait for. A completed one is kept; the others are terminated."""
        decision = decide(self.plan.plan_of(index), found)
        to_terminate |= decision.to_terminate
        workflow = decision.workflow
        if decision.action is not Action.ATTACH or workflow is None:
            return False
        if workflow.status.successful:
            self.batch.complete(index, workflow.workflow_id)
            return False
        self._found[index] = found
        return True

    async def look_up(self, places: list[int]) -> list[tuple[Found, ...]]:
        """What the server has of these items, in their order."""
        found: list[tuple[Found, ...]] = []
        for begin in range(0, len(places), IDS_AT_ONCE):
            plans = [self.plan.plan_of(index) for index in places[begin : begin + IDS_AT_ONCE]]
            found += await self.client.run_patiently(partial(look_up, plans))
        return found

    async def look_up_in_index(self, missing: list[int]) -> dict[int, tuple[Found, ...]]:
        """What only the search index has of items that a look-up has not found, in their order.

        Items are sent in order, so a row of ``max_active`` items without a trace means that the rest was never sent.
        """
        indexed: dict[int, tuple[Found, ...]] = {}
        without = 0
        for begin in range(0, len(missing), SEARCHED_AT_ONCE):
            places = missing[begin : begin + SEARCHED_AT_ONCE]
            plans = [self.plan.plan_of(index) for index in places]
            answer = await self.client.run_patiently(partial(look_up_in_index, plans))
            for index, found in zip(places, answer, strict=True):
                without = 0 if found else without + 1
                if found:
                    indexed[index] = found
            if without >= self.plan.max_active:
                break
        return indexed

    async def prepare(self, index: int) -> bool:
        """Look up this item, and those after it, before it is started; whether it was known already."""
        if not self.plan.may_have_started or index in self._found:
            return True
        places = [place for place in self.batch.pending_from(index, IDS_AT_ONCE) if place not in self._found]
        found = await self.look_up(places) if self.findable else [()] * len(places)
        self._found |= dict(zip(places, found, strict=True))
        return False

    async def start(self, index: int) -> str:
        """The id of the item's workflow; "" if there is none to wait for: refused, ended, or the task was killed.

        Raises:
            ConductorError: no item can be started, or waiting cannot help; from then on no start is sent.
        """
        try:
            workflow_id = await self._start(index)
            if workflow_id:
                await self._check_findable(index, workflow_id)
        except Exception:
            self._impossible = True
            raise
        return workflow_id

    async def _start(self, index: int) -> str:
        plan = replace(self.plan.plan_of(index), record=None, keeps_records=True)
        found, unclear = self._found.pop(index, ()), index in self._unclear
        saved: list[StartRecord] = []
        for failures in itertools.count(1):
            try:
                async with self._turn:
                    if self.killed() or self._impossible:
                        self.batch.put_back(index)
                        return ""
                    start = start_once(
                        plan,
                        log=lambda _: None,
                        warn=self.warn_of_one,
                        save=saved.append,
                        found=found,
                        check_duplicates=unclear,
                    )
                    started = await self.client.run(unless_killed(start, self.killed))
            except TaskKilledError:
                if not saved:
                    self.batch.put_back(index)
                elif saved[-1].workflow_id is not None:
                    self.batch.begin(index, saved[-1].workflow_id)
                return ""  # if it was sent and not answered, the termination looks it up
            except WorkflowTerminatedError as error:
                self.batch.fail(index, "TERMINATED", error.workflow.reason, error.workflow_id)
                return ""
            except StartRefusedError as error:
                if isinstance(error.__cause__, ConductorDefinitionNotFoundError):
                    raise
                self.batch.fail(index, REFUSED, str(error))
                return ""
            except ConductorRequestError as error:
                await self.client.pause(failures, error)
                (found,) = await self.look_up([index])
                unclear = True
            else:
                self.batch.begin(index, started.workflow_id)
                return started.workflow_id
        raise AssertionError  # pragma: no cover - the loop has no end

    async def _check_findable(self, index: int, workflow_id: str) -> None:
        """After the first start: check whether this server finds workflows by their correlation ids at all."""
        if self._checked or self.plan.looked_up:
            return
        self._checked = True
        for pause in LOOKUP_PAUSES:
            await self.sleep(pause)
            try:
                (found,) = await self.look_up([index])
            except ConductorMissingRouteError:
                break
            if any(item.workflow.workflow_id == workflow_id for item in found):
                return
        self.findable = False
        self.warn(
            "this server does not find workflows by their correlation id: it has no look-up, or a slow index. This try "
            "keeps the ids in memory and is not deferred; a try after a crash starts workflows again"
        )
