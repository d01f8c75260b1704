"""The hook that makes a Conductor client of an Airflow connection.

Import the names in ``__all__`` from this package; its modules are internal.
"""

from typing import TYPE_CHECKING

from airflow_provider_conductor._exports import exports

if TYPE_CHECKING:
    from airflow_provider_conductor.hooks.conductor import ConductorHook as ConductorHook

__all__, __getattr__ = exports(
    __name__,
    {
        "ConductorHook": "conductor",
    },
)
