"""What OpenLineage gets of a task's workflow, where its provider is installed.

Its listener runs after the task has ended, and gets what the task knows by then: no request is made to Conductor.
"""

from __future__ import annotations

import logging
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_conductor.client.errors import server_of
from airflow_provider_conductor.client.lineage import LINEAGE_KEY
from airflow_provider_conductor.client.text import one_line

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_conductor.client.models import Workflow
    from airflow_provider_conductor.hooks.conductor import ConductorHook

log = logging.getLogger(__name__)

LISTENER = "airflow.providers.openlineage.plugins.listener"
"""The module of its listener, which the provider's plugin imports where OpenLineage is on."""

FACET_KEY = "conductor_workflow"
"""The run facet with what only Conductor has; the id and the server are in OpenLineage's own ``externalQuery``, too."""


class LineageMixin:
    """The methods that the OpenLineage provider looks for on an operator."""

    _lineage_id: str | None = None
    """The task's workflow, once it is known."""

    _lineage_of: Workflow | None = None
    """The workflow as it was read last, if it was."""

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Run facets: the workflow's id, name, version, status, server and page, as far as the task knows them.

        A workflow that has ended, as the task knows it, becomes a run of its own below the task's.
        """
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.facet_v2 import external_query_run

        if self._lineage_id is None:
            return OperatorLineage()
        facet = self._workflow_facet(self._lineage_id)
        external = external_query_run.ExternalQueryRunFacet(
            externalQueryId=self._lineage_id, source=facet.server or "conductor"
        )
        facets = {"externalQuery": external, FACET_KEY: facet}
        if self._lineage_of is not None and lineage_is_on():
            from airflow_provider_conductor.operators.lineage_events import emit_workflow_run

            hook: ConductorHook = vars(self)["hook"]  # which has read it
            emit_workflow_run(task_instance, self._lineage_of, hook.settings.api_url, facets)
        return OperatorLineage(run_facets=facets)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        return self.get_openlineage_facets_on_complete(task_instance)

    def _lineage_context(self, task_instance: Any) -> dict[str, Any]:
        """For the workflow's input: the task's run of OpenLineage, as its provider reads it in a dag run's conf."""
        if not lineage_is_on():
            return {}
        from airflow_provider_conductor.operators.lineage_events import run_of_task

        try:
            return {LINEAGE_KEY: run_of_task(task_instance)}
        except Exception as error:  # whatever its macros may raise
            log.warning("The workflow gets no OpenLineage parent: %s", error)
            return {}

    def _workflow_facet(self, workflow_id: str) -> Any:
        from airflow_provider_conductor.operators.arguments import whole_number

        read = self._lineage_of
        hook = vars(self).get("hook")
        settings = vars(hook).get("settings") if hook else None  # looked up already, or not at all
        version = read.version if read else vars(self).get("version")
        return _facet_class()(
            workflowId=workflow_id,
            workflowName=one_line((read.name if read else "") or vars(self).get("workflow_name") or "", 255) or None,
            workflowVersion=whole_number(version, "version") or None,
            status=one_line(read.data.get("status")) if read else None,
            server=server_of(settings.api_url) if settings else None,
            url=settings.workflow_url(workflow_id) if settings else None,
        )


def lineage_is_on() -> bool:
    """Whether this task's events go to OpenLineage; nothing of it is imported where they don't."""
    if LISTENER not in sys.modules:
        return False
    from airflow.providers.openlineage.conf import is_disabled

    return not is_disabled()


@cache
def _facet_class() -> Any:
    """Made here, since its base class is not there without the OpenLineage provider."""
    from attrs import define
    from openlineage.client.facet_v2 import RunFacet

    @define
    class ConductorWorkflowRunFacet(RunFacet):
        """A Conductor workflow that an Airflow task started, waited for or controlled."""

        workflowId: str
        workflowName: str | None = None
        workflowVersion: int | None = None
        status: str | None = None
        server: str | None = None
        url: str | None = None

        _additional_skip_redact: ClassVar[list[str]] = [
            *("workflowId", "workflowName", "workflowVersion", "status", "server", "url")
        ]

    return ConductorWorkflowRunFacet
