"""One run of a batch on a worker: the driver in a thread of its own, watched from the main thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, timezone

from airflow_provider_conductor.batch.driver import Driver
from airflow_provider_conductor.batch.loop_thread import LoopThread
from airflow_provider_conductor.batch.plan import BatchOutcome, BatchPlan
from airflow_provider_conductor.batch.state import Batch
from airflow_provider_conductor.client.aio import AsyncConductorClient
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.client.text import Logger, to_log
from airflow_provider_conductor.polling.poller import Poller

FIRST_LINE, NEXT_LINES = 10.0, 30.0
"""Seconds until the first line of progress, and between two."""

KILL_PATIENCE = 60.0
"""Seconds that a kill waits for the termination. Airflow 2.11 gives a killed task about as long, Airflow 3 five
seconds: what is not terminated soon is left to a process that lives on."""


@dataclass(slots=True)
class BatchRun:
    """Drives the batch until it has ended, or is better waited for elsewhere.

    Args:
        save: called now and then, and at the end, to save the state of the batch.
        announce: called with the id of the first workflow that is known.
    """

    settings: ConductorSettings
    batch: Batch
    plan: BatchPlan
    log: Logger
    save: Callable[[], None]
    announce: Callable[[str], None]
    driver: Driver | None = None
    thread: LoopThread[BatchOutcome] | None = None
    _announced: bool = False
    _killed: bool = False
    _kill_reason: str | None = None

    @property
    def could_terminate(self) -> bool:
        """Whether a kill or a timeout has terminated what was running."""
        return self.driver is not None and self.driver.termination.terminated is not None

    def run(self, patience: float | None) -> BatchOutcome:
        """Run it."""
        self.thread = thread = LoopThread(partial(self._drive, patience))
        try:
            thread.start()
            self._watch(thread)
            return thread.result()
        except AirflowTaskTimeout:
            self.kill(self.plan.timeout_reason)
            raise
        finally:
            thread.cancel()
            self.save()
            self.thread = None

    async def _drive(self, patience: float | None) -> BatchOutcome:
        poller = Poller(AsyncConductorClient(self.settings))
        try:
            self.driver = driver = Driver(
                self.batch, self.plan, poller, to_log(self.log.info), to_log(self.log.warning)
            )
            if self._killed:
                driver.kill(self._kill_reason)
            return await driver.run(patience)
        finally:
            await poller.close()

    def _watch(self, thread: LoopThread[BatchOutcome]) -> None:
        """Log the progress and save the state now and then, until the run has ended."""
        pause, logged, waited = FIRST_LINE, "", 0.0
        while not thread.wait(1.0):
            waited += 1.0
            self._announce_first()
            if waited < pause:
                continue
            pause, waited = NEXT_LINES, 0.0
            if self.batch.summary != logged:
                logged = self.batch.summary
                self.log.info(self.batch.progress(timezone.utcnow().timestamp()))
                self.save()
        self._announce_first()

    def _announce_first(self) -> None:
        ids = (item.workflow_id for item in self.batch.items.copy().values())
        if not self._announced and (workflow_id := next(filter(None, ids), "")):
            self._announced = True
            self.announce(workflow_id)

    def kill(self, reason: str | None) -> None:
        """Start nothing more, terminate what runs, and return when that is done; with None, leave it running.

        This may run in a signal handler that interrupts :meth:`run`.
        """
        from airflow_provider_conductor.client.detached_termination import HELPED_AFTER, terminate_detached

        self._killed, self._kill_reason = True, reason
        thread, driver = self.thread, self.driver
        if thread is None or driver is None:  # nothing has been sent yet, or nothing is any more
            return
        thread.call(lambda: driver.kill(reason))
        ended = thread.wait(HELPED_AFTER)
        if reason is not None and (not ended or not self.could_terminate):
            terminate_detached(self.settings, driver.termination.may_run, reason, self.log)
        if not ended and not thread.wait(KILL_PATIENCE - HELPED_AFTER):
            self.log.error("The running workflows of the batch could not be terminated in %g s", KILL_PATIENCE)
            return
        active = self.batch.active
        if reason is None or not active:
            self.log.info("The batch has stopped; %d workflows keep running", active)
        elif not self.could_terminate:
            self.log.error("The batch has stopped, but %d workflows could not be terminated and may still run", active)
        else:
            self.log.info("The batch has stopped; %d workflows were terminated", driver.termination.terminated)
