"""How each kind of answer is read; a ``ValueError`` means that it is not an answer of Conductor's."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from airflow_provider_conductor.client.errors import MESSAGE_LIMIT
from airflow_provider_conductor.client.flow import Answer
from airflow_provider_conductor.client.models import (
    BulkResult,
    PollData,
    SearchResult,
    Task,
    TaskSearchResult,
    Workflow,
    WorkflowStatus,
)
from airflow_provider_conductor.client.shapes import check_poll_data, check_summary, check_task, check_workflow
from airflow_provider_conductor.client.text import one_line

T = TypeVar("T", dict[str, Any], list[Any], int)


def _json(answer: Answer, kind: type[T], expected: str) -> T:
    value = answer.json()
    if type(value) is not kind:
        raise ValueError(f"{expected} was expected, not {type(value).__name__}")
    return value


def an_object(answer: Answer) -> dict[str, Any]:
    return _json(answer, dict, "a JSON object")


def objects(answer: Answer) -> list[dict[str, Any]]:
    # 204: 3.32 for a task without logs
    return [] if answer.status == 204 else _json(answer, list, "a JSON list")


def a_number(answer: Answer) -> int:
    return _json(answer, int, "a whole number")


def nothing(answer: Answer) -> None:
    """For verbs whose answer carries nothing; a page of HTML is still refused."""
    if answer.content.lstrip()[:1] == b"<":
        raise ValueError("a page of HTML instead of an empty answer")


def text(answer: Answer) -> str:
    nothing(answer)
    return answer.content.decode("utf-8").strip().strip('"')


def an_id(answer: Answer) -> str:
    found = answer.content.decode("utf-8").strip().strip('"')
    if not found:
        raise ValueError("an empty answer instead of an id")
    if not _is_id(found) or any(c in "<>{}[]" for c in found):
        raise ValueError(f"{found[:60]!r} instead of an id")
    return found


def _is_id(value: Any) -> bool:
    """Whether it can be an id: printable, without blanks, so that it can be stored and logged as it is."""
    return isinstance(value, str) and len(value) <= 255 and value.isprintable() and " " not in value


def a_workflow(answer: Answer) -> Workflow:
    data = an_object(answer)
    if "status" not in data and "targetWorkflowStatus" in data:  # /execute on 3.32 names it so
        data["status"] = data["targetWorkflowStatus"]
    return _as_workflow(data, answer)


def _as_workflow(data: Any, answer: Answer, check: Callable[[dict[str, Any]], None] = check_workflow) -> Workflow:
    if not isinstance(data, dict) or not _is_id(data.get("workflowId")):
        raise ValueError("something without a workflowId instead of a workflow")
    WorkflowStatus(data.get("status") or "")
    check(data)
    return Workflow(data, observed_at=answer.server_time)


def task_or_none(answer: Answer) -> Task | None:
    if answer.status == 204 or not answer.content.strip():
        return None
    data = an_object(answer)
    check_task(data)
    return Task(data)


def tasks(answer: Answer) -> tuple[Task, ...]:
    found = objects(answer)
    for data in found:
        check_task(data)
    return tuple(map(Task, found))


def _page(answer: Answer) -> tuple[int, list[Any]]:
    data = an_object(answer)
    if not isinstance(results := data.get("results"), list):
        raise ValueError("a search answer without results")
    return int(data.get("totalHits") or 0), results


def search_result(answer: Answer) -> SearchResult:
    total, results = _page(answer)
    return SearchResult(total, tuple(_as_workflow(item, answer, check_summary) for item in results))


def task_search_result(answer: Answer) -> TaskSearchResult:
    total, results = _page(answer)
    if not all(isinstance(item, dict) and item.get("taskId") for item in results):
        raise ValueError("a search answer without tasks")
    return TaskSearchResult(total, tuple(map(Task, results)))


def versions(answer: Answer) -> dict[str, list[int]]:
    return {name: sorted(int(item["version"]) for item in found) for name, found in an_object(answer).items()}


def has_name(workflow: Workflow, name: str) -> bool:
    """Whether a workflow may be one that was started by this name; case does not count.

    With MySQL's default collation, a start of ``Orders`` runs the definition ``orders``, and the workflow has that name
    (seen on 3.32.2 with MariaDB). Where case counts, a look-up by ``Orders`` does not find ``orders``.
    """
    return workflow.name.casefold() == name.casefold()


def correlated(name: str, ids: Collection[str]) -> Callable[[Answer], dict[str, tuple[Workflow, ...]]]:
    """Reads {id: (workflows…)}, those of this name and exactly these ids.

    MySQL's default collation ignores case, and servers that look up in a search index read ``*`` and quotes in an id
    as a pattern. So a server may answer with other workflows.
    """

    def read(answer: Answer) -> dict[str, tuple[Workflow, ...]]:
        found = {key: [_as_workflow(item, answer) for item in items or ()] for key, items in an_object(answer).items()}
        return {
            key: tuple(item for item in items if has_name(item, name) and item.correlation_id == key)
            for key, items in found.items()
            if key in ids
        }

    return read


def bulk_result(answer: Answer) -> BulkResult:
    data = an_object(answer)
    if "bulkSuccessfulResults" not in data and "bulkErrorResults" not in data:
        raise ValueError("a bulk answer without results")
    return BulkResult(
        successful=tuple(data.get("bulkSuccessfulResults") or ()),
        errors={key: one_line(why, MESSAGE_LIMIT) for key, why in (data.get("bulkErrorResults") or {}).items()},
    )


def bulk_workflows(ids: Collection[str]) -> Callable[[Answer], BulkResult]:
    """Reads the complete workflows of a bulk answer, exactly those with these ids.

    One that cannot be read is left out, as are those that the server could not read.
    """

    def is_asked(data: Any, answer: Answer) -> bool:
        try:
            return _as_workflow(data, answer).workflow_id in ids
        except ValueError:
            return False

    def read(answer: Answer) -> BulkResult:
        result = bulk_result(answer)
        return replace(result, successful=tuple(data for data in result.successful if is_asked(data, answer)))

    return read


def whole_workflows(answer: Answer) -> dict[str, Workflow]:
    """The workflows of a bulk answer with their tasks, by id, as a read of each has them.

    One that cannot be read is left out, as are those that the server could not read.
    """
    found: dict[str, Workflow] = {}
    for item in bulk_result(answer).successful:
        if not isinstance(item, dict) or not isinstance(item.get("tasks"), list):
            continue
        # 3.32 says createTime and updatedTime here, and startTime and updateTime elsewhere.
        times = {"startTime": item.get("createTime"), "updateTime": item.get("updatedTime")}
        with contextlib.suppress(ValueError):
            workflow = _as_workflow({**times, **item}, answer)
            found[workflow.workflow_id] = workflow
    return found


def poll_data(answer: Answer) -> tuple[PollData, ...]:
    found = objects(answer)
    for item in found:
        check_poll_data(item)
    return tuple(map(PollData, found))


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and the server's clock when it issued the token (ms, or 0 if unknown)."""

    text: str = field(repr=False)
    given_at: int = 0


def a_token(answer: Answer) -> Token:
    found = an_object(answer).get("token")
    # As a header has to carry it: one line of ASCII.
    if not isinstance(found, str) or not re.fullmatch(r"[\x21-\x7e]+", found):
        raise ValueError("an answer without a token")
    return Token(found, answer.server_time)
