"""One end of a workflow as the search index has it, and which ends a watcher wants. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.control.conditions import time_in


@dataclass(frozen=True, slots=True)
class End:
    """A workflow's end; ``summary`` is the index's. Times are the server's, in ms."""

    summary: Workflow
    time: int
    updated: int

    @classmethod
    def of(cls, summary: Workflow) -> End:
        """Read a summary. An index without the end time has the time of the last change, which is the end's, too."""
        updated = time_in(summary.data, "updateTime") or 0
        return cls(summary, time_in(summary.data, "endTime") or updated, updated)

    @property
    def workflow_id(self) -> str:
        return self.summary.workflow_id

    @property
    def parent_known(self) -> bool:
        """Whether the index has the parent; those of older servers have none."""
        return "parentWorkflowId" in self.summary.data


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which ends a watcher wants.

    Args:
        names: of workflows; empty: by ``prefix``.
        prefix: how the names begin.
        statuses: what they end with.
        correlation_id: exactly this one; None: any.
        sub_workflows: whether the end of a sub-workflow is one.
    """

    names: tuple[str, ...] = ()
    prefix: str = ""
    statuses: tuple[str, ...] = ("COMPLETED",)
    correlation_id: str | None = None
    sub_workflows: bool = False

    def may_be(self, end: End) -> bool:
        """Whether this end is wanted, as far as the index's summary shows."""
        found = end.summary
        return (
            found.status in self.statuses
            and (found.name in self.names if self.names else found.name.startswith(self.prefix))
            and (self.correlation_id is None or found.correlation_id == self.correlation_id)
            and (self.sub_workflows or not found.parent_workflow_id)
        )

    def needs_parent(self, end: End) -> bool:
        """Whether only the workflow itself shows that it is wanted."""
        return not self.sub_workflows and not end.parent_known
