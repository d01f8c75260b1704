"""When to poll next. Moments are seconds since the epoch on our clock."""

from __future__ import annotations

import math

from airflow_provider_conductor.polling.blocker import PICKUP_GRACE, Blocker, Phase
from airflow_provider_conductor.polling.progress import Progress
from airflow_provider_conductor.polling.server_clock import ServerClock

SHORTEST = 1.0
LONGEST = 60.0
SHARE_OF_AGE = 0.02
JITTER = 0.01
"""How much of an interval chance may take away. It only ever shortens: the end is still seen within 2 % of
the age; and not by more than this: an hour costs 268 polls at most by the rule, and 271 with it."""

CLOSE_POLLS_FOR = 3.2
CLOSE_POLL_PAUSE = 0.1
"""Seconds for which polls are close together while the caller waits itself, and how close: a server's own hold reads
the workflow every 0.1 s (seen on 3.32). They are 28 more than one a second, which leaves an hour's wait below 300."""

AFTER_DUE = 0.25
"""Seconds from a due moment to the poll: the server needs some to notice it itself."""

UNSEEN_PHASES = frozenset({Phase.QUEUED, Phase.RETRY_DUE, Phase.RATE_LIMITED, Phase.UNREAD})
"""Phases that end without a trace in the workflow's own ``updateTime``: a worker takes a task (seen on 3.32)."""

UNSEEN_SHARE = 0.2
UNSEEN_SHORTEST = 30.0
UNSEEN_LONGEST = 600.0
BLIND_SHORTEST = 10.0

JUST_IN_CASE = 3_600.0
"""Seconds after which a wait polls by itself although its driver has seen no change."""


def next_poll(
    progress: Progress,
    now: float,
    clock: ServerClock,
    *,
    jitter: float,
    poll_interval: float | None = None,
    poll_by: float = math.inf,
) -> float:
    """The moment of the next poll.

    ============================================  ==================================================
    known                                         next poll
    ============================================  ==================================================
    ``poll_interval``                             after that
    when it can change by itself, and that is     a little after that moment, within 60 s (a person
    further off than the adaptive interval        may act sooner)
    else                                          after 2 % of the run's age, within 1 s and 60 s,
                                                  shortened by the jitter
    in every row                                  not after ``poll_by``, not before ``now``
    ============================================  ==================================================

    Args:
        jitter: a random number in [0, 1), from outside, so that this stays a function of its arguments.
        poll_by: the nearest limit; the poll falls exactly on it rather than past it.
    """
    if poll_interval is not None:
        pause = poll_interval
    else:
        pause = adaptive_pause(now - clock.ours(progress.started), jitter)
        if progress.next_change is not None:
            due = clock.ours(progress.next_change) + AFTER_DUE * (1 + jitter)
            pause = max(pause, min(due - now, LONGEST))
    return max(now, min(now + pause, poll_by))


def adaptive_pause(age: float, jitter: float) -> float:
    """Seconds between two polls of a run that is ``age`` seconds old."""
    return min(LONGEST, max(SHORTEST, age * SHARE_OF_AGE)) * (1 - JITTER * jitter)


def wake_at(
    progress: Progress,
    now: float,
    clock: ServerClock,
    *,
    jitter: float,
    poll_by: float = math.inf,
    closely: bool = False,
) -> tuple[float, float]:
    """When a wait must poll by itself though nothing seems to have changed, with and without an ``updateTime``.

    ============================================  ==================================================
    it waits for                                  polls by itself
    ============================================  ==================================================
    a limit of its own (``poll_by``)              then
    a retry, a WAIT's end, a postponed task       a little after that moment
    somebody to take a task, a worker at it,      after a fifth of the run's age, within 30 s and 10 min:
    a sub-workflow; anything, ``closely``         the workflow's ``updateTime`` does not tell
    no open task                                  ten seconds after the last one ended: from then on a JOIN that
                                                  waits for a task that is not there counts as blocked
    else                                          after an hour, just in case
    anything, on a server that tells no           after a fifth of the run's age, within 10 s and 10 min
    ``updateTime``
    ============================================  ==================================================

    Args:
        jitter, poll_by: as in :func:`next_poll`.
        closely: one of its tasks is waited for, whose end every server may not show in ``updateTime``.
    """
    age = max(0.0, now - clock.ours(progress.started))
    spread = 1 - JITTER * jitter
    after_due = AFTER_DUE * (1 + jitter)
    moments = [poll_by, now + JUST_IN_CASE * spread]
    if progress.next_change is not None:
        moments.append(clock.ours(progress.next_change) + after_due)
    if closely or any(map(_is_invisible, progress.blockers)):
        moments.append(now + min(UNSEEN_LONGEST, max(UNSEEN_SHORTEST, age * UNSEEN_SHARE)) * spread)
    if not progress.blockers and progress.stalled_since is not None:
        blocked_at = clock.ours(progress.stalled_since + PICKUP_GRACE) + after_due
        moments += [blocked_at] if blocked_at > now else []
    blind = now + min(UNSEEN_LONGEST, max(BLIND_SHORTEST, age * UNSEEN_SHARE)) * spread
    seeing = max(now, min(moments))
    return seeing, min(seeing, blind)


def _is_invisible(blocker: Blocker) -> bool:
    at_a_worker = blocker.phase is Phase.WORKING and not blocker.by_server
    # A sub-workflow's tasks progress unseen, from the moment at which the server has begun to start it.
    below = blocker.kind == "SUB_WORKFLOW" or bool(blocker.path)
    return at_a_worker or below or blocker.phase in UNSEEN_PHASES


def next_poll_after_failure(
    failures: int, now: float, *, jitter: float, poll_by: float | None = None, retry_after: float | None = None
) -> float:
    """When to poll a server again that could not be reached ``failures`` times in a row (1 and up).

    1, 2, 4 … 60 seconds, each shortened by up to a half, so that many waits do not come back as one. A server that asks
    for a longer pause gets it, up to the same 60 seconds: one stray ``Retry-After: 3600`` must not blind a wait.
    """
    pause = min(LONGEST, SHORTEST * 2.0 ** min(max(failures, 1) - 1, 10)) * (1 - jitter / 2)
    moment = now + max(pause, min(retry_after or 0.0, LONGEST))
    return max(now, moment if poll_by is None else min(moment, poll_by))


def sensor_backoff(interval: float, polls: int, jitter: float, longest: float | None) -> float:
    """Airflow's own sensor back-off: twice the interval each time, and up to as much again by chance."""
    pause = max(1.0, interval * 2.0 ** min(polls - 2, 32)) * (1 + jitter)
    return pause if longest is None else min(pause, longest)
