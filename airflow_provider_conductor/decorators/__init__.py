"""``@task.conductor``.

Import the names in ``__all__`` from this package; its modules are internal.
"""

from typing import TYPE_CHECKING

from airflow_provider_conductor._exports import exports

if TYPE_CHECKING:
    from airflow_provider_conductor.decorators.conductor import conductor_task as conductor_task

__all__, __getattr__ = exports(
    __name__,
    {
        "conductor_task": "conductor",
    },
)
