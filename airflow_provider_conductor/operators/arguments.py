"""What can be checked of an argument when the DAG is parsed, before any template is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_conductor.client.errors import ConductorInputError
from airflow_provider_conductor.client.plain import read_json

if TYPE_CHECKING:
    from airflow_provider_conductor.client.flow import T


def is_template(value: Any) -> bool:
    """Whether it, or something within it, is known only when the task runs: a Jinja template, another task's result."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, Mapping):
        return any(map(is_template, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(is_template, value))
    return hasattr(value, "iter_references")


def given(value: Any, name: str) -> Any:
    """``value``, which must not be empty."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{name} must not be empty")
    return value


def rendered_mapping(value: Any, name: str) -> Mapping[str, Any]:
    """``value`` when the task runs, its templates rendered; JSON text is read, and None is an empty mapping."""
    value = read_json(value, name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConductorInputError(
            f"{name} must be a mapping of names to values, not {type(value).__name__} ({value!r:.60}): nothing was sent"
        )
    return value


def check_output_path(output_path: Any) -> Any:
    """Refuse what is no path, unless it is known only when the task runs: a template, or another task's result."""
    if output_path is not None and not is_template(output_path):
        from airflow_provider_conductor.client.output_path import OutputPath

        OutputPath.of(output_path)
    return output_path


def whole_number(value: int | str | None, name: str) -> int | None:
    """A whole number that may have been rendered to text by a template."""
    if value in (None, "", "None"):
        return None
    try:
        return int(value)
    except (ValueError, TypeError):
        raise ValueError(f"{name} must be a whole number, not {value!r}") from None


def one_of(value: T, allowed: Mapping[str, object] | tuple[str, ...], name: str) -> T:
    """``value``, which must be one of those."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")
    return value


def default_deferrable() -> bool:
    """Airflow's option ``[operators] default_deferrable``."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))
