"""Sensors for Conductor workflows and their tasks.

Import the names in ``__all__`` from this package; its modules are internal.
"""

from typing import TYPE_CHECKING

from airflow_provider_conductor._exports import exports

if TYPE_CHECKING:
    from airflow_provider_conductor.sensors.task import ConductorTaskSensor as ConductorTaskSensor
    from airflow_provider_conductor.sensors.workflow import ConductorWorkflowSensor as ConductorWorkflowSensor

__all__, __getattr__ = exports(
    __name__,
    {
        "ConductorTaskSensor": "task",
        "ConductorWorkflowSensor": "workflow",
    },
)
