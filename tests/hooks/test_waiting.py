"""The hook waits on the worker, for the end of a workflow or of one of its tasks."""

from __future__ import annotations

import pytest

from airflow_provider_conductor.exceptions import ConductorTaskUnreachableError
from airflow_provider_conductor.hooks import ConductorHook
from airflow_provider_conductor.testing import ConductorStandIn

PACK = {"taskId": "1", "referenceTaskName": "pack__1", "taskType": "SIMPLE", "status": "COMPLETED"}


def test_the_workflow_comes_with_its_tasks(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add(tasks=[PACK])
    workflow = ConductorHook().wait_for_workflow(workflow_id, wait_until_task_ref="pack__1")
    assert [task.reference_name for task in workflow.tasks] == ["pack__1"]


def test_a_task_that_never_comes_is_an_error(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add("COMPLETED", tasks=[PACK])
    with pytest.raises(ConductorTaskUnreachableError, match=r"without a task 'pack' \(its tasks: 'pack__1'") as missed:
        ConductorHook().wait_for_workflow(workflow_id, wait_until_task_ref="pack")
    assert (missed.value.workflow_id, missed.value.task_reference_name) == (workflow_id, "pack")
