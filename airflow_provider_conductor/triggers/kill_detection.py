"""Whether a trigger that is cancelled is the trigger of a killed task."""

from __future__ import annotations

from airflow_provider_conductor._airflow import DELETED, TaskNow

__all__ = ["is_kill"]

MARKED = frozenset({"failed", "skipped", "success", "upstream_failed"})
"""Where a user, or Airflow for a timeout of the dag run, may have put a deferred task. None: it is cleared."""


def is_kill(task: TaskNow) -> bool:
    """Whether the task of a cancelled trigger has certainly been killed while it was deferred.

    Airflow cancels a trigger, and 3.3 calls its ``on_kill``, also when it moves the trigger to another triggerer. One
    that has stood still for a while (a paused machine, an unreachable database) learns of that late: the other
    triggerer may have delivered the event, and the task may have gone on, and ended, since. Its workflow may run on
    rightfully then: after ``wait_until_task_ref``, in a batch, with ``on_timeout="leave"``, until a retry.

    ================================================ ============= ===== =============================================
    state                                            deferred last kill? why
    ================================================ ============= ===== =============================================
    deferred                                         any           no    the trigger moves, or the triggerer stops
    None                                             yes           yes   cleared
    success, failed, skipped, upstream_failed        yes           yes   marked; ``dagrun_timeout``; ``fail_fast``
    None, success, failed, skipped, upstream_failed  no            no    a worker has taken over from the triggerer
    deleted                                          any           yes   with its dag run: no worker comes any more
    scheduled, queued                                any           no    the event is delivered; or it was cleared, and
                                                                         the next try ends what runs from before
    running, restarting                              any           no    a worker has it, which hears of kills itself
    up_for_retry, up_for_reschedule                  any           no    a worker has had it, and the next try goes on
    removed, and whatever else Airflow may add       any           no    nothing is certain
    ================================================ ============= ===== =============================================
    """
    if task.state == DELETED:
        return True
    return (task.state is None or task.state in MARKED) and task.deferred_last
