"""The lines that a wait logs. They name tasks, queues and workers, never a task's data."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import blake2s

from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.blocker import PICKUP_GRACE, Blocker, Phase
from airflow_provider_conductor.polling.formatting import clock_time, duration
from airflow_provider_conductor.polling.progress import Progress

__all__ = ["attempt", "describe", "next_message", "queue_name", "with_reasons"]

NAMED = 3
"""Blockers described one by one; of more, each kind is described once."""

REFERENCES_NAMED = 5

NAME_LIMIT = 80

REPEAT_AFTER = 60_000
"""Milliseconds after the last line before a situation that has been logged already is logged again."""

REPEAT_SHARE = 0.1
"""The same as a share of the run's age, where that is longer: a long run's log grows ever more slowly."""

REMEMBERED = 16
"""Situations that count as logged already."""

_ITERATION = re.compile(r"__\d+$")


def describe(progress: Progress, now: int) -> str:
    """What a workflow waits for, on one line; ``now`` is the server's clock in ms."""
    since = clock_time(progress.since, now)
    if progress.phase is Phase.ENDED:
        return f"{progress.status} at {since}"
    if progress.phase is Phase.PAUSED and not progress.blockers:
        return f"the workflow has been paused since {since}; it continues when somebody resumes it"
    if not progress.blockers:
        line = f"Conductor has been between two tasks since {since}"
        if progress.unscheduled and now - progress.since >= PICKUP_GRACE:
            line += f" and has not scheduled {_references(progress.unscheduled, 'or')}"
        return line
    if len(progress.blockers) <= NAMED:
        return "; ".join(_describe(blocker, now) for blocker in progress.blockers)
    kinds: dict[tuple[object, ...], list[Blocker]] = {}
    for blocker in progress.blockers:
        kind = (blocker.phase, blocker.queue or blocker.kind, blocker.domain, blocker.unpolled_since is not None)
        kinds.setdefault(kind, []).append(blocker)
    described = [_describe(alike[0], now) + _and_more(alike) for alike in list(kinds.values())[:NAMED]]
    others = sum(map(len, list(kinds.values())[NAMED:]))
    return "; ".join(described) + (f"; and {others} more" if others else "")


def next_message(progress: Progress, now: int, logged: str) -> tuple[str, str]:
    """The line to log after an observation, "" for none; and what to pass as ``logged`` the next time.

    ==========================================================  ==================================================
    the situation                                               is logged
    ==========================================================  ==================================================
    is that of the last line                                    no
    has not been logged yet                                     yes
    cannot change unless somebody acts: nobody polls, a person  yes
    or a signal is awaited, it is paused
    has been logged before, another one since                   a minute after the last line, or a tenth of the
                                                                run's age if that is longer
    ended; or nothing is open, for less than ten seconds        no
    ==========================================================  ==================================================

    Up to three blockers make a situation by their names (without a loop's iteration), attempts and phases; more of them
    by their phases and the size of the crowd, so that a fork of hundreds or a loop does not log a line for each task.

    Args:
        logged: plain text, so that it survives a deferral; "" at first.
    """
    nothing_open = not progress.blockers and progress.phase is not Phase.PAUSED
    if nothing_open and (progress.stalled_since is None or now - progress.stalled_since < PICKUP_GRACE):
        return "", logged
    at, situations = _read_logged(logged)
    situation = _situation(progress)
    if situations and situations[-1] == situation:
        return "", logged
    pause = max(REPEAT_AFTER, REPEAT_SHARE * (now - progress.started))
    if situation in situations and not _needs_somebody(progress) and 0 <= now - at < pause:
        return "", logged
    kept = [item for item in situations if item != situation][-REMEMBERED + 1 :]
    return describe(progress, now), f"{now}:{','.join([*kept, situation])}"


def _read_logged(logged: str) -> tuple[int, list[str]]:
    at, _, situations = logged.partition(":")
    if not at.isascii() or not at.isdigit() or len(at) > 16:  # another version wrote it
        return 0, []
    return int(at), situations.split(",")


def _situation(progress: Progress) -> str:
    if len(progress.blockers) <= NAMED:
        parts = {
            f"{_ITERATION.sub('', _name(h))}/{h.attempt}/{h.phase}/{h.unpolled_since is not None}"
            for h in progress.blockers
        }
    else:
        parts = {f"{h.phase}/{h.unpolled_since is not None}" for h in progress.blockers}
        parts.add(str(len(progress.blockers).bit_length() // 2))
    text = "\n".join([str(progress.started), progress.phase, *sorted(parts)])
    return blake2s(text.encode(errors="replace"), digest_size=4).hexdigest()


def _needs_somebody(progress: Progress) -> bool:
    """Whether it can stay so for long without another observation; the last line of the log must be true then."""
    resting = (Phase.PAUSED, Phase.WAITING_FOR_PERSON, Phase.WAITING_FOR_SIGNAL, Phase.JOIN_BLOCKED)
    return all(h.phase in resting or h.unpolled_since is not None for h in progress.blockers)


def _describe(blocker: Blocker, now: int) -> str:
    name, since = _name(blocker), clock_time(blocker.since, now)
    match blocker.phase:
        case Phase.WORKING:
            return _describe_working(blocker, name, since, now)
        case Phase.RETRY_DELAY:
            return f"{_describe_failure(blocker, name)}; Conductor retries it {_when(blocker, now)}"
        case Phase.RETRY_DUE:
            return f"{_describe_failure(blocker, name)}; its retry has been due since {since}, {_polls(blocker, now)}"
        case Phase.QUEUED | Phase.RATE_LIMITED:
            limited = ": probably its rate or concurrency limit" if blocker.phase is Phase.RATE_LIMITED else ""
            return f"{name} has been queued since {since}, {_polls(blocker, now)}{limited}"
        case Phase.JOIN_BLOCKED:
            return f"{name} ({blocker.kind}) has been waiting since {since} for {_missing(blocker)}"
        case Phase.POSTPONED:
            return f"{name} was put back by {_worker(blocker.worker_id)}; it is due again {_when(blocker, now)}"
        case Phase.START_DELAY:
            return f"{name} starts {_when(blocker, now)}"
        case Phase.TIMED_WAIT:
            return f"{name} waits until {_when(blocker, now)}".replace("until at ", "until ")
        case Phase.WAITING_FOR_SIGNAL:
            return f"{name} has been waiting for a signal since {since}"
        case Phase.WAITING_FOR_PERSON:
            return f"{name} has been waiting for a person since {since}"
        case Phase.PAUSED:
            return f"the sub-workflow of {name} has been paused since {since} (id {one_line(blocker.sub_workflow_id)})"
        case _:
            return f"{name} has been running a sub-workflow since {since} (id {one_line(blocker.sub_workflow_id)})"


def _describe_working(blocker: Blocker, name: str, since: str, now: int) -> str:
    if blocker.sub_workflow_id:
        if blocker.sub_workflow_ended:
            ended = f"although its sub-workflow ended at {since} (id {one_line(blocker.sub_workflow_id)})"
            return f"Conductor has not ended {name} yet, {ended}"
        if not blocker.begun:
            return (
                f"the sub-workflow of {name} has been waiting for Conductor to begin it since {since} "
                f"(id {one_line(blocker.sub_workflow_id)})"
            )
        return f"Conductor has been between two tasks in the sub-workflow of {name} since {since}"
    kind = one_line(blocker.kind, NAME_LIMIT)
    if blocker.kind == "WAIT" and blocker.due is not None:
        return f"the wait of {name} was over at {clock_time(blocker.due, now)}, and Conductor has not ended it yet"
    if blocker.by_server and not blocker.begun:
        what = f"{_describe_failure(blocker, name)}; its retry" if blocker.retry else f"{name} ({kind})"
        return f"{what} has been waiting for Conductor to execute it since {since}"
    tries = f" ({attempt(blocker.attempt, blocker.max_attempts)})" if blocker.attempt > 1 else ""
    if blocker.by_server:
        return f"Conductor has been executing {name} ({kind}){tries} since {since}"
    return f"{name} has been running on {_worker(blocker.worker_id)}{tries} since {since}"


def _describe_failure(blocker: Blocker, name: str) -> str:
    failed = attempt(max(1, blocker.attempt - 1), blocker.max_attempts)
    reason = one_line(blocker.reason)
    return f"{name} failed ({failed}{': ' + reason if reason else ''})"


def with_reasons(message: str, progress: Progress) -> str:
    """A message that was written without workers' reasons, with those that ``progress`` has."""
    for blocker in progress.blockers:
        if blocker.reason:
            name = _name(blocker)
            bare, full = _describe_failure(replace(blocker, reason=""), name), _describe_failure(blocker, name)
            message = message.replace(bare, full, 1)
    return message


def _polls(blocker: Blocker, now: int) -> str:
    queue = queue_name(blocker.queue, blocker.domain)
    last = blocker.last_poll
    if not blocker.polls_known:
        return f"waiting for a worker to poll {queue}"
    if last is None:
        elsewhere = ", ".join(
            f"in domain {one_line(domain, NAME_LIMIT)!r}" if domain else "without a domain"
            for domain in blocker.other_domains
        )
        return f"and nobody has ever polled {queue}" + (f" (workers poll it {elsewhere})" if elsewhere else "")
    ago = duration(now - last.last_poll_time)
    if blocker.unpolled_since is not None:
        return f"and nobody has polled {queue} for {ago} (last: {_worker(last.worker_id)})"
    return f"though {_worker(last.worker_id)} polled {queue} {ago} ago"


def _missing(blocker: Blocker) -> str:
    """The references that a JOIN waits for, and why they may never come."""
    others = tuple(ref for ref in blocker.missing if ref not in blocker.undefined)
    found = []
    if blocker.undefined:
        found.append(f"{_references(blocker.undefined)}, which the workflow's definition does not have")
    if others:
        found.append(f"{_references(others)}, which Conductor has not scheduled")
    return f"{' and for '.join(found)}; no other task is open"


def _references(names: tuple[str, ...], word: str = "and") -> str:
    quoted = [repr(one_line(name, NAME_LIMIT)) for name in names[:REFERENCES_NAMED]]
    if len(names) > REFERENCES_NAMED:
        quoted.append(f"{len(names) - REFERENCES_NAMED} more")
    return f" {word} ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _and_more(alike: list[Blocker]) -> str:
    return f" (and {len(alike) - 1} more)" if len(alike) > 1 else ""


def _when(blocker: Blocker, now: int) -> str:
    if blocker.due is None:
        return "a time that the server does not tell"
    return f"at {clock_time(blocker.due, now)}, in {duration(blocker.due - now)}"


def attempt(number: int, maximum: int | None) -> str:
    """``attempt 2 of 4``, or ``attempt 2`` where the definition sets no limit."""
    return f"attempt {number}" if maximum is None else f"attempt {number} of {maximum}"


def queue_name(queue: str, domain: str) -> str:
    """``queue 'pack' in domain 'blue'``."""
    named = f"queue '{one_line(queue, NAME_LIMIT)}'"
    return f"{named} in domain '{one_line(domain, NAME_LIMIT)}'" if domain else named


def _name(blocker: Blocker) -> str:
    return "/".join(one_line(part, NAME_LIMIT) for part in (*blocker.path, blocker.reference_name))


def _worker(worker_id: str) -> str:
    return one_line(worker_id, NAME_LIMIT) or "an unnamed worker"
