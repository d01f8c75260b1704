"""The line that people read while they wait. It names tasks, queues and workers, never a task's data."""

from __future__ import annotations

from airflow_provider_conductor.waiting.holdup import Holdup, Phase
from airflow_provider_conductor.waiting.progress import Progress
from airflow_provider_conductor.waiting.wording import clock_time, duration, one_line

__all__ = ["attempt", "describe", "queue_name"]

NAMED = 3
"""Hold-ups told one by one; more are counted."""

NAME_LIMIT = 80


def describe(progress: Progress, now: int) -> str:
    """What holds a workflow up, on one line; ``now`` is the server's clock in ms.

    To be told when ``progress.key`` changes, not at every look.
    """
    since = clock_time(progress.since, now)
    if progress.phase is Phase.ENDED:
        return f"{progress.status} at {since}"
    if progress.phase is Phase.PAUSED and not progress.holdups:
        return f"the workflow has been paused since {since}; it continues when somebody resumes it"
    if not progress.holdups:
        return f"Conductor has been between two tasks since {since}"
    told = "; ".join(_tell(holdup, now) for holdup in progress.holdups[:NAMED])
    more = len(progress.holdups) - NAMED
    return f"{told}; and {more} more" if more > 0 else told


def _tell(holdup: Holdup, now: int) -> str:
    name, since = _name(holdup), clock_time(holdup.since, now)
    match holdup.phase:
        case Phase.WORKING:
            return _tell_working(holdup, name, since)
        case Phase.RETRY_DELAY:
            return f"{_tell_failure(holdup, name)}; Conductor retries it {_when(holdup, now)}"
        case Phase.RETRY_DUE:
            return f"{_tell_failure(holdup, name)}; its retry has been due since {since}, {_tell_polls(holdup, now)}"
        case Phase.QUEUED | Phase.RATE_LIMITED:
            limited = ": probably its rate or concurrency limit" if holdup.phase is Phase.RATE_LIMITED else ""
            return f"{name} has been queued since {since}, {_tell_polls(holdup, now)}{limited}"
        case Phase.POSTPONED:
            return f"{name} was put back by {_worker(holdup.worker_id)}; it is due again {_when(holdup, now)}"
        case Phase.START_DELAY:
            return f"{name} starts {_when(holdup, now)}"
        case Phase.TIMED_WAIT:
            return f"{name} waits until {_when(holdup, now)}".replace("until at ", "until ")
        case Phase.WAITING_FOR_SIGNAL:
            return f"{name} has been waiting for a signal since {since}"
        case Phase.WAITING_FOR_PERSON:
            return f"{name} has been waiting for a person since {since}"
        case Phase.PAUSED:
            return f"the sub-workflow of {name} has been paused since {since} (id {holdup.sub_workflow_id})"
        case _:
            return f"{name} has been running a sub-workflow since {since} (id {holdup.sub_workflow_id})"


def _tell_working(holdup: Holdup, name: str, since: str) -> str:
    if holdup.sub_workflow_id:
        if not holdup.begun:
            return (
                f"the sub-workflow of {name} has been waiting for Conductor to begin it since {since} "
                f"(id {holdup.sub_workflow_id})"
            )
        return f"Conductor has been between two tasks in the sub-workflow of {name} since {since}"
    tries = f" ({attempt(holdup.attempt, holdup.max_attempts)})" if holdup.attempt > 1 else ""
    if holdup.by_server:
        return f"Conductor has been executing {name} ({one_line(holdup.kind, NAME_LIMIT)}){tries} since {since}"
    return f"{name} has been running on {_worker(holdup.worker_id)}{tries} since {since}"


def _tell_failure(holdup: Holdup, name: str) -> str:
    failed = attempt(max(1, holdup.attempt - 1), holdup.max_attempts)
    reason = one_line(holdup.reason)
    return f"{name} failed ({failed}{': ' + reason if reason else ''})"


def _tell_polls(holdup: Holdup, now: int) -> str:
    queue = queue_name(holdup.queue, holdup.domain)
    last = holdup.last_poll
    if not holdup.polls_known:
        return f"waiting for a worker to poll {queue}"
    if last is None:
        elsewhere = ", ".join(
            f"in domain {domain!r}" if domain else "without a domain" for domain in holdup.other_domains
        )
        return f"and nobody has ever polled {queue}" + (f" (workers poll it {elsewhere})" if elsewhere else "")
    ago = duration(now - last.last_poll_time)
    if holdup.unattended_since is not None:
        return f"and nobody has polled {queue} for {ago} (last: {_worker(last.worker_id)})"
    return f"though {_worker(last.worker_id)} polled {queue} {ago} ago"


def _when(holdup: Holdup, now: int) -> str:
    if holdup.due is None:
        return "a time that the server does not tell"
    return f"at {clock_time(holdup.due, now)}, in {duration(holdup.due - now)}"


def attempt(number: int, maximum: int | None) -> str:
    return f"attempt {number}" if maximum is None else f"attempt {number} of {maximum}"


def queue_name(queue: str, domain: str) -> str:
    named = f"queue '{one_line(queue, NAME_LIMIT)}'"
    return f"{named} in domain '{one_line(domain, NAME_LIMIT)}'" if domain else named


def _name(holdup: Holdup) -> str:
    return "/".join(one_line(part, NAME_LIMIT) for part in (*holdup.path, holdup.reference_name))


def _worker(worker_id: str) -> str:
    return one_line(worker_id, NAME_LIMIT) or "an unnamed worker"
