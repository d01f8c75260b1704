"""Operators and a sensor that look ten times a second, and the two ways in which they wait."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator, ConductorRetryWorkflowOperator
from airflow_provider_conductor.sensors import ConductorWorkflowSensor

both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])


def execute(**arguments: Any) -> ConductorExecuteWorkflowOperator:
    defaults = {"workflow_name": "orders", "wait_for_seconds": 0.1, "poll_interval": 0.1, "deferrable": False}
    return ConductorExecuteWorkflowOperator(task_id="execute", **{**defaults, **arguments})


def retry(workflow_id: str, **arguments: Any) -> ConductorRetryWorkflowOperator:
    defaults = {"poll_interval": 0.1, "wait_for_completion": True, "deferrable": False}
    return ConductorRetryWorkflowOperator(task_id="retry", workflow_id=workflow_id, **{**defaults, **arguments})


def sensor(workflow_id: str, **arguments: Any) -> ConductorWorkflowSensor:
    defaults = {"poke_interval": 0.1, "deferrable": False}
    return ConductorWorkflowSensor(task_id="sense", workflow_id=workflow_id, **{**defaults, **arguments})
