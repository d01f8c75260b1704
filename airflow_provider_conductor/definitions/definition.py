"""A workflow or task definition as it was given, and what is wrong with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_conductor.client.plain import to_plain
from airflow_provider_conductor.definitions.task_tree import DefinedTask, defined_tasks

Kind = Literal["workflow", "task"]

TIMEOUT_POLICIES: Mapping[Kind, tuple[str, ...]] = {
    "workflow": ("TIME_OUT_WF", "ALERT_ONLY"),
    "task": ("RETRY", "TIME_OUT_WF", "ALERT_ONLY"),
}

NO_PATH = "must not contain '/' or '\\', since Conductor's API answers 400 to every path with such a name"
_NOT_IN_PATHS = re.compile(r"[/\\]")

_NUMBERS = """
concurrentExecLimit maxRetryDelaySeconds pollTimeoutSeconds rateLimitFrequencyInSeconds rateLimitPerFrequency
responseTimeoutSeconds retryCount retryDelaySeconds startDelay timeoutSeconds
"""

NUMBERS = _NUMBERS.split()
"""Fields of definitions and of tasks that are whole numbers from 0 on."""


class DefinitionError(ValueError):
    """Definitions that cannot be registered as they are; the message has a line for each of them.

    Args:
        problems: what is wrong, a line for each definition or file.
        registered: labels of what has been registered all the same.
    """

    def __init__(self, problems: Iterable[str], *, registered: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        found = "a definition cannot" if len(self.problems) == 1 else f"{len(self.problems)} definitions cannot"
        done = f"; registered were {', '.join(registered)}" if registered else ", and nothing was"
        super().__init__("\n- ".join([f"{found} be registered{done}:", *self.problems]))


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition; ``source`` is the file it comes from, for messages."""

    data: Mapping[str, Any]
    source: str = ""

    @property
    def kind(self) -> Kind:
        """A workflow definition is what has a field ``tasks``."""
        return "workflow" if "tasks" in self.data else "task"

    @property
    def name(self) -> str:
        return str(self.data.get("name") or "")

    @property
    def version(self) -> int:
        """A workflow's version, 1 if it has none, as the server takes it; 0 for a task."""
        if self.kind == "task":
            return 0
        version = self.data.get("version")
        return 1 if version is None else int(version)

    @property
    def label(self) -> str:
        """The name in results and messages: ``workflow orders 2``, ``task charge_card``."""
        return f"workflow {self.name} {self.version}" if self.kind == "workflow" else f"task {self.name}"


def definitions_in(given: Any, source: str = "") -> list[Definition]:
    """The definition, or the list of them, that ``given`` is: dicts, or objects of Conductor's Python SDK."""
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        return [found for item in given for found in definitions_in(item, source)]
    try:
        data = to_plain(given)
    except TypeError as error:
        raise DefinitionError([with_source(source, str(error))]) from None
    if not isinstance(data, dict):
        raise DefinitionError([with_source(source, f"a definition is an object with a name, not {data!r:.80}")])
    return [Definition(data, source)]


def check(definitions: Iterable[Definition]) -> None:
    """Refuse what the server would refuse, or would accept with another meaning.

    Raises:
        DefinitionError: with everything that is wrong.
    """
    problems: list[str] = []
    seen: dict[str, Definition] = {}
    for item in definitions:
        found = list(_problems(item))
        if not found and (first := seen.setdefault(item.label, item)) is not item:
            both = " and ".join(filter(None, [first.source, item.source]))
            found = [f"is given twice{f' ({both})' if both else ''}"]
        name = f"{item.kind} {item.name!r}" if item.name else f"a {item.kind} without a name"
        if found:
            problems.append(with_source(item.source, f"{name}: {'; '.join(found)}"))
    if problems:
        raise DefinitionError(problems)


def with_source(source: str, text: str) -> str:
    return f"{source}: {text}" if source else text


def _problems(item: Definition) -> Iterator[str]:
    data, name = item.data, item.data.get("name")
    if not _is_text(name):
        yield "name must be a text"
    elif _NOT_IN_PATHS.search(str(name)):
        yield f"name {NO_PATH}"
    if data.get("timeoutPolicy") not in (None, *TIMEOUT_POLICIES[item.kind]):
        yield f"timeoutPolicy must be one of {', '.join(TIMEOUT_POLICIES[item.kind])}, not {data['timeoutPolicy']!r}"
    yield from _number_problems(data, NUMBERS, least=0)
    yield from _workflow_problems(data) if item.kind == "workflow" else _task_problems(data)


def _task_problems(data: Mapping[str, Any]) -> Iterator[str]:
    """What only task definitions have; servers take 3600 for a missing ``responseTimeoutSeconds``."""
    if data.get("type") or "taskReferenceName" in data:
        yield "is a task of a workflow, not a task definition: put it into a workflow's tasks"
    limit, response = data.get("timeoutSeconds") or 0, data.get("responseTimeoutSeconds", 3600)
    if isinstance(limit, int) and isinstance(response, int) and 0 < limit < response:
        yield f"responseTimeoutSeconds ({response}) must not be over timeoutSeconds ({limit})"


def _workflow_problems(data: Mapping[str, Any]) -> Iterator[str]:
    yield from _number_problems(data, ["version"], least=1)
    if not isinstance(data["tasks"], list) or not data["tasks"]:
        yield "tasks must be a list of at least one task"
    tasks = list(defined_tasks(data["tasks"]))
    for defined in tasks:
        yield from _inner_problems(defined)
    refs = Counter(str(defined.task.get("taskReferenceName")) for defined in tasks if isinstance(defined.task, dict))
    for ref, times in refs.items():
        if times > 1:
            yield f"taskReferenceName {ref!r} occurs {times} times, and must be unique"


def _inner_problems(defined: DefinedTask) -> Iterator[str]:
    """What is wrong with one task of a workflow, not with those inside it."""
    task, where = defined.task, defined.path
    if not isinstance(task, dict):
        yield f"{where} must be an object, not {task!r:.60}"
        return
    for field in ("name", "taskReferenceName"):
        if not _is_text(task.get(field)):
            yield f"{where} must have a {field}"
    if task.get("type", "SIMPLE") == "SIMPLE" and _NOT_IN_PATHS.search(str(task.get("name"))):
        yield f"{where}: name {NO_PATH}, and so to every worker's poll"
    if "type" in task and not _is_text(task["type"]):
        yield f"{where}: type must be a text such as SIMPLE, not {task['type']!r}"
    for field in ("inputParameters", "decisionCases"):
        if not isinstance(task.get(field) or {}, dict):
            yield f"{where}: {field} must be an object"
    for field in ("forkTasks", "defaultCase", "loopOver"):
        if not isinstance(task.get(field) or [], list):
            yield f"{where}: {field} must be a list, not {task[field]!r:.60}"
    yield from (f"{where}: {problem}" for problem in _number_problems(task, NUMBERS, least=0))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _number_problems(data: Mapping[str, Any], fields: Iterable[str], *, least: int) -> Iterator[str]:
    for field in fields:
        value = data.get(field)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            yield f"{field} must be a whole number from {least} on, not {value!r}"
