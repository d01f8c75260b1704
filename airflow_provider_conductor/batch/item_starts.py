"""Starting the workflow of one item, once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from airflow_provider_conductor.batch.earlier_items import EarlierItems
from airflow_provider_conductor.batch.patient_client import PatientClient
from airflow_provider_conductor.batch.plan import BatchPlan
from airflow_provider_conductor.batch.state import REFUSED, Batch
from airflow_provider_conductor.client.errors import ConductorDefinitionNotFoundError, ConductorRequestError
from airflow_provider_conductor.submission.errors import StartRefusedError, TaskKilledError, WorkflowTerminatedError
from airflow_provider_conductor.submission.kill_check import unless_killed
from airflow_provider_conductor.submission.lookup import look_up
from airflow_provider_conductor.submission.start_once import start_once
from airflow_provider_conductor.submission.start_record import StartRecord

__all__ = ["ItemStarts"]

STARTS_AT_ONCE = 8
"""Starts under way at the same time; the server is what bounds them, and the rest of the pool is the poller's."""


@dataclass(slots=True, eq=False)
class ItemStarts:
    """Starts the items of one batch.

    Attributes:
        warn: takes lines about single workflows.
        killed: whether the task has been killed; then nothing more is sent.
        impossible: why no item can be started at all, once that is known.
    """

    batch: Batch
    plan: BatchPlan
    client: PatientClient
    earlier: EarlierItems
    warn: Callable[[str], None]
    killed: Callable[[], bool]
    impossible: StartRefusedError | None = None
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(STARTS_AT_ONCE))

    async def start(self, index: int) -> str:
        """The id of the item's workflow; "" if there is none to wait for: refused, ended, or the task was killed.

        Raises:
            StartRefusedError: there is no such definition.
            ConductorRequestError: the request failed, and waiting cannot help.
        """
        found, unclear = self.earlier.take(index)
        plan = replace(self.plan.plan_of(index), record=None, keeps_records=True, found=found, check_duplicates=unclear)
        saved: list[StartRecord] = []
        for failures in itertools.count(1):
            try:
                async with self._turn:
                    if self.killed() or self.impossible is not None:
                        self.batch.put_back(index)
                        return ""
                    start = start_once(plan, log=lambda _: None, warn=self.warn, save=saved.append)
                    started = await self.client.run(unless_killed(start, self.killed))
            except TaskKilledError:
                if not saved:
                    self.batch.put_back(index)
                elif saved[-1].workflow_id is not None:
                    self.batch.begin(index, saved[-1].workflow_id)
                return ""  # if it was sent and not answered, the termination looks it up
            except WorkflowTerminatedError as error:
                self.batch.fail(index, "TERMINATED", error.workflow.reason, error.workflow.workflow_id)
                return ""
            except StartRefusedError as error:
                if isinstance(error.__cause__, ConductorDefinitionNotFoundError):
                    self.impossible = error
                    raise
                self.batch.fail(index, REFUSED, str(error))
                return ""
            except ConductorRequestError as error:
                await self.client.pause(failures, error)
                (found,) = await self.client.run_patiently(partial(look_up, [plan]))
                plan = replace(plan, found=found, check_duplicates=True)
            else:
                self.batch.begin(index, started.workflow_id)
                return started.workflow_id
        raise AssertionError  # pragma: no cover - the loop has no end
