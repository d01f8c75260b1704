"""Send a command to one workflow or many: read, act where it is due, verify the effect."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import (
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
)
from airflow_provider_conductor.client.flow import Flow, ask, sleep
from airflow_provider_conductor.client.flows import read_many
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.control.commands import Command
from airflow_provider_conductor.control.eligibility import DUE, Decision, Kind
from airflow_provider_conductor.control.outcome import Outcome, Refusal

__all__ = ["apply"]

ROUNDS = 3
"""How often a verb is sent for one workflow, if an answer is lost or somebody else acts in between."""

PAUSES = (0.5, 1.0, 2.0)
"""Seconds before each further read for an effect that does not show at once."""

LOGGED_EACH = 20
"""Up to so many workflows have a log line each; more are counted."""


def apply(
    command: Command,
    workflow_ids: Sequence[str],
    *,
    log: Callable[[str], None],
    attempted: bool = False,
) -> Flow[Outcome]:
    """Apply the command to each of the workflows for which it is due, in chunks of 1,000.

    Args:
        log: receives a line for each workflow, or for each chunk if there are many.
        attempted: an earlier try may have done it.

    Returns:
        What was done, what was already so, and what failed and why. If some fail, the others are done all the same.

    Raises:
        ConductorRequestError: Conductor is unreachable.
    """
    ids = list(dict.fromkeys(workflow_ids))
    each = len(ids) <= LOGGED_EACH
    outcome = Outcome(command.verb)
    for begin in range(0, len(ids), endpoints.MAX_BULK_IDS):
        chunk = _Chunk(command, outcome, log if each else lambda line: None)
        yield from chunk.run(ids[begin : begin + endpoints.MAX_BULK_IDS], attempted=attempted)
        if not each:
            log(f"{outcome.summary} of {len(ids):,}")
    return outcome


@dataclass(slots=True)
class _Chunk:
    """One command and up to 1,000 workflows; ``before`` has them as they were when the command was sent."""

    command: Command
    outcome: Outcome
    log: Callable[[str], None]
    before: dict[str, Workflow] = field(default_factory=dict)

    def run(self, workflow_ids: list[str], *, attempted: bool) -> Flow[None]:
        self.before = yield from self._read(workflow_ids)
        due = [item for item in workflow_ids if self._is_due(item, self.before.get(item), attempted=attempted)]
        without_effect: list[str] = []
        for round_number in range(1, ROUNDS + 1):
            if not due:
                break
            refusals = yield from self._send([self.before[item] for item in due])
            after = yield from self._read(due, refused=refusals)
            without_effect += self._without_effect([item for item in due if item not in refusals], after)
            due = self._due_again(refusals, after, round_number)
            if due:
                yield from sleep(PAUSES[0])
        yield from self._wait_for_effect(without_effect)

    def _read(self, workflow_ids: Sequence[str], *, refused: Collection[str] = ()) -> Flow[dict[str, Workflow]]:
        """The workflows, with their tasks if the command needs them, or if they may tell why it was refused."""
        needs_tasks = self.command.needs_tasks
        found = yield from read_many(workflow_ids, include_tasks=needs_tasks is True)
        if callable(needs_tasks):
            closer = [item for item, workflow in found.items() if item in refused or needs_tasks(workflow)]
            found |= yield from read_many(closer, include_tasks=True)
        return found

    def _is_due(self, workflow_id: str, workflow: Workflow | None, *, attempted: bool) -> bool:
        """Whether to send the command; if not, the outcome has the reason."""
        decision = self.command.decide(workflow, attempted=attempted)
        status = f"{workflow.status}: " if workflow is not None else ""
        if decision.kind is Kind.ALREADY:
            self.outcome.already[workflow_id] = decision.why
            self.log(f"workflow {workflow_id} is {status}{decision.why}")
        elif decision.kind is not Kind.DUE:
            self.outcome.refusals[workflow_id] = Refusal(decision.kind, f"{status}{decision.why}")
        return decision.kind is Kind.DUE

    def _done(self, workflow_id: str) -> None:
        self.outcome.done.append(workflow_id)
        self.log(f"{self.outcome.past} workflow {workflow_id}, which was {self.before[workflow_id].status}")

    def _send(self, workflows: Sequence[Workflow]) -> Flow[dict[str, Refusal]]:
        """Send the command; returns the errors by id."""
        many = self.command.many
        bulk = [item.workflow_id for item in workflows if many is not None and not self.command.one_by_one(item)]
        refusals: dict[str, Refusal] = {}
        if many is None or len(bulk) < 2:
            bulk = []
        else:
            try:
                result = yield from ask(many(bulk))
                refusals = {item: Refusal(Kind.DUE, why) for item, why in result.errors.items()}
            except (ConductorMissingRouteError, ConductorNotFoundError):
                bulk = []  # 3.13 takes the "bulk" of a bulk removal for a workflow's id
            except ConductorRequestError as error:
                if not error.fate_unknown:
                    raise
                refusals = dict.fromkeys(bulk, Refusal(Kind.DUE, str(error), error))
        sent = set(bulk)
        for workflow in workflows:
            if workflow.workflow_id in sent:
                continue
            try:
                yield from ask(self.command.one(workflow))
            except ConductorRequestError as error:
                if error.concerns_server:
                    raise
                refusals[workflow.workflow_id] = Refusal(Kind.DUE, str(error), error)
        return refusals

    def _without_effect(self, accepted: Sequence[str], after: Mapping[str, Workflow]) -> list[str]:
        """Of what the server accepted, what does not show an effect yet; the rest is done."""
        waiting = []
        for workflow_id in accepted:
            if self.command.has_effect(self.before[workflow_id], after.get(workflow_id)):
                self._done(workflow_id)
            else:
                waiting.append(workflow_id)
        return waiting

    def _due_again(
        self, refusals: Mapping[str, Refusal], after: Mapping[str, Workflow], round_number: int
    ) -> list[str]:
        """Of what the server refused or did not answer, what to send again: decided anew from the current state.

        What it refused though nothing has changed is sent once more: "database is locked" comes as a refusal, too.
        """
        again = []
        for workflow_id, refusal in refusals.items():
            before, now = self.before[workflow_id], after.get(workflow_id)
            if refusal.fate_unknown and self.command.has_effect(before, now):
                self._done(workflow_id)
            elif self._is_due(workflow_id, now, attempted=True) and now is not None:
                changed = refusal.fate_unknown or now.status != before.status
                if round_number < (ROUNDS if changed else 2):
                    self.before[workflow_id] = now
                    again.append(workflow_id)
                else:
                    why = f"{now.status}, and the server refused: {refusal.why}"
                    self.outcome.refusals[workflow_id] = Refusal(Kind.DUE, why, refusal.error)
        return again

    def _wait_for_effect(self, workflow_ids: list[str]) -> Flow[None]:
        """Read again what the server accepted without a visible effect; in the end it has failed."""
        after: Mapping[str, Workflow] = {}
        for pause in PAUSES:
            if not workflow_ids:
                return
            yield from sleep(pause)
            after = yield from self._read(workflow_ids, refused=workflow_ids)
            workflow_ids = self._without_effect(workflow_ids, after)
        for workflow_id in workflow_ids:
            now = after.get(workflow_id)
            details: Decision = self.command.details(now) if now is not None else DUE
            why = (
                f"{now.status if now is not None else 'gone'}: the server accepted the request to {self.command.verb} "
                "it, but it had no effect"
            )
            if details.kind is Kind.CANNOT:
                self.outcome.refusals[workflow_id] = Refusal(Kind.CANNOT, f"{why}: {details.why}")
            else:
                self.outcome.refusals[workflow_id] = Refusal(Kind.DUE, why)
