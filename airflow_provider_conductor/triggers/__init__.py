"""Triggers that wait for Conductor workflows, and one that schedules DAGs by their ends.

Import the names in ``__all__`` from this package; its modules are internal.
"""

from typing import TYPE_CHECKING

from airflow_provider_conductor._exports import exports

if TYPE_CHECKING:
    from airflow_provider_conductor.triggers.approval import ConductorApprovalTrigger as ConductorApprovalTrigger
    from airflow_provider_conductor.triggers.batch import ConductorWorkflowsTrigger as ConductorWorkflowsTrigger
    from airflow_provider_conductor.triggers.sensor import ConductorSensorTrigger as ConductorSensorTrigger
    from airflow_provider_conductor.triggers.workflow import (
        ConductorWorkflowStepTrigger as ConductorWorkflowStepTrigger,
        ConductorWorkflowTrigger as ConductorWorkflowTrigger,
    )
    from airflow_provider_conductor.triggers.workflow_event import (
        ConductorWorkflowEventTrigger as ConductorWorkflowEventTrigger,
    )

__all__, __getattr__ = exports(
    __name__,
    {
        "ConductorApprovalTrigger": "approval",
        "ConductorSensorTrigger": "sensor",
        "ConductorWorkflowEventTrigger": "workflow_event",
        "ConductorWorkflowStepTrigger": "workflow",
        "ConductorWorkflowTrigger": "workflow",
        "ConductorWorkflowsTrigger": "batch",
    },
)
