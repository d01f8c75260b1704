"""What can be checked of an approval's arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_conductor.client.plain import to_plain

APPROVE, REJECT = "Approve", "Reject"

REJECTED_STATUSES = ("FAILED_WITH_TERMINAL_ERROR", "FAILED", "COMPLETED")


def _texts(value: Any, name: str) -> list[str]:
    found = [value] if isinstance(value, str) else to_plain(value)
    if not isinstance(found, list) or not all(isinstance(item, str) and item.strip() for item in found):
        raise ValueError(f"{name} must be a list of texts, not {value!r:.100}")
    return found


def checked_options(
    options: Any, reject_options: Any, defaults: Any, *, multiple: bool
) -> tuple[list[str], list[str], list[str] | None]:
    """Options, those that reject, and those chosen when nobody answers.

    Raises:
        ValueError: an option is given twice or none is; a rejection or default is no option; several defaults where
            one can be chosen.
    """
    known = _texts(options, "options")
    if not known or len(set(known)) < len(known):
        raise ValueError(f"options must be one text or several different ones, not {options!r}")
    rejecting = (
        [REJECT] if reject_options is None and REJECT in known else _texts(reject_options or [], "reject_options")
    )
    chosen = None if defaults is None else _texts(defaults, "defaults")
    for name, some in (("reject_options", rejecting), ("defaults", chosen or [])):
        if unknown := [option for option in some if option not in known]:
            raise ValueError(f"{name} must be some of the options {known!r}; {unknown!r} are not")
    if chosen is not None and not (len(chosen) == 1 or (chosen and multiple)):
        raise ValueError(f"defaults must be one option, or several with multiple=True, not {defaults!r}")
    return known, rejecting, chosen


def checked_branches(mapping: Mapping[str, Any], options: Sequence[str], reject_options: Sequence[str]) -> None:
    """Refuse a mapping that leaves open what follows after an approval.

    Raises:
        ValueError: a key is no option, a value no task id, or an option that approves is missing.
    """
    if not mapping:
        return
    if unknown := [option for option in mapping if option not in options]:
        raise ValueError(f"options_mapping must have options as keys; {unknown!r} are not among {options!r}")
    for value in mapping.values():
        _texts(value, "the values of options_mapping, which are task ids,")
    missing = [o for o in options if o not in mapping and o not in reject_options]
    if missing:
        raise ValueError(f"options_mapping must have a task for each option that is no rejection; {missing!r} lack one")


def users(given: Any) -> list[dict[str, str]]:
    """Users as Airflow has them: ``{"id", "name"}``.

    Raises:
        ValueError: something that names no user.
    """
    if given is None or given == "":
        return []
    several = [given] if isinstance(given, (str, Mapping)) else to_plain(given)
    found = []
    for user in several:
        if isinstance(user, str) and user.strip():
            found.append({"id": user, "name": user})
        elif isinstance(user, Mapping) and user.get("id"):
            found.append({"id": str(user["id"]), "name": str(user.get("name") or user["id"])})
        else:
            raise ValueError(f"assigned_users must be ids, or mappings with id and name, not {user!r:.100}")
    return found


def own_params(given: Any, kind: type[Any], dag: Any) -> Any:
    """The params that the task itself was given: Airflow mixes those of the DAG with them.

    Args:
        kind: Airflow's class of several params.
    """
    params = kind(given or {})
    if hasattr(kind, "filter_params_by_source"):  # Airflow 3.2
        return kind.filter_params_by_source(params, source="task")
    of_dag = getattr(dag, "params", None) or {}
    return kind({name: _param(params, name) for name in params if not _same(params, of_dag, name)})


def _param(params: Any, name: str) -> Any:
    return params.get_param(name)


def _same(params: Any, of_dag: Any, name: str) -> bool:
    if name not in of_dag or not hasattr(of_dag, "get_param"):
        return False
    ours, dags = params.get_param(name), of_dag.get_param(name)
    return bool((ours.value, ours.description, ours.schema) == (dags.value, dags.description, dags.schema))
