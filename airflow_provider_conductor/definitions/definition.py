"""A workflow or task definition as somebody gave it, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_conductor.client.plain import to_plain

__all__ = ["Definition", "DefinitionError", "check", "definitions_in", "inner_tasks", "said"]

Kind = Literal["workflow", "task"]

TIMEOUT_POLICIES: Mapping[Kind, tuple[str, ...]] = {
    "workflow": ("TIME_OUT_WF", "ALERT_ONLY"),
    "task": ("RETRY", "TIME_OUT_WF", "ALERT_ONLY"),
}

NO_PATH = "must not contain '/' or '\\', since Conductor's API answers 400 to every path with such a name"

_UNSERVABLE = re.compile(r"[/\\]")

AMOUNTS = (
    "concurrentExecLimit",
    "maxRetryDelaySeconds",
    "pollTimeoutSeconds",
    "rateLimitFrequencyInSeconds",
    "rateLimitPerFrequency",
    "responseTimeoutSeconds",
    "retryCount",
    "retryDelaySeconds",
    "startDelay",
    "timeoutSeconds",
)
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
    """One definition; ``source`` says where it came from, for messages."""

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
        """A workflow's version, 1 where it says none, as the server takes it; 0 for a task."""
        if self.kind == "task":
            return 0
        version = self.data.get("version")
        return 1 if version is None else int(version)

    @property
    def label(self) -> str:
        """How results and messages call it: ``workflow orders 2``, ``task charge_card``."""
        return f"workflow {self.name} {self.version}" if self.kind == "workflow" else f"task {self.name}"


def definitions_in(given: Any, source: str = "") -> list[Definition]:
    """The definition, or the list of them, that ``given`` is: dicts, or objects of Conductor's Python SDK.

    Raises:
        DefinitionError: something that is no definition.
    """
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        return [found for item in given for found in definitions_in(item, source)]
    try:
        data = to_plain(given)
    except TypeError as error:
        raise DefinitionError([said(source, str(error))]) from None
    if not isinstance(data, dict):
        raise DefinitionError([said(source, f"a definition is an object with a name, not {data!r:.80}")])
    return [Definition(data, source)]


def check(definitions: Iterable[Definition]) -> None:
    """Refuse what the server would refuse, or take and not mean.

    Raises:
        DefinitionError: with everything that is wrong.
    """
    problems: list[str] = []
    seen: dict[tuple[str, str, int], Definition] = {}
    for item in definitions:
        found = list(_problems(item))
        if not found:
            key = (item.kind, item.name, item.version)
            if key in seen:
                both = " and ".join(filter(None, [seen[key].source, item.source]))
                found = [f"is given twice{f' ({both})' if both else ''}"]
            seen.setdefault(key, item)
        name = f"{item.kind} {item.name!r}" if item.name else f"a {item.kind} without a name"
        if found:
            problems.append(said(item.source, f"{name}: {'; '.join(found)}"))
    if problems:
        raise DefinitionError(problems)


def said(source: str, text: str) -> str:
    """The text, with its source where there is one."""
    return f"{source}: {text}" if source else text


def _problems(item: Definition) -> Iterator[str]:
    data = item.data
    name = data.get("name")
    if not isinstance(name, str) or not name.strip():
        yield "name must be a text"
    elif _UNSERVABLE.search(name):
        yield f"name {NO_PATH}"
    if data.get("timeoutPolicy") not in (None, *TIMEOUT_POLICIES[item.kind]):
        yield f"timeoutPolicy must be one of {', '.join(TIMEOUT_POLICIES[item.kind])}, not {data['timeoutPolicy']!r}"
    yield from _amounts(data)
    if item.kind == "task":
        yield from _task_problems(data)
        return
    version = data.get("version")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 1):
        yield f"version must be a whole number from 1 on, not {version!r}"
    if not isinstance(data["tasks"], list) or not data["tasks"]:
        yield "tasks must be a list of at least one task"
        return
    refs: dict[str, int] = {}
    for where, task in inner_tasks(data["tasks"]):
        if not isinstance(task, dict):
            yield f"{where} must be an object, not {task!r:.60}"
            continue
        for field in ("name", "taskReferenceName"):
            if not isinstance(task.get(field), str) or not task[field].strip():
                yield f"{where} must have a {field}"
        if task.get("type", "SIMPLE") == "SIMPLE" and _UNSERVABLE.search(str(task.get("name"))):
            yield f"{where}: name {NO_PATH}, and so to every worker's poll"
        if "type" in task and (not isinstance(task["type"], str) or not task["type"].strip()):
            yield f"{where}: type must be a text such as SIMPLE, not {task['type']!r}"
        if not isinstance(task.get("inputParameters") or {}, dict):
            yield f"{where}: inputParameters must be an object"
        yield from (f"{where}: {problem}" for problem in _amounts(task))
        refs[str(task.get("taskReferenceName"))] = refs.get(str(task.get("taskReferenceName")), 0) + 1
    for ref, times in refs.items():
        if times > 1:
            yield f"taskReferenceName {ref!r} stands {times} times; each must be the only one of its name"


def _amounts(data: Mapping[str, Any]) -> Iterator[str]:
    for field in AMOUNTS:
        amount = data.get(field)
        if amount is not None and (isinstance(amount, bool) or not isinstance(amount, int) or amount < 0):
            yield f"{field} must be a whole number from 0 on, not {amount!r}"


def _task_problems(data: Mapping[str, Any]) -> Iterator[str]:
    """What only task definitions have; the server has 3600 where ``responseTimeoutSeconds`` is not given."""
    if data.get("type") or "taskReferenceName" in data:
        yield "is a task of a workflow, not a definition of one: put it into a workflow's tasks"
    limit, response = data.get("timeoutSeconds") or 0, data.get("responseTimeoutSeconds", 3600)
    if isinstance(limit, int) and isinstance(response, int) and 0 < limit < response:
        yield f"responseTimeoutSeconds ({response}) must not be over timeoutSeconds ({limit})"


def inner_tasks(tasks: Any, where: str = "tasks") -> Iterator[tuple[str, Any]]:
    """Each task of a workflow with its place, those inside of others too."""
    for number, task in enumerate(tasks if isinstance(tasks, list) else []):
        place = f"{where}[{number}]"
        yield place, task
        if not isinstance(task, dict):
            continue
        for field in ("defaultCase", "loopOver"):
            yield from inner_tasks(task.get(field), f"{place}.{field}")
        cases = task.get("decisionCases")
        for case, branch in cases.items() if isinstance(cases, dict) else ():
            yield from inner_tasks(branch, f"{place}.decisionCases[{case!r}]")
        for branch_number, branch in enumerate(task.get("forkTasks") or ()):
            yield from inner_tasks(branch, f"{place}.forkTasks[{branch_number}]")
