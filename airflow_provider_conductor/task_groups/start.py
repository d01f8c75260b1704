"""The task that starts the workflow of a task group, if its definition is still the one that the group was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_conductor.exceptions import ConductorStartRefusedError
from airflow_provider_conductor.operators.execute import ConductorStartWorkflowOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class ConductorStartStepsOperator(ConductorStartWorkflowOperator):
    """Compare the definitions with the server's, then start the workflow.

    Takes the arguments of :class:`~airflow_provider_conductor.operators.execute.ConductorStartWorkflowOperator`, and:

    Args:
        definitions: those that the task group was made of: name, version (None: the latest) and definition.

    Raises:
        ConductorStartRefusedError: the server has other steps, or no such definition; nothing was started.
    """

    def __init__(self, *, definitions: Sequence[tuple[str, int | None, Mapping[str, Any]]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.definitions = tuple(definitions)

    def execute(self, context: Context) -> str:
        self._begin(context)
        for name, version, definition in self.definitions:
            self._check(name, version, definition)
        return super().execute(context)

    def _check(self, name: str, version: int | None, definition: Mapping[str, Any]) -> None:
        from airflow_provider_conductor.client.errors import ConductorNotFoundError
        from airflow_provider_conductor.client.text import readable
        from airflow_provider_conductor.definitions.diff import difference
        from airflow_provider_conductor.mirrors.plan import make_plan

        label = f"workflow {name!r}" + (f", version {version}" if version is not None else "")
        try:
            present = self.hook.client.get_workflow_def(name, version=version)
        except ConductorNotFoundError as error:
            raise ConductorStartRefusedError(
                f"the server has no definition of {label}: nothing was started. Register the definition that this "
                "task group was made of, for example with ConductorRegisterDefinitionsOperator before it"
            ) from error
        changed = difference(present, definition, "in the DAG")
        if not changed:
            return
        if make_plan(present).steps != make_plan(definition).steps:
            raise ConductorStartRefusedError(
                f"the server's definition of {label} has other steps than the one that this task group was made of: "
                "nothing was started. Register the definition of the DAG, or give the DAG the server's:\n"
                f"{readable(changed, 20_000)}"
            )
        self.log.warning(
            "The server's definition of %s differs, with the same steps:\n%s", label, readable(changed, 20_000)
        )
