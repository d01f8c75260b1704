"""Sensors for Conductor workflows and their tasks."""

from airflow_provider_conductor.sensors.task import ConductorTaskSensor
from airflow_provider_conductor.sensors.workflow import ConductorWorkflowSensor

__all__ = ["ConductorTaskSensor", "ConductorWorkflowSensor"]
