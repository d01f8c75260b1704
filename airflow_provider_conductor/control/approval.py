"""An answer to a HUMAN or WAIT task: what it means, how it is written into the task, and who was first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorRequestError
from airflow_provider_conductor.client.flow import Flow, ask, current_time, sleep
from airflow_provider_conductor.client.statuses import TaskStatus
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.control.task_choice import Completion, CompletionRefusedError
from airflow_provider_conductor.control.task_completion import complete

if TYPE_CHECKING:
    from airflow_provider_conductor.client.models import Task

AnsweredIn = Literal["airflow", "conductor"]

REJECTED = frozenset({TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR, TaskStatus.COMPLETED_WITH_ERRORS})
"""A task that was failed was rejected; COMPLETED_WITH_ERRORS is an optional one that was failed."""

ANSWERED = REJECTED | {TaskStatus.COMPLETED}
"""Statuses that somebody gave the task. TIMED_OUT, CANCELED and SKIPPED are the server's."""

CONFIRM_AFTER = 1.0
"""Seconds after which a completion is read once more: of two updates at the same moment the server may write both, the
later one over the earlier."""

ANSWERED_EVENT = "answered"
"""The status of a trigger's event that has an answer given in Airflow."""

LONGEST_PAUSE = 60.0
"""Seconds between two attempts to send an answer, at most."""

NAME_LIMIT = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was asked.

    Attributes:
        options: what can be chosen.
        reject_options: those of them that are a rejection.
        params: the names in the form.
    """

    options: Sequence[str]
    reject_options: Sequence[str]
    params: Sequence[str] = ()

    def is_rejection(self, chosen: Sequence[str]) -> bool:
        """Whether one of the chosen options is a rejection."""
        return any(option in self.reject_options for option in chosen)

    def only_option(self, *, approving: bool) -> list[str]:
        """The one option that approves, or rejects, in a list; empty if there are several or none."""
        found = [option for option in self.options if (option not in self.reject_options) is approving]
        return found if len(found) == 1 else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Who answered what, when and where.

    Attributes:
        approved: whether nothing that was chosen is a rejection.
        chosen_options: empty if it was answered in Conductor and the option is not known.
        params_input: what was entered into the form.
        responded_by: ``{"id", "name"}``, or None if that is not known, or it was the default after a timeout.
        responded_at: ISO 8601, in UTC or with time zone.
        answered_in: where.
    """

    approved: bool
    chosen_options: Sequence[str]
    params_input: Mapping[str, Any] = field(default_factory=dict)
    responded_by: Mapping[str, str] | None = None
    responded_at: str = ""
    answered_in: AnsweredIn = "airflow"

    def to_json(self) -> dict[str, Any]:
        """As it stands in the task's output and in XCom."""
        return {
            "approved": self.approved,
            "chosen_options": list(self.chosen_options),
            "params_input": dict(self.params_input),
            "responded_by": None if self.responded_by is None else dict(self.responded_by),
            "responded_at": self.responded_at,
            "answered_in": self.answered_in,
        }


def answer_in(task: Task, question: Question, *, is_ours: Callable[[str], bool]) -> Answer | None:
    """What the answer was that ended the task; None if nobody has given one.

    ======================================  ========  =============================================================
    the task                                approved  chosen options
    ======================================  ========  =============================================================
    is open, TIMED_OUT, CANCELED, SKIPPED   (None)    nobody has answered
    was failed, or is optional and was      no        ``chosen_options`` of its output that reject, else the only
                                                      one that does
    COMPLETED, ``chosen_options`` in its    by these  those; unknown ones are left out
    output are options, one at least
    COMPLETED, ``approved`` is false there  no        the only option that rejects
    COMPLETED otherwise                     yes       the only option that approves
    ======================================  ========  =============================================================

    Args:
        is_ours: whether the worker's id of a task is that of the Airflow task that asks.
    """
    status = task.known_status
    if status not in ANSWERED:
        return None
    output = task.output
    chosen = [option for option in _texts(output.get("chosen_options")) if option in question.options]
    if status in REJECTED:
        approved = False
        chosen = [option for option in chosen if option in question.reject_options]
    elif chosen:
        approved = not question.is_rejection(chosen)
    else:
        approved = _flag(output.get("approved"))
    params = output.get("params_input")
    found = dict(params) if isinstance(params, Mapping) else {}
    found |= {name: output[name] for name in question.params if name in output and name not in found}
    ours = is_ours(task.worker_id)
    said_at = output.get("responded_at")
    return Answer(
        approved=approved,
        chosen_options=chosen or question.only_option(approving=approved),
        params_input=found,
        responded_by=_user(output.get("responded_by")) or (None if ours else _user(task.worker_id)),
        responded_at=one_line(said_at, NAME_LIMIT) if ours and said_at else _moment(task),
        answered_in="airflow" if ours else "conductor",
    )


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, (list, tuple)) else []


def _flag(value: Any) -> bool:
    """What ``approved`` says: only a plain no is one."""
    return not (value is False or (isinstance(value, str) and value.strip().lower() in ("false", "no")))


def _user(value: Any) -> dict[str, str] | None:
    if isinstance(value, Mapping):
        found = {name: one_line(value[name], NAME_LIMIT) for name in ("id", "name") if value.get(name)}
        if not found:
            return None
        first = next(iter(found.values()))
        return {"id": found.get("id", first), "name": found.get("name", first)}
    if not isinstance(value, str) or not value.strip():
        return None
    return {"id": one_line(value, NAME_LIMIT), "name": one_line(value, NAME_LIMIT)}


def _moment(task: Task) -> str:
    moment = task.end_time or task.update_time
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat() if moment else ""


def settle(
    workflow_id: str, task_ref: str, completion: Completion, *, log: Callable[[str], None], until: float
) -> Flow[Task]:
    """Complete the task, unless somebody has been faster; returns it as it is then, with the answer that counts.

    While Conductor is unreachable that is tried again, until ``until``.

    Raises:
        CompletionRefusedError: nobody has ended the task, and it cannot be completed.
        ConductorRequestError: the server refuses, or ``until`` has come.
    """
    failures = 0
    while True:
        try:
            return (yield from _settle(workflow_id, task_ref, completion, log))
        except ConductorRequestError as error:
            now = yield from current_time()
            if not error.temporary or now >= until:
                raise
            if not failures:
                log(f"Conductor is unreachable; the answer is sent as soon as it is reachable again: {error}")
            pause = min(max(2.0**failures, error.retry_after or 0.0), LONGEST_PAUSE, until - now)
            failures = min(failures + 1, 10)
        yield from sleep(pause)


def _settle(workflow_id: str, task_ref: str, completion: Completion, log: Callable[[str], None]) -> Flow[Task]:
    try:
        task = yield from complete(workflow_id, completion, log=log, task_ref=task_ref)
        if not completion.was_sent_to(task):
            return task
        yield from sleep(CONFIRM_AFTER)
    except CompletionRefusedError:
        ended = yield from _ended(workflow_id, task_ref)
        if ended is None:
            raise
        return ended
    confirmed = yield from _ended(workflow_id, task_ref)
    return task if confirmed is None or confirmed.task_id != task.task_id else confirmed


def _ended(workflow_id: str, task_ref: str) -> Flow[Task | None]:
    """The newest attempt of the task, if it has ended."""
    workflow = yield from ask(endpoints.get_workflow(workflow_id))
    task = workflow.latest_attempt(task_ref)
    return None if task is None or task.is_open else task
