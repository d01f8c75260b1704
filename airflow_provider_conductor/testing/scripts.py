"""How a workflow of the stand-in goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Script", "ScriptOf"]


@dataclass(frozen=True, slots=True)
class Script:
    """How a started workflow goes: RUNNING for some seconds, then in its last status.

    Args:
        after: seconds that it runs; None: it never ends by itself.
        status: the status that it ends with.
        output: its output when it has ended.
        reason: why it has ended, as ``reasonForIncompletion``.
        tasks: its tasks, as in the answer to ``GET /workflow/{id}``.
    """

    after: float | None = 0.0
    status: str = "COMPLETED"
    output: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    tasks: Sequence[Mapping[str, Any]] = ()


ScriptOf: TypeAlias = Script | Callable[[Mapping[str, Any]], Script]
"""A script, or what makes one of the workflow's input."""
