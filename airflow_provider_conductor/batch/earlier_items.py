"""What the server has of a batch's items: from earlier tries, or from starts whose answer was lost."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from airflow_provider_conductor.batch.patient_client import PatientClient
from airflow_provider_conductor.batch.plan import BatchPlan
from airflow_provider_conductor.batch.state import Batch
from airflow_provider_conductor.client.errors import ConductorMissingRouteError
from airflow_provider_conductor.client.termination import terminate
from airflow_provider_conductor.submission.earlier_workflows import Action, Found
from airflow_provider_conductor.submission.lookup import (
    ARCHIVED_AT_ONCE,
    IDS_AT_ONCE,
    LOOKUP_PAUSES,
    look_up,
    look_up_archived,
)

__all__ = ["EarlierItems"]


@dataclass(slots=True, eq=False)
class EarlierItems:
    """Looks up the items of one batch, many at a time.

    Attributes:
        log, warn: take lines for the user.
        sleep: replaced by tests.
        findable: False once this server has shown that it does not find workflows by their correlation ids.
        taken_over: whether all running workflows of earlier tries are in the batch.
    """

    batch: Batch
    plan: BatchPlan
    client: PatientClient
    log: Callable[[str], None]
    warn: Callable[[str], None]
    sleep: Callable[[float], Awaitable[None]]
    findable: bool = True
    taken_over: bool = False
    _found: dict[int, tuple[Found, ...]] = field(default_factory=dict)
    _unclear: set[int] = field(default_factory=set)
    """Items that an earlier try may have sent, and that had not shown up when they were looked up last."""
    _checked: bool = False

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
            await self._find_archived(missing, to_terminate)
        except ConductorMissingRouteError as error:
            self.findable = False
            self.warn(f"{error}, so workflows of earlier tries cannot be found: they are started again")
            return []
        for reason in set(to_terminate.values()):
            ids = [workflow_id for workflow_id, why in to_terminate.items() if why == reason]
            await self.client.run_patiently(partial(terminate, ids, reason))
        self.batch.before = self.batch.ended
        self.log(
            f"an earlier try has left {self.batch.completed:,} completed workflows, which are kept, and "
            f"{len(running):,} running ones, which this try waits for"
        )
        self.taken_over = True
        return running

    async def _find_archived(self, missing: list[int], to_terminate: dict[str, str]) -> None:
        """Keep what has completed and was archived since, which only the search index knows.

        Items are sent in order, so a row of ``max_active`` items without a trace means that the rest was never sent.
        """
        without = 0
        for begin in range(0, len(missing), ARCHIVED_AT_ONCE):
            places = missing[begin : begin + ARCHIVED_AT_ONCE]
            plans = [self.plan.plan_of(index) for index in places]
            for index, found in zip(
                places, await self.client.run_patiently(partial(look_up_archived, plans)), strict=True
            ):
                without = 0 if found else without + 1
                if found and not self._runs(index, found, to_terminate) and self.batch.is_pending(index):
                    self._found[index] = found
            if without >= self.plan.max_active:
                return

    def _may_show_up(self, absent: list[int]) -> list[int]:
        """Of the items without a trace, those that may have been sent: items are sent in order."""
        last = max((index for index in range(self.batch.total) if not self.batch.is_pending(index)), default=0)
        near = [index for index in absent if abs(index - last) <= self.plan.max_active]
        return sorted({*absent[: self.plan.max_active], *near})

    def _runs(self, index: int, found: tuple[Found, ...], to_terminate: dict[str, str]) -> bool:
        """Whether the item has a running workflow to wait for. A completed one is kept; the others are terminated."""
        decision = self.plan.plan_of(index).decide(found)
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
        chunks = [places[begin : begin + IDS_AT_ONCE] for begin in range(0, len(places), IDS_AT_ONCE)]
        found = [
            await self.client.run_patiently(partial(look_up, [self.plan.plan_of(index) for index in chunk]))
            for chunk in chunks
        ]
        return list(itertools.chain.from_iterable(found))

    async def prepare(self, index: int) -> bool:
        """Look up this item, and those after it, before it is started; whether it was known already."""
        if not self.plan.may_have_started or index in self._found:
            return True
        places = [place for place in self.batch.pending_from(index, IDS_AT_ONCE) if place not in self._found]
        found = await self.look_up(places) if self.findable else [()] * len(places)
        self._found |= dict(zip(places, found, strict=True))
        return False

    def take(self, index: int) -> tuple[tuple[Found, ...], bool]:
        """What was found of an item that is started now, and whether a second workflow of it may show up later."""
        return self._found.pop(index, ()), index in self._unclear

    async def check_findable(self, index: int, workflow_id: str) -> None:
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
