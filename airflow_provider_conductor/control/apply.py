"""Look, act where it is due, and look whether it had an effect."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorTooManyRequestsError,
    ConductorUnreachableError,
)
from airflow_provider_conductor.client.flow import Flow, ask, sleep
from airflow_provider_conductor.client.flows import read_many
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.control.commands import Command
from airflow_provider_conductor.control.eligibility import DUE, Decision, Kind
from airflow_provider_conductor.control.outcome import Outcome, Refusal

__all__ = ["apply"]

ROUNDS = 3
"""Times a verb is sent for one workflow, where the answer was lost or somebody else acted in between."""

PAUSES = (0.5, 1.0, 2.0)
"""Seconds before each further look for an effect that does not show at once."""

TOLD_ONE_BY_ONE = 20
"""Workflows of one task that have a line each in the log; more are counted."""


def apply(
    command: Command,
    workflow_ids: Sequence[str],
    *,
    log: Callable[[str], None],
    attempted: bool = False,
) -> Flow[Outcome]:
    """Do it to each of the workflows where it is due, in chunks of 1,000.

    Args:
        log: receives of each workflow, or of each chunk where there are many.
        attempted: an earlier try may have done it.

    Returns what was done, what was so already, and what failed why. Nothing is undone where others failed.

    Raises:
        ConductorRequestError: Conductor is unreachable.
    """
    ids = list(dict.fromkeys(workflow_ids))
    outcome = Outcome(command.verb)
    for chunk in _chunks(ids):
        chunk_run = _Batch(command, outcome, log if len(ids) <= TOLD_ONE_BY_ONE else _silent)
        yield from chunk_run.run(chunk, attempted=attempted)
        if len(ids) > TOLD_ONE_BY_ONE:
            log(f"{outcome.summary} of {len(ids):,}")
    return outcome


@dataclass(slots=True)
class _Batch:
    """One chunk on its way."""

    command: Command
    outcome: Outcome
    log: Callable[[str], None]
    before: dict[str, Workflow] = field(default_factory=dict)

    def run(self, workflow_ids: list[str], *, attempted: bool) -> Flow[None]:
        self.before = yield from self._read(workflow_ids)
        due = [item for item in workflow_ids if self._is_due(item, self.before.get(item), attempted=attempted)]
        unsettled: list[str] = []
        for round_number in range(1, ROUNDS + 1):
            if not due:
                break
            refusals = yield from self._act([self.before[item] for item in due])
            after = yield from self._read(due, refused=refusals)
            unsettled += self._without_effect([item for item in due if item not in refusals], after)
            due = self._to_send_again(refusals, after, round_number)
            if due:
                yield from sleep(PAUSES[0])
        yield from self._look_for_effects(unsettled)

    def _read(self, workflow_ids: Sequence[str], *, refused: Collection[str] = ()) -> Flow[dict[str, Workflow]]:
        """The workflows, with their tasks where the command needs them, or where they may tell why it was refused."""
        found = yield from read_many(workflow_ids, include_tasks=self.command.reads_tasks)
        needed = self.command.reads_tasks_of
        if needed is not None:
            closer = [item for item, workflow in found.items() if item in refused or needed(workflow)]
            found |= yield from read_many(closer, include_tasks=True)
        return found

    def _is_due(self, workflow_id: str, workflow: Workflow | None, *, attempted: bool) -> bool:
        """Whether to send it; where not, that is noted as a success or a failure."""
        decision = self.command.decide(workflow, attempted=attempted)
        if decision.kind is Kind.DUE:
            return True
        self._note(workflow_id, workflow, decision)
        return False

    def _note(self, workflow_id: str, workflow: Workflow | None, decision: Decision) -> None:
        status = f"{workflow.status}: " if workflow is not None else ""
        if decision.kind is Kind.ALREADY:
            self.outcome.already[workflow_id] = decision.why
            self.log(f"workflow {workflow_id} is {status}{decision.why}")
        else:
            self.outcome.refusals[workflow_id] = Refusal(decision.kind, f"{status}{decision.why}")

    def _done(self, workflow_ids: Sequence[str]) -> None:
        for workflow_id in workflow_ids:
            self.outcome.done.append(workflow_id)
            self.log(f"{self.outcome.past} workflow {workflow_id}, which was {self.before[workflow_id].status}")

    def _act(self, workflows: Sequence[Workflow]) -> Flow[dict[str, Refusal]]:
        """Send it; returns why it may not have worked, by id."""
        many = self.command.many
        together = [item.workflow_id for item in workflows if many is not None and not self.command.one_by_one(item)]
        refusals: dict[str, Refusal] = {}
        if many is not None and len(together) > 1:
            try:
                result = yield from ask(many(together))
                refusals = {item: Refusal(Kind.DUE, why) for item, why in result.errors.items()}
            except (
                ConductorMissingRouteError,
                ConductorNotFoundError,
            ):  # 3.13 takes the "bulk" of a bulk removal for a workflow's id
                together = []
            except ConductorRequestError as error:
                if not error.fate_unknown:
                    raise
                refusals = dict.fromkeys(together, Refusal(Kind.DUE, str(error), error))
        else:
            together = []
        for workflow in workflows:
            if workflow.workflow_id in together:
                continue
            try:
                yield from ask(self.command.one(workflow))
            except (ConductorUnreachableError, ConductorAuthError, ConductorTooManyRequestsError):
                raise
            except ConductorRequestError as error:
                refusals[workflow.workflow_id] = Refusal(Kind.DUE, str(error), error)
        return refusals

    def _without_effect(self, accepted: Sequence[str], after: Mapping[str, Workflow]) -> list[str]:
        """Of what the server accepted, what does not show."""
        shows = {item: self.command.has_effect(self.before[item], after.get(item)) for item in accepted}
        self._done([item for item, shown in shows.items() if shown])
        return [item for item, shown in shows.items() if not shown]

    def _to_send_again(
        self, refusals: Mapping[str, Refusal], after: Mapping[str, Workflow], round_number: int
    ) -> list[str]:
        """Of what the server refused or left open: decide again on what is there now.

        What it refused though nothing has changed is sent once more: "database is locked" comes as a refusal too.
        """
        again = []
        for workflow_id, refusal in refusals.items():
            before, now = self.before[workflow_id], after.get(workflow_id)
            if refusal.fate_unknown and self.command.has_effect(before, now):
                self._done([workflow_id])
            elif self._is_due(workflow_id, now, attempted=True) and now is not None:
                changed = refusal.fate_unknown or now.status != before.status
                if round_number < (ROUNDS if changed else 2):
                    self.before[workflow_id] = now
                    again.append(workflow_id)
                else:
                    self.outcome.refusals[workflow_id] = Refusal(
                        Kind.DUE, f"{now.status}, and the server refused: {refusal.why}", refusal.error
                    )
        return again

    def _look_for_effects(self, workflow_ids: list[str]) -> Flow[None]:
        after: Mapping[str, Workflow] = {}
        for pause in PAUSES:
            if not workflow_ids:
                return
            yield from sleep(pause)
            after = yield from self._read(workflow_ids, refused=workflow_ids)
            workflow_ids = self._without_effect(workflow_ids, after)
        for workflow_id in workflow_ids:
            now = after.get(workflow_id)
            status = now.status if now is not None else "gone"
            why = self.command.particulars(now) if now is not None else DUE
            told = f"{status}: the server accepted the request to {self.command.verb} it, but it had no effect"
            if why.kind is Kind.CANNOT:
                told += f": {why.why}"
            self.outcome.refusals[workflow_id] = Refusal(why.kind if why.kind is Kind.CANNOT else Kind.DUE, told)


def _chunks(workflow_ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(workflow_ids), endpoints.MAX_BULK_IDS):
        yield list(workflow_ids[start : start + endpoints.MAX_BULK_IDS])


def _silent(line: str) -> None:
    pass
