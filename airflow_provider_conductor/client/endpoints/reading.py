"""How each kind of answer is read; a ``ValueError`` means that it is not an answer of Conductor's."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

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


def any_json(answer: Answer) -> Any:
    return answer.json()


def an_object(answer: Answer) -> dict[str, Any]:
    value = any_json(answer)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object was expected, not {type(value).__name__}")
    return value


def objects(answer: Answer) -> list[dict[str, Any]]:
    if answer.status == 204:  # 3.32 for a task without logs
        return []
    value = any_json(answer)
    if not isinstance(value, list):
        raise ValueError(f"a JSON list was expected, not {type(value).__name__}")
    return value


def nothing(answer: Answer) -> None:
    """For verbs whose answer carries nothing; a page of HTML is still refused."""
    if answer.content.lstrip()[:1] == b"<":
        raise ValueError("a page of HTML instead of an empty answer")


def _is_id(value: Any) -> bool:
    """Whether it can be an id: printable, without blanks, so that it can be stored and logged as it is."""
    return isinstance(value, str) and len(value) <= 255 and value.isprintable() and " " not in value


def an_id(answer: Answer) -> str:
    text = answer.content.decode("utf-8").strip().strip('"')
    if not text:
        raise ValueError("an empty answer instead of an id")
    if not _is_id(text) or any(c in "<>{}[]" for c in text):
        raise ValueError(f"{text[:60]!r} instead of an id")
    return text


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


def search_result(answer: Answer) -> SearchResult:
    data = an_object(answer)
    results = data.get("results")
    if not isinstance(results, list):
        raise ValueError("a search answer without results")
    return SearchResult(
        total_hits=int(data.get("totalHits") or 0),
        results=tuple(_as_workflow(item, answer, check_summary) for item in results),
    )


def task_search_result(answer: Answer) -> TaskSearchResult:
    data = an_object(answer)
    results = data.get("results")
    if not isinstance(results, list) or not all(isinstance(item, dict) and item.get("taskId") for item in results):
        raise ValueError("a search answer without tasks")
    return TaskSearchResult(total_hits=int(data.get("totalHits") or 0), results=tuple(map(Task, results)))


def versions(answer: Answer) -> dict[str, list[int]]:
    return {name: sorted(int(item["version"]) for item in found) for name, found in an_object(answer).items()}


def correlated(name: str, ids: Collection[str]) -> Callable[[Answer], dict[str, tuple[Workflow, ...]]]:
    """Reads {id: (workflows…)}, exactly those of this name and these ids.

    MySQL's default collation ignores case, and servers that look up in a search index read ``*`` and quotes in an id
    as a pattern. So a server may answer with other workflows.
    """

    def read(answer: Answer) -> dict[str, tuple[Workflow, ...]]:
        found = {key: [_as_workflow(item, answer) for item in items or ()] for key, items in an_object(answer).items()}
        return {
            key: tuple(item for item in items if item.name == name and item.correlation_id == key)
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
    """Reads the complete workflows of a bulk answer, exactly those with these ids."""

    def read(answer: Answer) -> BulkResult:
        result = bulk_result(answer)
        asked = tuple(data for data in result.successful if _is_workflow(data, answer) and data["workflowId"] in ids)
        return BulkResult(successful=asked, errors=result.errors)

    return read


def _is_workflow(data: Any, answer: Answer) -> bool:
    """One that cannot be read is left out of a bulk answer, as are those that the server could not read."""
    try:
        _as_workflow(data, answer)
    except ValueError:
        return False
    return True


def poll_data(answer: Answer) -> tuple[PollData, ...]:
    found = objects(answer)
    for item in found:
        check_poll_data(item)
    return tuple(map(PollData.of, found))


def a_number(answer: Answer) -> int:
    value = any_json(answer)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"a whole number was expected, not {type(value).__name__}")
    return value


def text(answer: Answer) -> str:
    nothing(answer)
    return answer.content.decode("utf-8").strip().strip('"')
