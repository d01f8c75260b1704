"""What a wait logs about a workflow. The lines name tasks, queues and workers, never a task's data."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2s
from typing import NamedTuple

from airflow_provider_conductor.client.task_types import without_iterations
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.polling.blocker import PICKUP_GRACE, Blocker, Phase
from airflow_provider_conductor.polling.formatting import clock_time, duration
from airflow_provider_conductor.polling.progress import Progress

NAMED = 3
"""Blockers described one by one."""

REFERENCES_NAMED = 5

NAME_LIMIT = 80

REPEAT_AFTER = 60_000
"""Milliseconds after the last line before a situation is logged again."""

REPEAT_SHARE = 0.1
"""The same as a share of the run's age, if that is longer: the log of a long run grows ever more slowly."""

REMEMBERED = 16
"""Situations that count as logged already."""

_NEEDS_USER = (Phase.PAUSED, Phase.WAITING_FOR_PERSON, Phase.WAITING_FOR_SIGNAL, Phase.JOIN_BLOCKED)


class Logged(NamedTuple):
    """The situations that have been logged, the last one at the end, and when that was, on the server's clock in ms."""

    at: int = 0
    situations: tuple[str, ...] = ()


NOTHING_LOGGED = Logged()


def describe(progress: Progress, now: int) -> str:
    """What a workflow waits for, and what a user can do about it, on one line.

    Up to three blockers are described one by one. Of more, one of each kind is, with the number of the others.

    Args:
        now: the server's clock in ms.
    """
    since = clock_time(progress.since, now)
    if progress.phase is Phase.ENDED:
        return f"the workflow ended as {progress.status} at {since}"
    if not progress.blockers:
        if progress.phase is Phase.PAUSED:
            return f"the workflow has been paused since {since}. Resume it in Conductor to continue"
        line = f"no task has been open since {since}"
        if progress.unscheduled and now - progress.since >= PICKUP_GRACE:
            line += (
                f", and Conductor has not scheduled {_references(progress.unscheduled, 'or')}. "
                "If this does not change, terminate and restart the workflow"
            )
        return line
    advice = next(filter(None, map(_advice, progress.blockers)), "")
    return _describe_all(progress.blockers, now) + (f". {advice}" if advice else "")


def _describe_all(blockers: tuple[Blocker, ...], now: int) -> str:
    groups: dict[tuple[object, ...], list[Blocker]] = {}
    for number, blocker in enumerate(blockers):
        kind = (blocker.phase, blocker.queue or blocker.kind, blocker.domain, blocker.unpolled_since is not None)
        groups.setdefault(kind if len(blockers) > NAMED else (number,), []).append(blocker)
    described = []
    for first, *others in list(groups.values())[:NAMED]:
        described.append(_describe(first, now) + (f" (and {len(others)} more)" if others else ""))
    if len(groups) > NAMED:
        described.append(f"and {sum(map(len, list(groups.values())[NAMED:]))} more")
    return "; ".join(described)


def next_message(progress: Progress, now: int, logged: Logged) -> tuple[str, Logged]:
    """The line to log after an observation, "" for none; and what to pass as ``logged`` the next time.

    ==========================================================  ==================================================
    the situation                                               is logged
    ==========================================================  ==================================================
    is the one of the last line                                 no
    has not been logged yet                                     yes
    cannot change unless somebody acts: no worker polls, a      yes
    person or a signal is awaited, the workflow is paused
    was logged before, and another one since                    a minute after the last line, or a tenth of the
                                                                run's age if that is longer
    has ended; or no task is open, for less than ten seconds    no
    ==========================================================  ==================================================

    Two situations are the same if their blockers have the same names (without a loop's iteration), attempts and phases.
    Of more than three blockers only the phases and the order of magnitude count, so that a fork of hundreds or a loop
    does not log a line for each task.
    """
    nothing_open = not progress.blockers and progress.phase is not Phase.PAUSED
    if nothing_open and (progress.stalled_since is None or now - progress.stalled_since < PICKUP_GRACE):
        return "", logged
    at, situations = logged
    situation = _situation(progress)
    if situations and situations[-1] == situation:
        return "", logged
    pause = max(REPEAT_AFTER, REPEAT_SHARE * (now - progress.started))
    # What can stay as it is for long must be the last line of the log.
    if situation in situations and not needs_user(progress) and 0 <= now - at < pause:
        return "", logged
    kept = [item for item in situations if item != situation][-REMEMBERED + 1 :]
    return describe(progress, now), Logged(now, (*kept, situation))


def needs_user(progress: Progress) -> bool:
    """Whether nothing of what the workflow waits for changes unless somebody acts, or starts a worker."""
    return all(b.phase in _NEEDS_USER or b.unpolled_since is not None for b in progress.blockers)


def _situation(progress: Progress) -> str:
    named = len(progress.blockers) <= NAMED
    parts = {
        (f"{without_iterations(_name(b))}/{b.attempt}/" if named else "") + f"{b.phase}/{b.unpolled_since is not None}"
        for b in progress.blockers
    }
    if not named:
        parts.add(str(len(progress.blockers).bit_length() // 2))
    text = "\n".join([str(progress.started), progress.phase, *sorted(parts)])
    return blake2s(text.encode(errors="replace"), digest_size=4).hexdigest()


LINES = {
    Phase.RETRY_DELAY: "{failed}Conductor will retry it at {due}",
    Phase.RETRY_DUE: "{failed}its retry has been queued since {since}, {polls}",
    Phase.QUEUED: "{name} has been queued since {since}, {polls}",
    Phase.RATE_LIMITED: "{name} has been queued since {since}, {polls}: "
    "probably because of its rate or concurrency limit",
    Phase.JOIN_BLOCKED: "{name} ({kind}) has been waiting since {since} for {missing}",
    Phase.POSTPONED: "{name} was postponed by {worker} until {due}",
    Phase.START_DELAY: "{name} will start at {due}",
    Phase.TIMED_WAIT: "{name} waits until {due}",
    Phase.WAITING_FOR_SIGNAL: "{name} has been waiting since {since} for a signal",
    Phase.WAITING_FOR_PERSON: "{name} has been waiting since {since} for a person to complete it",
    Phase.PAUSED: "sub-workflow {below} of {name} has been paused since {since}",
    Phase.UNREAD: "{name} has been running sub-workflow {below} since {since}",
}


def _describe(blocker: Blocker, now: int) -> str:
    line = _working(blocker) if blocker.phase is Phase.WORKING else LINES[blocker.phase]
    due = "a time that this server does not report"
    if blocker.due is not None:
        due = f"{clock_time(blocker.due, now)} (in {duration(blocker.due - now)})"
    return line.format(
        name=_name(blocker),
        kind=one_line(blocker.kind, NAME_LIMIT),
        below=one_line(blocker.sub_workflow_id),
        worker=_worker(blocker.worker_id),
        since=clock_time(blocker.since, now),
        due=due,
        ended=clock_time(blocker.due or 0, now),
        failed=f"{_failed_attempt(blocker)}; " if blocker.retry else "",
        again=f" ({attempt(blocker.attempt, blocker.max_attempts)})" if blocker.attempt > 1 else "",
        polls=_polls(blocker, now),
        missing=_missing(blocker),
    )


def _working(blocker: Blocker) -> str:
    """The line for a task that a worker or Conductor runs."""
    if blocker.sub_workflow_ended:
        return "Conductor has not updated {name} yet, although its sub-workflow {below} ended at {since}"
    if blocker.sub_workflow_id and not blocker.begun:
        return "sub-workflow {below} of {name} has been waiting since {since} for Conductor to schedule its first task"
    if blocker.sub_workflow_id:
        return "no task has been open in sub-workflow {below} of {name} since {since}"
    if blocker.kind == "WAIT" and blocker.due is not None:
        return "{name} was due to end at {ended}, and Conductor has not ended it yet"
    if blocker.by_server and not blocker.begun:
        what = "{failed}its retry" if blocker.retry else "{name} ({kind})"
        return what + " has been waiting since {since} for Conductor to run it"
    if blocker.by_server:
        return "Conductor has been running {name} ({kind}) since {since}{again}"
    return "{name} has been running on {worker} since {since}{again}"


def _failed_attempt(blocker: Blocker) -> str:
    failed = attempt(max(1, blocker.attempt - 1), blocker.max_attempts)
    reason = one_line(blocker.reason)
    return f"{_name(blocker)} failed ({failed}{': ' + reason if reason else ''})"


def with_reasons(message: str, progress: Progress) -> str:
    """A message that was written without workers' reasons, with those that ``progress`` has."""
    for blocker in progress.blockers:
        if blocker.reason:
            message = message.replace(_failed_attempt(replace(blocker, reason="")), _failed_attempt(blocker), 1)
    return message


def _polls(blocker: Blocker, now: int) -> str:
    queue, last = queue_name(blocker.queue, blocker.domain), blocker.last_poll
    if not blocker.polls_known:
        return f"waiting for a worker to poll {queue}"
    if last is None:
        domains = " and ".join(
            f"in domain {one_line(domain, NAME_LIMIT)!r}" if domain else "without a domain"
            for domain in blocker.other_domains
        )
        return f"and no worker has ever polled {queue}" + (f" (workers poll it {domains})" if domains else "")
    ago = duration(now - last.last_poll_time)
    if blocker.unpolled_since is not None:
        return f"and no worker has polled {queue} for {ago} (last poll: {_worker(last.worker_id)})"
    return f"although {_worker(last.worker_id)} polled {queue} {ago} ago"


def _advice(blocker: Blocker) -> str:
    """What a user can do about it, "" where nothing need be done."""
    if blocker.unpolled_since is not None:
        start = f"Start a worker that polls {queue_name(blocker.queue, blocker.domain)}"
        if blocker.last_poll is not None:
            return start
        return f"{start}, or {'change task_to_domain' if blocker.other_domains else 'check the name of the task'}"
    if blocker.phase is Phase.PAUSED:
        return f"Resume sub-workflow {one_line(blocker.sub_workflow_id)} in Conductor to continue"
    if blocker.phase is Phase.JOIN_BLOCKED:
        return "Terminate the workflow and correct joinOn in its definition"
    return ""


def _missing(blocker: Blocker) -> str:
    """The references that a JOIN waits for, and why they may never come."""
    unscheduled = tuple(ref for ref in blocker.missing if ref not in blocker.undefined)
    kinds = {
        "which the workflow's definition does not have": blocker.undefined,
        "which Conductor has not scheduled": unscheduled,
    }
    return ", and for ".join(f"{_references(names)}, {why}" for why, names in kinds.items() if names)


def _references(names: tuple[str, ...], word: str = "and") -> str:
    quoted = [repr(one_line(name, NAME_LIMIT)) for name in names[:REFERENCES_NAMED]]
    if len(names) > REFERENCES_NAMED:
        quoted.append(f"{len(names) - REFERENCES_NAMED} more")
    return f" {word} ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


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
