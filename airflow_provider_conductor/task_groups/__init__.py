"""Task groups: a workflow's steps as Airflow tasks."""

from airflow_provider_conductor.task_groups.workflow import ConductorWorkflowTaskGroup

__all__ = ["ConductorWorkflowTaskGroup"]
