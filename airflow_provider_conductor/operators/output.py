"""What of a workflow's output becomes a task's result: fetched, picked, bounded, and never changed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor._airflow import xcom_is_json_in_database
from airflow_provider_conductor.client.models import PayloadType
from airflow_provider_conductor.client.output_path import MissingPartError, OutputPath
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.exceptions import (
    AboutWorkflow,
    ConductorOutputMissingError,
    ConductorOutputNotStorableError,
    ConductorOutputTooLargeError,
)

if TYPE_CHECKING:
    from airflow_provider_conductor.client.models import Task, Workflow
    from airflow_provider_conductor.hooks.conductor import ConductorHook

MAX_DEPTH = 250
"""Lists and objects within each other; Airflow 3's own models of JSON refuse more than 254 (seen on 3.3.2)."""

INTEGERS = range(-(2**63), 2**64)
"""What a worker can send to its supervisor (seen on Airflow 3.3.2)."""


@dataclass(frozen=True, slots=True)
class Output:
    """An output as the server answered it.

    Args:
        value: what was answered; empty where the output is kept elsewhere.
        stored_at: the path in Conductor's external payload storage, or "".
        payload_type: whose output it is, as that storage is asked.
        workflow_id: the workflow it is of.
        name: the output in messages.
    """

    value: Mapping[str, Any]
    stored_at: str
    payload_type: PayloadType
    workflow_id: str
    name: str

    @classmethod
    def of_workflow(cls, workflow: Workflow) -> Output:
        name = f"the output of workflow {workflow.workflow_id}"
        where, kind = workflow.external_output_path, PayloadType.WORKFLOW_OUTPUT
        return cls(workflow.output, where, kind, workflow.workflow_id, name)

    @classmethod
    def of_task(cls, task: Task, workflow_id: str) -> Output:
        name = f"the output of task {task.reference_name} of workflow {workflow_id}"
        return cls(task.output, task.external_output_path, PayloadType.TASK_OUTPUT, workflow_id, name)

    def read(self, hook: ConductorHook) -> dict[str, Any]:
        """The whole output, wherever the server keeps it."""
        if self.value or not self.stored_at:
            return dict(self.value)
        from airflow_provider_conductor.client.errors import PayloadNotOfferedError
        from airflow_provider_conductor.client.external_storage import fetch_payload

        try:
            return fetch_payload(hook.client, self.stored_at, self.payload_type)
        except PayloadNotOfferedError as error:
            raise ConductorOutputTooLargeError(
                f"{self.name} is in Conductor's external payload storage, at {self.stored_at}, and cannot be fetched "
                f"from there: {error}; nothing was written to XCom. Let the workflow return less (its "
                "outputParameters), or read it from there",
                reason=str(error),
                **self._about(hook),
            ) from error

    def for_xcom(self, hook: ConductorHook, *, output_path: str | None, limit: int, stored: bool = True) -> Any:
        """The output, or the part of it that ``output_path`` picks, if its JSON is within ``limit`` bytes.

        ``stored`` is False where the task writes no XCom; then Airflow's database need not be able to hold it.
        """
        value: Any = self.read(hook)
        if output_path:
            try:
                value = OutputPath.of(output_path).pick(value)
            except MissingPartError as error:
                raise ConductorOutputMissingError(
                    f"{self.name} has no part at output_path={output_path!r}: {error}. Nothing was written to XCom; "
                    "correct the path, or let the workflow return that part (its outputParameters)",
                    reason=str(error),
                    **self._about(hook),
                ) from None
        what = f"the part {output_path!r} of {self.name}" if output_path else self.name
        if stored:
            check_storable(value, what, **self._about(hook))
        size = json_size(value)
        if size > limit:
            raise ConductorOutputTooLargeError(
                f"{what} has {size:,} bytes, over max_output_bytes={limit:,}; nothing was written to XCom. Let the "
                "workflow return less (its outputParameters), pick a part (output_path), read it with ConductorHook, "
                "or raise max_output_bytes",
                **self._about(hook),
            )
        return value

    def _about(self, hook: ConductorHook) -> AboutWorkflow:
        return {"workflow_id": self.workflow_id, "url": hook.workflow_url(self.workflow_id)}


def json_size(value: Any) -> int:
    """Bytes of its JSON."""
    return len(json.dumps(value, default=str))


def check_storable(
    value: Any,
    name: str,
    way_out: str = "pick a part without it (output_path)",
    *,
    workflow_id: str = "",
    url: str = "",
) -> None:
    """Refuse what Airflow 3 cannot keep as a task's result; messages have its ``name`` and the ``way_out``.

    ==========================================================  =====================================
    in a text, a key or a number                                refused by
    ==========================================================  =====================================
    a NUL character                                             PostgreSQL's JSONB (seen on 15)
    a lone surrogate                                            the same, and the worker's supervisor
    a whole number outside of 64 bits, NaN, infinity            the worker's supervisor
    lists and objects more than 250 deep                        the same
    ==========================================================  =====================================

    Without this check the task fails, and is retried, with an error of the API server's or the database's that names
    neither the workflow nor the field. Airflow 2.11 stores bytes, XCom backends what they like: it is left to them.

    Raises:
        ConductorOutputNotStorableError: something of it.
    """
    if not xcom_is_json_in_database():
        return
    for what, path in _unstorable(value):
        raise ConductorOutputNotStorableError(
            f"{name} has {what} at {_shown_path(path)}, which Airflow cannot store in its database; nothing was "
            f"written to XCom. Change the workflow's outputParameters, {way_out}, or read it with "
            "ConductorHook in a task of your own",
            workflow_id=workflow_id,
            url=url,
            reason=what,
        )


def _unstorable(value: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    # No recursion: a server takes JSON about 990 deep. Children share their parent's path, so that few are made.
    left: list[tuple[Any, tuple[Any, ...], tuple[Any, ...]]] = [(value, (), ())]
    while left:
        item, parent, key = left.pop()
        path = parent + key
        what = ""
        if isinstance(item, str):
            what = _in_text(item)
        elif isinstance(item, float):
            what = "" if math.isfinite(item) else f"the number {item}"
        elif isinstance(item, int):
            what = "" if item in INTEGERS else "a whole number of more than 64 bits"
        elif isinstance(item, (Mapping, list, tuple)):
            if len(path) >= MAX_DEPTH:
                what = f"lists and objects more than {MAX_DEPTH} deep"
            elif isinstance(item, Mapping):
                yield from ((f"{found} in the key {name!r}", path) for name in item if (found := _in_text(str(name))))
                left += [(child, path, (name,)) for name, child in reversed(list(item.items()))]
            else:
                left += [(item[index], path, (index,)) for index in range(len(item) - 1, -1, -1)]
        if what:
            yield what, path


def _in_text(text: str) -> str:
    if "\0" in text:
        return "a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a lone surrogate"
    return ""


def _shown_path(parts: tuple[Any, ...]) -> str:
    """The path as ``output_path`` would have it, shortened in the middle."""
    if not parts:
        return "its top"
    if len(parts) > 12:
        parts = (*parts[:6], "…", *parts[-3:])
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{one_line(part, 80)}" for part in parts)
    return repr(text.lstrip("."))
