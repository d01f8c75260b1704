"""The options of a wait, as the operators that wait have them in common."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Literal

from airflow_provider_conductor.operators.arguments import check_output_path, default_deferrable, one_of
from airflow_provider_conductor.polling.durations import seconds

__all__ = ["DEFAULT_MAX_OUTPUT_BYTES", "OnTimeout", "WaitOptions"]

DEFAULT_MAX_OUTPUT_BYTES = 1_048_576
"""1 MiB of JSON: far over what a DAG passes between tasks, far under what hurts the metadata database."""

OnTimeout = Literal["terminate", "leave"]
ON_TIMEOUT = ("terminate", "leave")


@dataclass(slots=True, kw_only=True)
class WaitOptions:
    """The options of a wait, checked, with durations in seconds and defaults filled in.

    Args:
        deferrable: wait in the triggerer; None: as Airflow's ``default_deferrable`` says.
        poll_interval: seconds between polls; None adapts them.
        timeout: limit of the whole wait; None for none.
        stall_timeout: limit of the time without progress; None for none.
        on_timeout: what a timeout does to the workflow.
        output_path: the part of the output that is the result; None for all of it.
        max_output_bytes: largest result written to XCom.

    Raises:
        ValueError: an option that cannot be used; the message names it.
    """

    deferrable: bool | None = None
    poll_interval: float | timedelta | None = None
    timeout: float | timedelta | None = None
    stall_timeout: float | timedelta | None = None
    on_timeout: OnTimeout = "terminate"
    output_path: str | None = None
    max_output_bytes: int = DEFAULT_MAX_OUTPUT_BYTES

    def __post_init__(self) -> None:
        if self.deferrable is None:
            self.deferrable = default_deferrable()
        for name in ("poll_interval", "timeout", "stall_timeout"):
            setattr(self, name, seconds(getattr(self, name), name))
        one_of(self.on_timeout, ON_TIMEOUT, "on_timeout")
        check_output_path(self.output_path)

    def set_on(self, operator: object, *, without: tuple[str, ...] = ()) -> None:
        """Make each option an attribute of the operator, named as its argument, but for those in ``without``."""
        for item in fields(self):
            if item.name not in without:
                setattr(operator, item.name, getattr(self, item.name))
