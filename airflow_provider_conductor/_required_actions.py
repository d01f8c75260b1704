"""Airflow's required actions (human in the loop, from Airflow 3.1 on), as far as this package uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from uuid import UUID

from airflow.providers.common.compat.version_compat import get_base_airflow_version_tuple

from airflow_provider_conductor._airflow import TaskInstance

PARAMS_WITH_SCHEMA_SINCE = (3, 1, 3)
"""The Airflow from which on a required action has its params' schemas; before, just their values."""


def required_actions_exist() -> bool:
    """Whether this Airflow has them (3.1 and later)."""
    return find_spec("airflow.sdk") is not None and find_spec("airflow.sdk.execution_time.hitl") is not None


def answers_resume_tasks() -> bool:
    """Whether an answer resumes a deferred task by itself (3.3); before, its trigger has to read the answer.

    Seen in 3.3.2 (``api_fastapi/core_api/routes/public/hitl.py``), which has another state for its own operators.
    """
    from airflow.sdk import exceptions

    return hasattr(exceptions, "TaskAwaitingInput")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredAction:
    """What users are asked.

    Attributes:
        options: what they can choose.
        subject: the headline, plain text.
        body: Markdown.
        defaults: chosen when nobody answers in time.
        multiple: whether several options can be chosen.
        params: the form: name → ``{"value", "description", "schema"}``.
        assigned_users: who alone may answer: ``{"id", "name"}``; empty for everybody with the right to.
    """

    options: Sequence[str]
    subject: str
    body: str | None = None
    defaults: Sequence[str] | None = None
    multiple: bool = False
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    assigned_users: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowAnswer:
    """An answer to a required action.

    Attributes:
        chosen_options: at least one.
        params_input: what was entered into the form.
        responded_by: ``{"id", "name"}``; None if it was not a user's.
        responded_at: ISO 8601, with time zone; "" if it is not known.
    """

    chosen_options: Sequence[str]
    params_input: Mapping[str, Any]
    responded_by: Mapping[str, str] | None
    responded_at: str

    def to_json(self) -> dict[str, Any]:
        """As :meth:`from_event` reads it."""
        return {
            "chosen_options": list(self.chosen_options),
            "params_input": dict(self.params_input),
            "responded_by_user": None if self.responded_by is None else dict(self.responded_by),
            "responded_at": self.responded_at,
        }

    @classmethod
    def from_event(cls, event: object) -> AirflowAnswer | None:
        """The answer that Airflow 3.3 resumes a task with (or :meth:`to_json` wrote); None if it is something else."""
        if not isinstance(event, Mapping) or not isinstance(event.get("chosen_options"), (list, tuple)):
            return None
        at: Any = event.get("responded_at")
        return cls(
            chosen_options=[str(option) for option in event["chosen_options"]],
            params_input=dict(event.get("params_input") or {}),
            responded_by=_user(event.get("responded_by_user")),
            responded_at=str(at.isoformat() if hasattr(at, "isoformat") else at or ""),
        )


def _user(user: Any) -> dict[str, str] | None:
    if user is None:
        return None
    known = user if isinstance(user, Mapping) else {"id": user.id, "name": user.name}
    return {"id": str(known.get("id")), "name": str(known.get("name") or known.get("id"))}


def task_instance_id(ti: TaskInstance) -> str:
    """The id by which a required action belongs to a try of a task."""
    return str(getattr(ti, "id"))  # noqa: B009 - Airflow 2.11 has none


def ask(ti: TaskInstance, action: RequiredAction) -> None:
    """Make it a required action of this task, on a worker; a former answer to it is removed.

    Of a question that an earlier try has asked, Airflow keeps text, options and form (3.1.8 to 3.3.2).
    """
    from airflow.sdk.execution_time.hitl import HITLUser, upsert_hitl_detail

    upsert_hitl_detail(
        ti_id=UUID(task_instance_id(ti)),
        options=list(action.options),
        subject=action.subject,
        body=action.body,
        defaults=None if action.defaults is None else list(action.defaults),
        multiple=action.multiple,
        params=_stored(action.params),
        assigned_users=[HITLUser(id=user["id"], name=user["name"]) for user in action.assigned_users],
    )


def _stored(params: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    if get_base_airflow_version_tuple() < PARAMS_WITH_SCHEMA_SINCE:
        return {name: param.get("value") for name, param in params.items()}
    return {name: dict(param) for name, param in params.items()}


async def read_answer(ti_id: str) -> AirflowAnswer | None:
    """The answer that there is by now, in a triggerer; None if there is none.

    Raises:
        Exception: whatever the supervisor answers: there is no such required action any more, or no database.
    """
    from airflow.sdk.execution_time.hitl import get_hitl_detail_content_detail
    from asgiref.sync import sync_to_async

    # Not asyncio.to_thread: see _airflow.task_now.
    found = await sync_to_async(get_hitl_detail_content_detail)(ti_id=UUID(ti_id))
    if not found.response_received or not found.chosen_options:
        return None
    return AirflowAnswer.from_event(
        {
            "chosen_options": list(found.chosen_options),
            "params_input": found.params_input,
            "responded_by_user": found.responded_by_user,
            "responded_at": found.responded_at,
        }
    )


async def close(ti_id: str, chosen_options: Sequence[str], params_input: Mapping[str, Any]) -> AirflowAnswer | None:
    """Answer it in nobody's name, in a triggerer, so that no user can any more.

    Returns:
        The answer of the user who was faster, or None.

    Raises:
        Exception: whatever the supervisor answers.
    """
    from airflow.sdk.execution_time.hitl import update_hitl_detail_response
    from asgiref.sync import sync_to_async

    try:
        await sync_to_async(update_hitl_detail_response)(
            ti_id=UUID(ti_id), chosen_options=list(chosen_options), params_input=dict(params_input)
        )
    except Exception:  # a conflict comes as one of the supervisor's many errors
        answer = await read_answer(ti_id)
        if answer is None:
            raise
        return answer
    return None
