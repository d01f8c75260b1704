"""What a task of type ``airflow_dag`` asks for: its input, checked before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

TASK_TYPE = "airflow_dag"
"""The type of the tasks, and the name of their definition."""

RETURN_VALUE = "return_value"

LONGEST_NOTE = 1_000
"""Characters of a DAG run's note (Airflow's limit)."""


class RequestError(ValueError):
    """The input of a task cannot be used."""


@dataclass(frozen=True, slots=True)
class XCom:
    """An XCom to return.

    Attributes:
        name: its name in the task's output.
        map_index: -1 for a task that is not mapped.
    """

    task_id: str
    key: str = RETURN_VALUE
    map_index: int = -1
    name: str = ""


@dataclass(frozen=True, slots=True)
class DagRunRequest:
    """The DAG run that a task stands for.

    Attributes:
        logical_date: ISO 8601 with a time zone; None: the run has none (Airflow 3), or the time of its start (2.11).
        note: shown in Airflow's UI, up to 1,000 characters.
        xcoms: what to return when the run has succeeded.
    """

    dag_id: str
    conf: Mapping[str, Any] = field(default_factory=dict)
    logical_date: str | None = None
    note: str | None = None
    xcoms: tuple[XCom, ...] = ()

    @classmethod
    def of(cls, task_input: Mapping[str, Any]) -> DagRunRequest:
        """Read a task's input.

        ================  ==================================================  =========================
        key               value                                               refused
        ================  ==================================================  =========================
        ``dag_id``        text                                                missing, empty
        ``conf``          object; null is an empty one                        anything else
        ``logical_date``  ISO 8601 with a time zone; null or "" is none       anything else
        ``note``          text of up to 1,000 characters; null is none        anything else
        ``xcoms``         list of task ids and of objects with ``task_id``,   names that occur twice,
                          ``key``, ``map_index``, ``name``; null is empty     unknown keys, other types
        another key       is ignored: workflows pass on more than is needed
        ================  ==================================================  =========================

        Raises:
            RequestError: it cannot be used; the message names the key.
        """
        dag_id = task_input.get("dag_id")
        if not isinstance(dag_id, str) or not dag_id.strip():
            raise RequestError(f"dag_id must be the id of a DAG, not {dag_id!r:.80}")
        conf = task_input.get("conf")
        if not isinstance(conf, Mapping | None):
            raise RequestError(f"conf must be an object, not {conf!r:.80}")
        note = task_input.get("note")
        if not isinstance(note, str | None) or len(note or "") > LONGEST_NOTE:
            raise RequestError(f"note must be a text of up to {LONGEST_NOTE:,} characters")
        return cls(
            dag_id.strip(), conf or {}, _date(task_input.get("logical_date")), note, _xcoms(task_input.get("xcoms"))
        )


def _date(value: Any) -> str | None:
    if value in (None, ""):
        return None
    try:
        if datetime.fromisoformat(value).tzinfo is not None:
            return str(value)
    except (TypeError, ValueError):
        pass
    raise RequestError(f"logical_date must be a date and time in ISO 8601 with a time zone, not {value!r:.80}")


def _xcoms(value: Any) -> tuple[XCom, ...]:
    if not isinstance(value, list | None):
        raise RequestError(f"xcoms must be a list, not {value!r:.80}")
    found = tuple(_xcom(item) for item in value or ())
    names = [xcom.name for xcom in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RequestError(f"xcoms has {twice[0]!r} twice: give each a name of its own by 'name'")
    return found


def _xcom(item: Any) -> XCom:
    if isinstance(item, str):
        item = {"task_id": item}
    if not isinstance(item, Mapping):
        raise RequestError(f"xcoms must have task ids or objects, not {item!r:.80}")
    if unknown := sorted(item.keys() - {"task_id", "key", "map_index", "name"}):
        raise RequestError(f"xcoms has an unknown key {unknown[0]!r}; there are task_id, key, map_index, name")
    task_id, key = item.get("task_id"), item.get("key") or RETURN_VALUE
    map_index = -1 if item.get("map_index") is None else item["map_index"]
    name = item.get("name") or (task_id if key == RETURN_VALUE else key)
    if not (isinstance(task_id, str) and task_id and isinstance(key, str) and isinstance(name, str)):
        raise RequestError(f"xcoms: task_id, key and name must be texts: {dict(item)!r:.120}")
    if type(map_index) is not int or map_index < -1:
        raise RequestError(f"xcoms: map_index must be a whole number from 0 on, not {map_index!r:.80}")
    return XCom(task_id, key, map_index, name)
