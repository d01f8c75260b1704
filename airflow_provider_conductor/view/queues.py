"""The queues of a server in which tasks wait, and whether a worker polls them."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorMissingRouteError, ConductorNotFoundError
from airflow_provider_conductor.client.flow import Flow, ask, current_time
from airflow_provider_conductor.polling.blocker import FRESH_POLL, SERVER_TYPES

SHOWN = 100
"""Queues of one server that a page lists."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue that has tasks.

    Attributes:
        waiting: tasks in it, also those whose retry delay is not over.
        last_poll: the last poll by a worker, in ms; 0 if there was none.
        polled: whether that was within the last minute.
    """

    name: str
    domain: str
    waiting: int
    last_poll: int
    worker: str
    polled: bool


def read_queues() -> Flow[tuple[list[Queue], str]]:
    """The workers' queues in which tasks wait: those that no worker polls first, then the longest ones.

    Returns:
        The queues; and why they are not known, where this server does not give them, or "".

    Raises:
        ConductorRequestError: Conductor is unreachable, or refuses the credentials.
    """
    try:
        sizes = yield from ask(endpoints.get_all_queue_sizes())
        polls = yield from ask(endpoints.get_all_poll_data())
    except (ConductorMissingRouteError, ConductorNotFoundError) as error:
        return [], f"This server does not list its queues: {error}"
    now = round((yield from current_time()) * 1000)
    last = {(poll.queue, poll.domain): poll for poll in sorted(polls, key=lambda poll: poll.last_poll_time)}
    queues = []
    for key, waiting in sizes.items():
        domain, _, name = key.rpartition(":")  # "domain:queue", seen on 3.32
        if waiting <= 0 or name.startswith("_") or name in SERVER_TYPES:
            continue
        poll = last.get((name, domain))
        at = poll.last_poll_time if poll is not None else 0
        worker = poll.worker_id if poll is not None else ""
        queues.append(Queue(name, domain, waiting, at, worker, now - at <= FRESH_POLL))
    return sorted(queues, key=lambda queue: (queue.polled, -queue.waiting, queue.name))[:SHOWN], ""
