"""Where a start is made once: find the workflow of this try series, or start it. A flow, without I/O or a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import (
    ConductorBadRequestError,
    ConductorDefinitionNotFoundError,
    ConductorRequestError,
)
from airflow_provider_conductor.client.flow import Flow, ask, current_time, sleep
from airflow_provider_conductor.client.flows import LOOKUP_PAUSES
from airflow_provider_conductor.client.termination import terminate
from airflow_provider_conductor.submission.earlier_workflows import Action, Found, decide, settle
from airflow_provider_conductor.submission.errors import StartRefusedError, WorkflowTerminatedError
from airflow_provider_conductor.submission.identity import StartKey
from airflow_provider_conductor.submission.lookup import (
    find_earlier,
    look_up,
    look_up_start,
    search_for_start,
    without_lookup,
)
from airflow_provider_conductor.submission.rerun import run_again
from airflow_provider_conductor.submission.start_plan import StartPlan
from airflow_provider_conductor.submission.start_record import StartRecord
from airflow_provider_conductor.submission.termination_reasons import duplicate_reason

MAX_POSTS = 3
"""How often an unanswered start is sent in one try; after that Airflow's own retry takes over."""


@dataclass(frozen=True, slots=True)
class Started:
    """The workflow of this series, how it was obtained, and how many starts were sent.

    With ``by_label``, only a label and its input connect it with this task: it may be another's.
    """

    workflow_id: str
    action: Action
    posts: int = 0
    by_label: bool = False


def start_once(
    plan: StartPlan,
    *,
    log: Callable[[str], None],
    warn: Callable[[str], None],
    save: Callable[[StartRecord], None],
    found: Iterable[Found] | None = None,
    check_duplicates: bool | None = None,
) -> Flow[Started]:
    """Find the workflow of this series, or start it, once.

    Args:
        save: called just before a start is sent, and with the workflow's id before anything else is done with it.
        found: this start's part of a look-up for many starts; None: it is looked up by itself.
        check_duplicates: whether to look for a second workflow after the start; None: where the try demands it.

    Raises:
        WorkflowTerminatedError: see :func:`~airflow_provider_conductor.submission.earlier_workflows.decide`.
        WorkflowGoneError: this series has a workflow, which the server no longer has.
        StartRefusedError: the server refused the start, and trying again cannot help.
        ConductorRequestError: Conductor was unreachable, or failed; a later try looks up what became of the start.
    """
    if found is None:
        found = ()
        if plan.identity.may_have_started or plan.record is not None:
            found = yield from find_earlier(plan, log, warn)
    decision = decide(plan, found)
    yield from terminate_each(decision.to_terminate, log)
    if decision.found is None:
        if check_duplicates is None:
            check_duplicates = plan.identity.may_have_started or not plan.keeps_records
        key = StartKey(plan.identity.series, decision.generation)
        return (yield from _Start(plan, key, log, warn, save).run(check_duplicates))
    earlier, workflow, action = decision.found, decision.found.workflow, decision.action
    if action is Action.REFUSE:
        raise WorkflowTerminatedError(workflow)
    if plan.has_input_of(workflow) is False:
        warn(
            f"workflow {workflow.workflow_id} of an earlier try was started with another input than this try has; "
            "it keeps its own, and is not started a second time"
        )
    record = plan.new_record(earlier.key.generation)
    if plan.record is not None and plan.record.workflow_id == workflow.workflow_id:
        record = replace(record, sent_at=plan.record.sent_at)
    save(replace(record, workflow_id=workflow.workflow_id, by_label=earlier.by_label))
    status = workflow.status
    if action is not Action.ATTACH:
        action, status = yield from run_again(workflow, action, log)
    if action is Action.ATTACH:
        log(f"workflow {workflow.workflow_id} of an earlier try is {status}: it is not started again")
    return Started(workflow.workflow_id, action, by_label=earlier.by_label)


def terminate_starts(plan: StartPlan, reason: str, log: Callable[[str], None]) -> Flow[list[str]]:
    """Terminate what runs of this task's starts, some of which may have been sent just now; returns the ids."""
    terminated: list[str] = []
    failure: ConductorRequestError | None = None
    for pause in LOOKUP_PAUSES:
        yield from sleep(pause)
        try:
            (found,) = yield from look_up([plan], log)
            ids = [item.workflow.workflow_id for item in found if not (item.workflow.status.ended or item.by_label)]
            terminated += yield from terminate_each(dict.fromkeys(ids, reason), log)
            failure = None
        except ConductorRequestError as error:
            failure = error
    if failure is not None:
        raise failure
    return terminated


def terminate_each(reasons: Mapping[str, str], log: Callable[[str], None] = lambda line: None) -> Flow[list[str]]:
    """Terminate those that still run, by id, each for its reason; returns their ids."""
    terminated: list[str] = []
    for reason in dict.fromkeys(reasons.values()):
        done = yield from terminate([workflow_id for workflow_id, why in reasons.items() if why == reason], reason)
        for workflow_id in done.terminated:
            log(f"terminated workflow {workflow_id}: {reason}")
        terminated += done.terminated
    return terminated


@dataclass(slots=True)
class _Start:
    """The start itself, of one generation of the series."""

    plan: StartPlan
    key: StartKey
    log: Callable[[str], None]
    warn: Callable[[str], None]
    save: Callable[[StartRecord], None]
    posts: int = 0

    def run(self, check_duplicates: bool) -> Flow[Started]:
        """Send the start; where its fate is unknown, search for it before it is sent again."""
        plan = self.plan
        call = endpoints.start_workflow(plan.request(self.key))
        workflow_id: str | None = None
        by_label = False
        while workflow_id is None:
            record = replace(plan.new_record(self.key.generation), sent_at=(yield from current_time()))
            self.save(record)
            self.posts += 1
            try:
                workflow_id = yield from ask(call)
            except ConductorRequestError as error:
                if not error.fate_unknown:
                    if self.posts == 1:
                        self.save(replace(record, sent_at=None))
                    if isinstance(error, (ConductorBadRequestError, ConductorDefinitionNotFoundError)):
                        raise StartRefusedError(str(error)) from error
                    raise
                workflow_id = yield from self._search(error)
                by_label = workflow_id is not None and plan.label is not None
                if workflow_id is None and self.posts >= MAX_POSTS:
                    raise
        self.save(replace(record, workflow_id=workflow_id, by_label=by_label))
        if self.posts > 1 or check_duplicates:
            older = yield from self._check_duplicates(workflow_id)
            if older != workflow_id:
                workflow_id = older
                self.save(replace(record, workflow_id=workflow_id))
        return Started(workflow_id, Action.START, posts=self.posts, by_label=by_label)

    def _search(self, error: ConductorRequestError) -> Flow[str | None]:
        """The workflow of a start that was not answered; None where nothing was started.

        Raises:
            ConductorRequestError: that is not known.
        """
        self.log(f"it is not known whether the workflow was started ({error}); searching for it")
        now = yield from current_time()
        try:
            found = yield from search_for_start(self.plan, self.key, now + self.plan.search_seconds)
        except ConductorRequestError as trouble:
            self.log(f"that is still not known: {trouble}")
            raise error from trouble
        if found is not None:
            return found.workflow.workflow_id
        if self.posts < MAX_POSTS:
            self.log("no workflow of it was found; it is sent again")
        return None

    def _check_duplicates(self, workflow_id: str) -> Flow[str]:
        """After a start: if two workflows run, the older stays and the younger is terminated. Returns the one to use.

        This also shows whether this server finds workflows by their correlation id at all, and warns where not.
        Under a label of the user's own nothing is terminated: another task may have started it.
        """
        candidates: list[Found] = []
        for pause in LOOKUP_PAUSES:
            yield from sleep(pause)
            try:
                candidates = yield from look_up_start(self.plan, self.key, workflow_id)
            except ConductorRequestError as error:
                self.log(f"could not check for a second workflow of this start: {error}")
                return workflow_id
            if any(item.workflow.workflow_id == workflow_id for item in candidates):
                break
        else:
            self.warn(
                f"workflow {workflow_id} is not found by its correlation id: this server has no look-up, or a slow "
                f"index. {without_lookup(self.plan)}"
            )
        stays, younger = settle(candidates)
        if stays is None or self.plan.label is not None:
            return workflow_id
        reason = duplicate_reason(stays.workflow.workflow_id)
        yield from terminate_each({item.workflow.workflow_id: reason for item in younger}, self.log)
        return stays.workflow.workflow_id
