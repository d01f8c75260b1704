"""The links from a task in Airflow's UI to its workflow, or definition, in Conductor's."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from airflow.providers.common.compat.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey

WORKFLOW_ID_KEY = "workflow_id"
"""XCom key of the workflow's id, written right after the start."""

WORKFLOW_URL_KEY = "workflow_url"
"""XCom key of the URL. Also the link's own key in Airflow 3, so the button is there from the start of the wait on."""

DEFINITION_URL_KEY = "definition_url"
"""XCom key of the URL of a definition's page."""


class LinkInXCom(BaseOperatorLink):
    """A link whose URL the task pushes to XCom."""

    _key: ClassVar[str]

    @property
    def xcom_key(self) -> str:
        return self._key

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The URL that the task has pushed, or "" before it; no request is made."""
        from airflow.providers.common.compat.sdk import XCom

        return XCom.get_value(key=self._key, ti_key=ti_key) or ""


class ConductorWorkflowLink(LinkInXCom):
    """Link to the execution's page in Conductor's UI, from right after the start on."""

    name = "Conductor workflow"
    _key = WORKFLOW_URL_KEY


class ConductorDefinitionLink(LinkInXCom):
    """Link to the page of the first workflow definition that was registered."""

    name = "Conductor definition"
    _key = DEFINITION_URL_KEY
