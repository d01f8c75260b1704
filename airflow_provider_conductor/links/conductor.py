"""The links from a task in Airflow's UI to its workflow, or definition, in Conductor's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey

__all__ = ["ConductorDefinitionLink", "ConductorWorkflowLink"]

WORKFLOW_ID_KEY = "workflow_id"
"""XCom key of the workflow's id, written right after the start."""

WORKFLOW_URL_KEY = "workflow_url"
"""XCom key of the URL. Also the link's own key in Airflow 3, so the button is there from the start of the wait on."""

DEFINITION_URL_KEY = "definition_url"
"""XCom key of the URL of a definition's page."""


class ConductorWorkflowLink(BaseOperatorLink):
    """Link to the execution's page in Conductor's UI. It is read from XCom; no request is made."""

    name = "Conductor workflow"

    @property
    def xcom_key(self) -> str:
        return WORKFLOW_URL_KEY

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The URL pushed right after the start, or "" before it."""
        from airflow.providers.common.compat.sdk import XCom

        return XCom.get_value(key=WORKFLOW_URL_KEY, ti_key=ti_key) or ""


class ConductorDefinitionLink(BaseOperatorLink):
    """Link to the page of the first workflow definition that was registered. It is read from XCom."""

    name = "Conductor definition"

    @property
    def xcom_key(self) -> str:
        return DEFINITION_URL_KEY

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The URL pushed when the definitions had been registered, or "" before it."""
        from airflow.providers.common.compat.sdk import XCom

        return XCom.get_value(key=DEFINITION_URL_KEY, ti_key=ti_key) or ""
