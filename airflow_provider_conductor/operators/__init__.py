"""Operators for Conductor workflows.

Import the names in ``__all__`` from this package; its modules are internal.
"""

from typing import TYPE_CHECKING

from airflow_provider_conductor._exports import exports

if TYPE_CHECKING:
    from airflow_provider_conductor.operators.approval import ConductorApprovalOperator as ConductorApprovalOperator
    from airflow_provider_conductor.operators.batch import (
        ConductorExecuteWorkflowsOperator as ConductorExecuteWorkflowsOperator,
    )
    from airflow_provider_conductor.operators.complete_task import (
        ConductorCompleteTaskOperator as ConductorCompleteTaskOperator,
        ConductorSignalWorkflowOperator as ConductorSignalWorkflowOperator,
    )
    from airflow_provider_conductor.operators.control import (
        ConductorDeleteWorkflowOperator as ConductorDeleteWorkflowOperator,
        ConductorPauseWorkflowOperator as ConductorPauseWorkflowOperator,
        ConductorRerunWorkflowOperator as ConductorRerunWorkflowOperator,
        ConductorRestartWorkflowOperator as ConductorRestartWorkflowOperator,
        ConductorResumeWorkflowOperator as ConductorResumeWorkflowOperator,
        ConductorRetryWorkflowOperator as ConductorRetryWorkflowOperator,
        ConductorSkipTaskOperator as ConductorSkipTaskOperator,
        ConductorTerminateWorkflowOperator as ConductorTerminateWorkflowOperator,
    )
    from airflow_provider_conductor.operators.definitions import (
        ConductorRegisterDefinitionsOperator as ConductorRegisterDefinitionsOperator,
    )
    from airflow_provider_conductor.operators.execute import (
        ConductorExecuteWorkflowOperator as ConductorExecuteWorkflowOperator,
        ConductorStartWorkflowOperator as ConductorStartWorkflowOperator,
    )

__all__, __getattr__ = exports(
    __name__,
    {
        "ConductorApprovalOperator": "approval",
        "ConductorCompleteTaskOperator": "complete_task",
        "ConductorDeleteWorkflowOperator": "control",
        "ConductorExecuteWorkflowOperator": "execute",
        "ConductorExecuteWorkflowsOperator": "batch",
        "ConductorPauseWorkflowOperator": "control",
        "ConductorRegisterDefinitionsOperator": "definitions",
        "ConductorRerunWorkflowOperator": "control",
        "ConductorRestartWorkflowOperator": "control",
        "ConductorResumeWorkflowOperator": "control",
        "ConductorRetryWorkflowOperator": "control",
        "ConductorSignalWorkflowOperator": "complete_task",
        "ConductorSkipTaskOperator": "control",
        "ConductorStartWorkflowOperator": "execute",
        "ConductorTerminateWorkflowOperator": "control",
    },
)
