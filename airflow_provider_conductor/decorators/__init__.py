"""``@task.conductor``."""

from airflow_provider_conductor.decorators.conductor import conductor_task

__all__ = ["conductor_task"]
