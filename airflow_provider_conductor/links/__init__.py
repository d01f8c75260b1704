"""Links from a task in Airflow's UI to Conductor's.

Import the names in ``__all__`` from this package; its modules are internal.
"""

from typing import TYPE_CHECKING

from airflow_provider_conductor._exports import exports

if TYPE_CHECKING:
    from airflow_provider_conductor.links.conductor import (
        ConductorDefinitionLink as ConductorDefinitionLink,
        ConductorWorkflowLink as ConductorWorkflowLink,
    )

__all__, __getattr__ = exports(
    __name__,
    {
        "ConductorDefinitionLink": "conductor",
        "ConductorWorkflowLink": "conductor",
    },
)
