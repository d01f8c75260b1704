"""Airflow's required actions without a database: what an approval writes, what users answer, and a second answer."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

USER = {"id": "ana", "name": "Ana"}


class AlreadyAnsweredError(Exception):
    """Airflow's 409."""


@dataclass
class Detail:
    """One required action."""

    question: dict[str, Any]
    answer: dict[str, Any] | None = None


@dataclass
class RequiredActions:
    """Takes the place of Airflow's functions; by the id of the task instance."""

    details: dict[str, Detail] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def install(self, patch: pytest.MonkeyPatch) -> RequiredActions:
        hitl = pytest.importorskip("airflow.sdk.execution_time.hitl")
        patch.setattr(hitl, "upsert_hitl_detail", self._upsert)
        patch.setattr(hitl, "get_hitl_detail_content_detail", self._get)
        patch.setattr(hitl, "update_hitl_detail_response", self._close)
        return self

    @property
    def only(self) -> Detail:
        (detail,) = self.details.values()
        return detail

    def _upsert(self, ti_id: Any, **question: Any) -> None:
        """As Airflow has it: of a question that is there, only the answer goes."""
        detail = self.details.setdefault(str(ti_id), Detail(question))
        detail.answer = None

    def _get(self, ti_id: Any) -> Any:
        answer = self.details[str(ti_id)].answer or {}
        user = answer.get("responded_by_user")
        return SimpleNamespace(
            response_received=bool(answer),
            chosen_options=answer.get("chosen_options"),
            params_input=answer.get("params_input", {}),
            responded_by_user=None if user is None else SimpleNamespace(**user),
            responded_at=answer.get("responded_at"),
        )

    def _close(self, ti_id: Any, chosen_options: list[str], params_input: dict[str, Any]) -> Any:
        self.answer(str(ti_id), chosen_options, params_input, user=None)
        return self._get(ti_id)

    def answer(self, ti_id: str, chosen: list[str], params: dict[str, Any] | None = None, user: Any = USER) -> Any:
        """What a user does; returns what Airflow 3.3 then resumes the task with."""
        with self.lock:
            detail = self.details[ti_id]
            if detail.answer is not None:
                raise AlreadyAnsweredError(ti_id)
            detail.answer = {
                "chosen_options": chosen,
                "params_input": params or {},
                "responded_by_user": user,
                "responded_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
                "timedout": False,
            }
            return dict(detail.answer)
