"""What became of each workflow, and the messages about it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_provider_conductor.client.errors import ConductorRequestError
from airflow_provider_conductor.control.eligibility import Kind, Verb

__all__ = ["Outcome", "Refusal"]

NAMED = 50
"""Ids named for one reason in an exception's message; more are counted."""

_PAST: Mapping[Verb, str] = {
    Verb.PAUSE: "paused",
    Verb.RESUME: "resumed",
    Verb.TERMINATE: "terminated",
    Verb.RESTART: "restarted",
    Verb.RETRY: "retried",
    Verb.RERUN: "reran",
    Verb.SKIP: "skipped the task of",
    Verb.DELETE: "deleted",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the verb failed for one workflow.

    ``kind`` is CANNOT or MISSING, or DUE if the verb was sent and the server refused; ``why`` follows the words
    "workflow … is ".
    """

    kind: Kind
    why: str
    error: ConductorRequestError | None = None

    @property
    def fate_unknown(self) -> bool:
        """Whether the server may have carried it out, since the answer was lost."""
        return self.error is not None and self.error.fate_unknown


@dataclass(slots=True)
class Outcome:
    """By id: for which the verb was carried out, which were already so (and how), and which failed (and why)."""

    verb: Verb
    done: list[str] = field(default_factory=list)
    already: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)

    @property
    def past(self) -> str:
        """The verb's past tense, for messages."""
        return _PAST[self.verb]

    @property
    def summary(self) -> str:
        """The counts, for messages."""
        counts = f"{self.past} {len(self.done):,} workflows, {len(self.already):,} already so"
        return f"{counts}, {len(self.refusals):,} failed" if self.refusals else counts

    @property
    def all_failures(self) -> str:
        """Each id that failed with its reason, however many there are."""
        return "; ".join(f"{workflow_id} is {refusal.why}" for workflow_id, refusal in self.refusals.items())

    @property
    def failure(self) -> str:
        """The ids that failed, one line a reason; "" if none did."""
        by_reason: dict[str, list[str]] = {}
        for workflow_id, refusal in self.refusals.items():
            by_reason.setdefault(refusal.why.replace(workflow_id, "…"), []).append(workflow_id)
        lines = []
        for why, ids in by_reason.items():
            if len(ids) == 1:
                lines.append(f"workflow {ids[0]} is {why}")
            else:
                more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
                lines.append(f"{len(ids):,} workflows are each {why}: {', '.join(ids[:NAMED])}{more}")
        if len(self.refusals) + len(self.done) + len(self.already) == 1:
            return "\n".join(lines)
        return "\n".join([f"could not {self.verb} {len(self.refusals):,} workflows ({self.summary})", *lines])
