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
from airflow_provider_conductor.control.eligibility import DUE, Decision, Kind, Verb, cannot

ROUNDS = 3
"""How often a verb is sent for one workflow, if an answer is lost or somebody else acts in between."""

PAUSES = (0.5, 1.0, 2.0)
"""Seconds before each further round, for what does not show an effect at once."""

LOGGED_EACH = 20
"""Up to so many workflows have a log line each; more are counted."""

NAMED = 50
"""Ids named for one reason in an exception's message; more are counted."""

PAST = {
    Verb.PAUSE: "paused",
    Verb.RESUME: "resumed",
    Verb.TERMINATE: "terminated",
    Verb.RESTART: "restarted",
    Verb.RETRY: "retried",
    Verb.RERUN: "reran",
    Verb.SKIP: "skipped the task of",
    Verb.DELETE: "deleted",
}


@dataclass(slots=True)
class Outcome:
    """The ids for which the verb was carried out, which were already so, and which failed (and why)."""

    verb: Verb
    done: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    refusals: dict[str, Decision] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        counts = f"{PAST[self.verb]} {len(self.done):,} workflows, {len(self.already):,} already so"
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
        lines = [f"could not {self.verb} {len(self.refusals):,} workflows ({self.summary})"]
        for why, ids in by_reason.items():
            if len(ids) == 1:
                lines.append(f"workflow {ids[0]} is {why}")
            else:
                more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
                lines.append(f"{len(ids):,} workflows are each {why}: {', '.join(ids[:NAMED])}{more}")
        alone = len(self.refusals) + len(self.done) + len(self.already) == 1
        return "\n".join(lines[1:] if alone else lines)


def apply(
    command: Command, workflow_ids: Sequence[str], *, log: Callable[[str], None], attempted: bool = False
) -> Flow[Outcome]:
    """Apply the command where it is due, in chunks of 1,000; if some workflows fail, the others are done all the same.

    With ``attempted``, an earlier try may have done it.
    """
    ids = list(workflow_ids)
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
        waiting, after = due, self.before
        for round_number, pause in enumerate((0.0, *PAUSES), 1):
            if not waiting:
                return
            yield from sleep(pause)
            refusals = yield from self._send(due)
            yield from sleep(max((self.command.undone_within(self.before[item]) for item in due), default=0.0))
            after = yield from self._read(waiting, closely=refusals if round_number == 1 else waiting)
            waiting = [item for item in waiting if item not in refusals and not self._is_done(item, after)]
            due = [item for item in refusals if self._is_due_again(item, refusals[item], after, round_number)]
            due += [item for item in waiting if self._is_undone(item, after)]
            waiting = [item for item in dict.fromkeys([*waiting, *due]) if item not in self.outcome.refusals]
        for workflow_id in waiting:
            now = after.get(workflow_id)
            details = self.command.details(now) if now is not None else DUE
            status = now.status if now is not None else "gone"
            why = f"{status}: the server accepted the request to {self.command.verb} it, but it had no effect"
            useless = details.kind is Kind.CANNOT
            self.outcome.refusals[workflow_id] = cannot(f"{why}: {details.why}") if useless else Decision(Kind.DUE, why)

    def _read(self, workflow_ids: Sequence[str], *, closely: Collection[str] = ()) -> Flow[dict[str, Workflow]]:
        """The workflows; with their tasks if the command needs them, or if they may tell why it had no effect."""
        needs_tasks = self.command.needs_tasks
        found = yield from read_many(workflow_ids, include_tasks=needs_tasks is True)
        if callable(needs_tasks):
            closer = [item for item, workflow in found.items() if item in closely or needs_tasks(workflow)]
            found |= yield from read_many(closer, include_tasks=True)
        return found

    def _is_due(self, workflow_id: str, workflow: Workflow | None, *, attempted: bool) -> bool:
        """Whether to send the command; if not, the outcome has the reason."""
        decision = self.command.decide(workflow, attempted=attempted)
        why = f"{workflow.status}: {decision.why}" if workflow is not None else decision.why
        if decision.kind is Kind.ALREADY:
            self.outcome.already.append(workflow_id)
            self.log(f"workflow {workflow_id} is {why}")
        elif decision.kind is not Kind.DUE:
            self.outcome.refusals[workflow_id] = Decision(decision.kind, why)
        return decision.kind is Kind.DUE

    def _is_undone(self, workflow_id: str, after: Mapping[str, Workflow]) -> bool:
        """Whether the server has undone what it did, and it can be sent again."""
        now = after.get(workflow_id)
        if now is None or not self.command.undone(now) or not self._is_due(workflow_id, now, attempted=True):
            return False
        self.log(f"the server has undone the {self.command.verb} of workflow {workflow_id}, which is sent again")
        self.before[workflow_id] = now
        return True

    def _is_done(self, workflow_id: str, after: Mapping[str, Workflow]) -> bool:
        """Whether the effect shows, and stays; the outcome then has it."""
        before, now = self.before[workflow_id], after.get(workflow_id)
        done = self.command.has_effect(before, now) and not (now is not None and self.command.undone(now))
        if done:
            self.outcome.done.append(workflow_id)
            self.log(f"{PAST[self.command.verb]} workflow {workflow_id}, which was {before.status}")
        return done

    def _send(self, workflow_ids: Sequence[str]) -> Flow[dict[str, Decision]]:
        """Send the command; returns the errors by id."""
        many, one_by_one = self.command.many, self.command.one_by_one
        bulk = [
            item
            for item in workflow_ids
            if many is not None and not one_by_one(self.before[item]) and self.command.first(self.before[item]) is None
        ]
        refusals: dict[str, Decision] = {}
        if many is None or len(bulk) < 2:
            bulk = []
        else:
            try:
                result = yield from ask(many(bulk))
                refusals = {item: Decision(Kind.DUE, why) for item, why in result.errors.items()}
            except (ConductorMissingRouteError, ConductorNotFoundError):
                bulk = []  # 3.13 takes the "bulk" of a bulk removal for a workflow's id
            except ConductorRequestError as error:
                if not error.fate_unknown:
                    raise
                refusals = dict.fromkeys(bulk, Decision(Kind.DUE, str(error), fate_unknown=True))
        sent = set(bulk)
        for workflow_id in workflow_ids:
            if workflow_id in sent:
                continue
            try:
                if (first := self.command.first(self.before[workflow_id])) is not None:
                    yield from ask(first)
                yield from ask(self.command.one(self.before[workflow_id]))
            except ConductorRequestError as error:
                if error.concerns_server:
                    raise
                refusals[workflow_id] = Decision(Kind.DUE, str(error), error.fate_unknown)
        return refusals

    def _is_due_again(
        self, workflow_id: str, refusal: Decision, after: Mapping[str, Workflow], round_number: int
    ) -> bool:
        """Whether to send again what the server refused or did not answer: decided anew from the current state.

        What it refused though nothing has changed is sent once more: "database is locked" comes as a refusal, too.
        """
        if refusal.fate_unknown and self._is_done(workflow_id, after):
            return False
        now = after.get(workflow_id)
        if not self._is_due(workflow_id, now, attempted=True) or now is None:
            return False
        changed = refusal.fate_unknown or now.status != self.before[workflow_id].status
        if round_number < (ROUNDS if changed else 2):
            self.before[workflow_id] = now
            return True
        why = f"{now.status}, and the server refused: {refusal.why}"
        self.outcome.refusals[workflow_id] = Decision(Kind.DUE, why)
        return False
