"""The conditions of a selection: how every search index reads them, and which workflows match. No I/O.

The SQL indexes of Conductor split a query at exactly ``" AND "`` and drop what their own pattern does not read, so a
spelling that looks harmless selects more than was meant, up to everything (seen on 3.32). Therefore only the canonical
form of what is certain is sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.statuses import WorkflowStatus

if TYPE_CHECKING:
    from airflow_provider_conductor.client.models import Workflow

__all__ = ["TEXTS", "TIMES", "Condition", "Fit", "canonical", "check_status", "milliseconds", "only_ended", "time_in"]

TEXTS = ("workflowType", "workflowId", "correlationId", "status")
"""Fields of every index that hold a text."""

TIMES = ("startTime", "updateTime", "endTime")
"""Fields that hold a time, in ms. SQL indexes up to 3.32.0 lack ``endTime``, and drop a condition on it."""

ROUNDING = 1_000
"""Indexes round times to seconds: what is found up to this much beyond a bound, in ms, is left out."""

_UNREADABLE = re.compile(r"[*'\"(),\x00-\x1f\x7f]| AND |^ | $")
"""What no value may contain: an index would read something else from it."""


class Fit(Enum):
    """Whether a workflow matches a condition."""

    YES = "yes"
    NEARLY = "nearly"
    """No, but an index that reads the condition may find it: it rounds times, and takes the time of the last change for
    1970 if there was none, while here the workflow is then as old as its start."""

    NO = "no"
    UNKNOWN = "unknown"
    """The field is missing."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: ``IN`` with texts, or ``<`` or ``>`` with one time as digits."""

    field: str
    operator: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        """As every index reads it: without quotes, and without a blank behind a comma, which SQL would search for."""
        if self.operator == "IN":
            return f"{self.field} IN ({','.join(self.values)})"
        return f"{self.field} {self.operator} {self.values[0]}"

    def value_in(self, workflow: Workflow) -> str | int | None:
        """The field's value in a search summary or a workflow; None if it has none."""
        if self.field in TIMES:
            return time_in(workflow.data, self.field)
        value = workflow.name if self.field == "workflowType" else workflow.data.get(self.field)
        return value if isinstance(value, str) and value else None

    def fit(self, workflow: Workflow) -> Fit:
        """Whether a search summary or a workflow matches; texts are compared exactly."""
        found = self.value_in(workflow)
        if found is None:
            return Fit.UNKNOWN
        if not isinstance(found, int):
            return Fit.YES if found in self.values else Fit.NO
        never_changed = found == 0 and self.field == "updateTime"
        if never_changed:
            found = time_in(workflow.data, "startTime") or 0
        if found == 0:
            return Fit.UNKNOWN
        beyond = found - int(self.values[0]) if self.operator == "<" else int(self.values[0]) - found
        if beyond < 0:
            return Fit.YES
        return Fit.NEARLY if beyond <= ROUNDING or never_changed else Fit.NO


def time_in(data: Mapping[str, Any], field: str) -> int | None:
    """A time in ms: a number in a workflow, ISO text in a summary. 0, which summaries write as 1970, means never."""
    value = data.get(field)
    if value is None:  # the names in the answer of a bulk read
        value = data.get({"startTime": "createTime", "updateTime": "updatedTime"}.get(field, field))
    if isinstance(value, str) and not value.isdigit():
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            return None
        return milliseconds(read) if read.tzinfo else None
    return int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def milliseconds(read: datetime) -> int:
    """Milliseconds since the epoch; a time without a time zone is UTC, as Airflow's ``ds`` is."""
    aware = read if read.tzinfo is not None else read.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def canonical(conditions: Sequence[Condition]) -> str:
    """The query as it is sent.

    Raises:
        ConductorInputError: a value that no index can search for.
    """
    for condition in conditions:
        for value in condition.values:
            if value == "" or _UNREADABLE.search(value):
                what = "an empty value" if value == "" else f"the value {value!r}"
                raise ConductorInputError(
                    f"the search index cannot search for {what} of {condition.field}: * is a wildcard there, and "
                    "quotes, parentheses, commas, line breaks, ' AND ' and blanks at either end are not part of a "
                    "text. Nothing was sent. Select by workflow_id, or by workflow_name with correlation_id"
                )
    return " AND ".join(map(str, conditions))


def only_ended(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """With a condition on the end, only what has ended is meant: to the index of 3.32.2 all others ended in 1970."""
    ended = Condition("status", "IN", tuple(status for status in WorkflowStatus if status.ended))
    by_end = any(condition.field == "endTime" for condition in conditions)
    given = any(item.field == "status" and set(item.values) <= set(ended.values) for item in conditions)
    return (*conditions, ended) if by_end and not given else tuple(conditions)


def check_status(value: str, where: str) -> None:
    """Refuse what is not a workflow status.

    Raises:
        ConductorInputError: names ``where`` it was given, and the statuses.
    """
    if value not in WorkflowStatus.__members__:
        near = value.upper().strip()
        hint = f" (write {near})" if near in WorkflowStatus.__members__ else ""
        raise ConductorInputError(
            f"{where}: {value!r} is not a workflow status{hint}; the statuses are {', '.join(WorkflowStatus)}"
        )
