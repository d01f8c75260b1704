"""Whether a sensor can begin in the triggerer, and what it hands over there: decided when the DAG is parsed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor._airflow import triggers_render_templates
from airflow_provider_conductor.operators.arguments import is_template

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator


def why_not_in_triggerer(sensor: BaseOperator, arguments: Mapping[str, Any]) -> str:
    """Why Airflow would have to begin this sensor on a worker; empty where it need not.

    ========================================================  ==================================================
    the case                                                  why
    ========================================================  ==================================================
    Airflow before 3.3                                        its triggerer renders no templates
    a mapped sensor, or one in a mapped task group            which of them it is, is told on the worker only
    an argument that is neither text nor a task's output      its triggerer gets plain values only
    a template, in a DAG with macros or filters of its own    they are functions, which never leave the DAG's file
    ========================================================  ==================================================
    """
    if not triggers_render_templates():
        return "it needs Airflow 3.3 or later"
    if getattr(sensor, "_BaseOperator__from_mapped", False) or _is_mapped(sensor):
        return "it is mapped"
    for name, value in arguments.items():
        if not _plain(as_template(value)):
            return f"{name} is neither a text nor a task's output"
    dag = sensor.get_dag()
    if dag is not None and any(map(is_template, arguments.values())):
        for what in ("user_defined_macros", "user_defined_filters"):
            if getattr(dag, what, None):
                return f"its DAG has {what}, which the triggerer cannot see"
    return ""


def as_template(value: Any) -> Any:
    """A task's output as the template that reads it; anything else as it is."""
    operator, key = getattr(value, "operator", None), getattr(value, "key", None)
    if key is None or operator is None or _is_mapped(operator):
        return value
    return str(value)


def _is_mapped(operator: BaseOperator) -> bool:
    return operator.is_mapped or operator.get_closest_mapped_task_group() is not None


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return value is None or isinstance(value, str)
