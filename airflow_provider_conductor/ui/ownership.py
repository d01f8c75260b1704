"""Which workflows belong to a task instance, whatever users have written to Airflow's database. No I/O.

Users can write XComs and task states. So a workflow counts only if its correlation id is that of a start by the task
instance, or if the operator's arguments, which no user can write, name it. The tasks of a task group's steps have not
started their workflow: it is theirs if it is that of the group's start.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.mirrors.names import refs_of
from airflow_provider_conductor.operators.task_run import DEFAULT_IDENTITY_PREFIX
from airflow_provider_conductor.submission.identity import HASH_LENGTH, MAX_ID_LENGTH, TaskIdentity

START_TASK_ID = "start_task_id"
"""The argument that only the task of a step in a task group has."""

INPUTS = "workflow_inputs"
"""The argument that only a batch has."""

LABELS = ("correlation_id", "correlationId")
"""What a whole start request calls it, from the SDK or as JSON."""

BEGINNING = MAX_ID_LENGTH - HASH_LENGTH - 1
"""Characters of an identity that are never a hash."""

HASHES = 50_000
"""Ids that are computed to recognize one that ends in a hash, where places in the list identify the items."""


@dataclass(frozen=True, slots=True)
class TaskInstanceId:
    """Which task instance; ``map_index`` is -1 if it is not mapped."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ConductorTask:
    """A task instance of an operator for Conductor, whose Conductor is the connection ``conn_id``.

    Attributes:
        arguments: of the operator as Airflow has rendered them for this task instance, or as the DAG has them where
            that is not known any more. No user can write these.
        rendered: whether Airflow still has the rendered ones.
    """

    id: TaskInstanceId
    state: str
    try_number: int
    conn_id: str
    arguments: Mapping[str, Any]
    rendered: bool = True

    def to_json(self) -> dict[str, Any]:
        """The task instance, as the front end reads it."""
        start_task_id = self.arguments.get(START_TASK_ID)
        steps = refs_of(self.id.task_id, start_task_id) if isinstance(start_task_id, str) else []
        return {**asdict(self.id), "state": self.state, "try_number": self.try_number, "steps": steps}

    def identity(self, prefix: str | None) -> TaskIdentity:
        """Its identity in its present try. How many tries a series has does not matter for who owns a workflow."""
        return TaskIdentity(
            prefix=prefix or DEFAULT_IDENTITY_PREFIX,
            **asdict(self.id),
            try_number=max(1, self.try_number),
            first_try=1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedWorkflow(ConductorTask):
    """A task instance, and the workflow that it names in XCom or in the record of its start.

    Attributes:
        start: of a step's task in a task group, the task instance that starts the group's workflow.
    """

    workflow_id: str
    start: NamedWorkflow | None = None

    def owns(self, workflow: Workflow, identity_prefix: str | None) -> bool:
        """Whether the workflow is really this task instance's, whatever a user has written to XCom.

        ===================================================================  =======
        the workflow                                                         is its
        ===================================================================  =======
        has the correlation id of a start by this task instance              own
        is named in the operator's ``workflow_id``                           own
        has a correlation id that the operator's arguments name              own
        is, by these rules, its task group's start's                         own
        another                                                              not
        ===================================================================  =======
        """
        if self.start is not None:
            return self.start.owns(workflow, identity_prefix)
        label, given = workflow.correlation_id, self.arguments
        if _mentions(given.get("workflow_id"), workflow.workflow_id) or _mentions(given.get("correlation_id"), label):
            return True
        request = given.get("request")
        if isinstance(request, Mapping) and label and label in (request.get(name) for name in LABELS):
            return True
        identity = self.identity(identity_prefix)
        if not _may_be_of(identity, label):  # after many tries, there are many ids
            return False
        return any(label == identity.correlation_id(key) for key in identity.all_keys())


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTask(ConductorTask):
    """A task instance that executes many workflows. No XCom names them: each has a correlation id of its own."""

    @property
    def workflow_name(self) -> str:
        """The name of its workflows; "" if that is not known."""
        return _text(self.arguments.get("workflow_name"))

    @property
    def item_key(self) -> str:
        """The input field that identifies an item; "" if its place in the list does."""
        return _text(self.arguments.get("item_key"))

    def owns(self, workflow: Workflow, identity_prefix: str | None) -> bool:
        """Whether the workflow, or the one that has started it, was started for an item of this task instance.

        ==============================================================  ===================================
        the correlation id                                              the workflow is its own
        ==============================================================  ===================================
        names this task instance, an item, and a series of its tries    yes
        ends in a hash                                                  if the item that the workflow's input
                                                                        shows, or a place in the list, has it
        another, or none                                                no
        ==============================================================  ===================================
        """
        identity, label = self.identity(identity_prefix), workflow.correlation_id
        if identity.item_start(label) is not None:
            return True
        if not _may_be_of(identity, label) or len(label) != MAX_ID_LENGTH:
            return False
        items: Iterable[str] = map(str, itertools.count())
        if self.item_key:
            items = [str(workflow.input.get(self.item_key) or "")]
        ids = (item_id for _, item_id in self._ids(identity, items))
        return label in itertools.islice(ids, HASHES)

    def ids(self, identity_prefix: str | None, limit: int) -> dict[str, str]:
        """The correlation ids of its first items, by which they can be looked up: id → item.

        Empty if the items are identified by inputs of which Airflow has kept only the beginning.
        """
        places = map(str, itertools.count())
        items = self._keys() if self.item_key else places
        ids = self._ids(self.identity(identity_prefix), items)
        return {item_id: item for item, item_id in itertools.islice(ids, limit)}

    def _keys(self) -> list[str]:
        inputs: Any = self.arguments.get(INPUTS)
        if isinstance(inputs, str):
            with suppress(ValueError):
                inputs = json.loads(inputs)
        found = [item.get(self.item_key) for item in inputs if isinstance(item, Mapping)] if _is_list(inputs) else []
        return [str(key) for key in found if key]

    @staticmethod
    def _ids(identity: TaskIdentity, items: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Item and id, of each start that there can have been of each item."""
        keys = identity.all_keys()
        return ((item, replace(identity, item=item).correlation_id(key)) for item in items if item for key in keys)


def _may_be_of(identity: TaskIdentity, label: str) -> bool:
    """Whether a correlation id begins like those of the task instance."""
    return bool(label) and label.startswith(f"{identity.prefix}:{identity.dag_id}"[:BEGINNING])


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mentions(argument: Any, text: str) -> bool:
    """Whether an argument is this text, or has it among others."""
    if not text or argument is None:
        return False
    if isinstance(argument, str):  # perhaps a list as text
        return re.search(rf"(?<![\w:.-]){re.escape(text)}(?![\w:.-])", argument) is not None
    return _is_list(argument) and any(_mentions(value, text) for value in argument)
