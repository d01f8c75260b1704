"""The warning that a run takes longer than usual: from when on, and what is called then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from airflow_provider_conductor.client.errors import ConductorInputError, ConductorRequestError
from airflow_provider_conductor.operators.base import ConductorOperator
from airflow_provider_conductor.polling.durations import percentile, seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_conductor.polling.wait_event import WaitEvent
    from airflow_provider_conductor.polling.wait_spec import WaitSpec

    Operator = ConductorOperator
else:
    Operator = object  # a mixin: Airflow's metaclass would give it an __init__, which cuts off those after it

Callback: TypeAlias = "Callable[[Context], Any]"

WARNING_KEY = "conductor_warning"
"""Where callbacks, and their templates, find the warning in Airflow's context."""


class SlowRunMixin(Operator):
    """``warn_after`` and ``on_warning_callback``."""

    warn_after: float | str | None = None
    on_warning_callback: Sequence[Callback] = ()

    _compared = False
    """Whether the last runs have been looked up for this wait; once is enough, whatever was found."""

    def _set_warning(
        self,
        warn_after: float | timedelta | str | None,
        on_warning_callback: Callback | Sequence[Callback] | None,
    ) -> None:
        """Check both and set them.

        Raises:
            ValueError: one that cannot be used.
        """
        if isinstance(warn_after, str):
            percentile(warn_after, "warn_after")
            self.warn_after = warn_after
        else:
            self.warn_after = seconds(warn_after, "warn_after")
        several = isinstance(on_warning_callback, (list, tuple))
        callbacks: Sequence[Any] = on_warning_callback if several else [on_warning_callback]  # type: ignore[assignment]
        self.on_warning_callback = [callback for callback in callbacks if callback is not None]
        for callback in self.on_warning_callback:
            if not callable(callback):
                raise ValueError(f"on_warning_callback must be a function or notifier, or several, not {callback!r}")
        if self.on_warning_callback and self.warn_after is None:
            raise ValueError("on_warning_callback is never called without warn_after")

    def _known_warning(self) -> dict[str, Any]:
        """What of the spec is known before the workflow is."""
        known = None if isinstance(self.warn_after, str) else self.warn_after
        return {"warn_after": known, "reports_slow": bool(self.on_warning_callback)}

    def _with_usual_duration(self, spec: WaitSpec, event: WaitEvent) -> WaitSpec:
        """The spec of a workflow that runs, with how long its last runs took, if that is what it is compared with.

        Whatever goes wrong with the search: only the warning is missing then.
        """
        if not isinstance(self.warn_after, str) or self._compared:
            return spec
        self._compared = True
        from airflow_provider_conductor.polling.formatting import duration
        from airflow_provider_conductor.polling.usual_duration import FEWEST_RUNS, usual_duration

        client = self.hook.client
        try:
            workflow = event.workflow or client.get_workflow(spec.workflow_id, include_tasks=False)
            usual = client.run(usual_duration(workflow.name, percentile(self.warn_after, "warn_after")))
        except (ConductorInputError, ConductorRequestError) as error:
            self.log.warning("No warning after %s of the last runs: the search failed: %s", self.warn_after, error)
            return spec
        if usual.seconds is None:
            self.log.info(
                "No warning after %s of the last runs: the index has %d completed ones of %s, and %d are needed",
                *(self.warn_after, usual.runs, workflow.name, FEWEST_RUNS),
            )
            return spec
        self.log.info(
            "Of the last %d completed runs of %s, %d %% took at most %s; a warning follows if this one takes longer",
            *(usual.runs, workflow.name, usual.percent, duration(usual.seconds * 1000)),
        )
        return replace(spec, warn_after=max(usual.seconds, 0.001))

    def _call_back(self, event: WaitEvent) -> None:
        """Call what is to be called when the run is slow. An error of it does not end the wait."""
        warning = {"workflow_id": event.workflow_id, "message": event.message, "waits_for": event.waits_for}
        cast("dict[str, Any]", self._context)[WARNING_KEY] = warning
        for callback in self.on_warning_callback:
            try:
                callback(self._context)
            except Exception:  # whatever a function of the user's raises
                self.log.exception("on_warning_callback failed; the wait continues")
