"""One workflow per series of tries: look up, start, reconcile; a flow, so it does no I/O and has no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import (
    ConductorBadRequestError,
    ConductorConflictError,
    ConductorDefinitionNotFoundError,
    ConductorError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
)
from airflow_provider_conductor.client.flow import Flow, ask, current_time, sleep
from airflow_provider_conductor.client.flows import read_many
from airflow_provider_conductor.client.models import TaskStatus, Workflow, WorkflowStatus
from airflow_provider_conductor.client.termination import terminate
from airflow_provider_conductor.client.text import one_line
from airflow_provider_conductor.control.commands import ended_itself, ran_again
from airflow_provider_conductor.polling.observation import confirm_missing
from airflow_provider_conductor.submission.archived import search_archived
from airflow_provider_conductor.submission.earlier_workflows import Action, Decision, Found, RetryFrom, decide, settle
from airflow_provider_conductor.submission.identity import StartKey, TaskIdentity
from airflow_provider_conductor.submission.ownership import SERVER_CLOCKS, has_input, is_child, own_of
from airflow_provider_conductor.submission.start_record import StartRecord
from airflow_provider_conductor.submission.termination_reasons import duplicate_reason

__all__ = [
    "StartPlan",
    "StartRefusedError",
    "Started",
    "TerminatedByOthersError",
    "WorkflowGoneError",
    "archived_of",
    "decide_for",
    "found_of",
    "start_once",
    "terminate_all",
]

LOOKS = (0.0, 1.0, 2.0)
"""Seconds before each look for a start that may have been sent just now: an index takes a moment."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
"""Seconds between looks for a start whose fate is unknown."""

MAX_POSTS = 3
"""How often an unanswered start is sent in one try; after that Airflow's own retry goes on."""

OWN_CLOCK, OTHER_CLOCK = 1.0, 60.0
"""Seconds of tolerance where a workflow's age is held against a moment that this machine or another one noted."""


class StartRefusedError(ConductorError):
    """The server refused the start itself: no such definition, or a request it does not take."""


class TerminatedByOthersError(ConductorError):
    """Somebody terminated the workflow of this series; it is not brought back to life."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        super().__init__(
            f"workflow {workflow.workflow_id} was terminated by somebody else "
            f"({one_line(workflow.reason) or 'no reason given'}), so it is not run again; "
            "clear the task to start a new one"
        )


class WorkflowGoneError(ConductorError):
    """An earlier try of this series has started a workflow, and the server does not know it any more."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(
            f"workflow {workflow_id}, which an earlier try has started, is gone: neither the server nor its search "
            "index knows it, so how it ended is unknown. It is not started a second time, since it may have done its "
            "work; clear the task to start a new one"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPlan:
    """What to start and for whom.

    Args:
        identity: the task and its try.
        body: the start request as the server reads it; its ``correlationId``, if any, is the user's own label.
        told: goes into the input, too, but differs from try to try: a workflow is not known by it.
        max_tries: the task instance's, put down with the start.
        series_began: when the present series began, or the dag run where that is not known: seconds since the epoch
            on this Airflow's clock. What is older is not of this series.
        run_began: when the dag run began, the same for all tries of a series: one made anew under the same id is
            another run.
        record: what the last start of this task put down, of whichever series.
        keeps_records: whether what is put down is there for the next try.
        retry_from: what a try after a failed workflow does.
        cancel_on_kill: whether a workflow dies with its task.
        patience: seconds to look for a start whose fate is unknown before it is sent again.
        leftover_reason: given when a workflow of an earlier series is terminated.
        found: what one look-up for many starts has found of this one; None: it is looked up by itself.
        checks: whether to look, after the start, for a second workflow of it; None: as the try demands.
    """

    identity: TaskIdentity
    body: dict[str, Any]
    told: Mapping[str, Any] = field(default_factory=dict)
    max_tries: int = 0
    series_began: float = 0.0
    run_began: float = 0.0
    record: StartRecord | None = None
    keeps_records: bool = False
    retry_from: RetryFrom = "failed_task"
    cancel_on_kill: bool = True
    patience: float = 60.0
    leftover_reason: str = ""
    found: tuple[Found, ...] | None = None
    checks: bool | None = None

    @property
    def label(self) -> str | None:
        return self.body.get("correlationId") or None

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def own_record(self) -> StartRecord | None:
        """The record, if it is of the present series."""
        return self.record if self.record is not None and self.record.max_tries == self.max_tries else None


@dataclass(frozen=True, slots=True)
class Started:
    """The workflow of this series. ``action`` says how it came about; ``posts`` how many starts were sent.

    ``by_label`` is True where it was found by nothing but a label and its input: it may be another task's.
    """

    workflow_id: str
    action: Action
    posts: int = 0
    by_label: bool = False


@dataclass(slots=True)
class _Aside:
    """What happens on the way and is told at once: to the log, and to whoever keeps records."""

    say: Callable[[str], None]
    warn: Callable[[str], None]
    remember: Callable[[StartRecord], None]
    posts: int = field(default=0)


def start_once(
    plan: StartPlan,
    *,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    remember: Callable[[StartRecord], None],
) -> Flow[Started]:
    """Find the workflow of this series, or start it, once.

    ``remember`` is called just before a start is sent, and with the workflow's id before anything else is done with it.

    Raises:
        TerminatedByOthersError: see :func:`~airflow_provider_conductor.submission.earlier_workflows.decide`.
        WorkflowGoneError: this series has a workflow, which is gone.
        StartRefusedError: the server refused the start, and trying again cannot help.
        ConductorRequestError: Conductor was unreachable, or failed; a later try looks up what became of it.
    """
    aside = _Aside(say, warn, remember)
    identity = plan.identity
    decision = Decision(Action.START)
    if plan.found is not None or identity.may_have_started or plan.record is not None:
        found = list(plan.found) if plan.found is not None else (yield from _look_up(plan, aside))
        decision = decide_for(plan, found)
    for duplicate, stays in decision.duplicates:
        if plan.label is None:  # under a label they may be another task's
            yield from _terminate(duplicate, duplicate_reason(stays.workflow_id), aside)
    for leftover in decision.leftovers:
        yield from _terminate(leftover, plan.leftover_reason, aside)
    if decision.workflow is None:
        return (yield from _start(plan, decision.generation, aside))
    workflow = decision.workflow
    if decision.action is Action.REFUSE:
        raise TerminatedByOthersError(workflow)
    if _has_our_input(plan, workflow) is False:
        aside.warn(
            f"workflow {workflow.workflow_id} of an earlier try was started with another input than this try has; "
            "it keeps its own, and is not started a second time"
        )
    item = next(item for item in found if item.workflow is workflow)
    record = plan.record
    sent_at = record.sent_at if record is not None and record.workflow_id == workflow.workflow_id else None
    remember(
        _record(plan, item.key.generation, sent_at=sent_at, workflow_id=workflow.workflow_id, by_label=item.by_label)
    )
    action: Action = decision.action
    if action is Action.ATTACH:
        say(f"workflow {workflow.workflow_id} of an earlier try is {workflow.status}: it is not started again")
    else:
        action = yield from _run_again(workflow, action, aside)
    return Started(workflow.workflow_id, action, by_label=item.by_label)


def decide_for(plan: StartPlan, found: Sequence[Found]) -> Decision:
    """What this try does about what was found of its start."""
    return decide(
        found,
        series=plan.identity.series,
        series_is_known=plan.identity.series_is_known,
        retry_from=plan.retry_from,
        cancel_on_kill=plan.cancel_on_kill,
    )


# Finding what earlier tries left


def _look_up(plan: StartPlan, aside: _Aside) -> Flow[list[Found]]:
    """What earlier tries left, by the record and by correlation ids.

    An earlier try may have died just after it sent its start, so the server gets a moment to bring it to light; or
    all the patience that is left, where a record says that a start was sent. A record of this series tells what was
    sent in it; none does not tell that nothing was, since it may not have been kept.

    Under a label, which others may use too, a workflow on record is the only one that counts.
    """
    record, own = plan.record, plan.own_record
    recorded: Found | None = None
    if record is not None and record.workflow_id is not None:
        recorded = yield from _recorded(record, record.workflow_id)
        if recorded is None and own is not None:
            raise WorkflowGoneError(record.workflow_id)
    if recorded is not None and own is not None and plan.label is not None:
        return [recorded]
    pauses: tuple[float, ...] = LOOKS
    if plan.identity.begins_series or own is not None:
        pauses = LOOKS[:1]
    found: list[Found] = []
    try:
        if own is not None and own.workflow_id is None and own.sent_at is not None:
            aside.say("an earlier try sent a start and received no answer; looking for its workflow")
            yield from _search_for(plan, own.key, own.sent_at + plan.patience)
        for pause in pauses:
            yield from sleep(pause)
            found = yield from _correlated(plan, aside.say)
            if any(item.of_this_run and item.key.first_try >= plan.identity.series for item in found):
                break
        else:
            # A try without a record of the id cannot know of what has completed and was archived, but by the index.
            if own is None and plan.label is None and not plan.identity.begins_series:
                (archived,) = yield from archived_of([plan])
                found += archived
    except ConductorMissingRouteError as error:
        aside.warn(f"{error}, so workflows of earlier tries cannot be found. {_what_holds(plan)}")
    except ConductorRequestError as error:
        if recorded is None or own is None:
            raise
        aside.say(f"could not look for more than workflow {own.workflow_id}, which is on record: {error}")
    if recorded is not None and all(f.workflow.workflow_id != recorded.workflow.workflow_id for f in found):
        found.append(recorded)
    return found


def _recorded(record: StartRecord, workflow_id: str) -> Flow[Found | None]:
    """The workflow on record. Servers archive and expire what has ended: then what the search index knows of it."""

    def read() -> Flow[Found]:
        workflow = yield from ask(endpoints.get_workflow(workflow_id, include_tasks=False))
        return Found(record.key, workflow, by_label=record.by_label)

    try:
        return (yield from read())
    except ConductorNotFoundError as error:
        seen = yield from confirm_missing(workflow_id, error, read, None)
    if not isinstance(seen, Workflow):
        return seen
    began = int((record.sent_at or record.series_began) * 1000)
    archived = replace(seen, data={**seen.data, "createTime": began})
    return Found(record.key, archived, by_label=record.by_label, archived=True)


def _correlated(plan: StartPlan, say: Callable[[str], None]) -> Flow[list[Found]]:
    identity = plan.identity
    if plan.label is not None:
        return (yield from _of_key(plan, StartKey(identity.series)))
    found: list[Found] = yield from _by_keys(plan, identity.first_keys(), say=say)
    series = {item.key.first_try for item in found} - {identity.series}
    later = [key for first_try in sorted(series) for key in identity.later_keys(first_try)]
    if later:
        found += yield from _by_keys(plan, later, say=say)
    return found


def _by_keys(
    plan: StartPlan, keys: Iterable[StartKey], *, known: str = "", say: Callable[[str], None] | None = None
) -> Flow[list[Found]]:
    ids = {plan.identity.correlation_id(key): key for key in keys}
    answer = yield from ask(endpoints.get_by_correlation_ids(plan.name, list(ids)))
    now = yield from current_time()
    found = []
    for text, key in ids.items():
        found += found_of(plan, key, answer.get(text, ()), now, known=known, say=say)
    return found


def found_of(
    plan: StartPlan,
    key: StartKey,
    workflows: Iterable[Workflow],
    now: float,
    *,
    known: str = "",
    say: Callable[[str], None] | None = None,
) -> list[Found]:
    """Of the workflows that carry the correlation id of ``key``, those that certainly are this task's.

    Args:
        now: our clock.
        known: the id of a workflow that is this task's; so is that on record.
        say: takes a line about each that runs and is in doubt.
    """
    present = key.first_try >= plan.identity.series
    recorded = (plan.record and plan.record.workflow_id) or ""
    older: list[Workflow] = []
    younger: list[Workflow] = []
    for workflow in workflows:
        (older if present and _is_older(plan, workflow, now) else younger).append(workflow)
    found = []
    for of_this_run, some in ((False, older), (True, younger)):
        ours, doubtful = own_of(
            some,
            {known, recorded},
            eldest=next(
                (w.workflow_id for w in some if w.workflow_id == recorded and _is_restarted(plan, w, now)), None
            ),
            started_so=partial(_has_our_input, plan),
        )
        found += [Found(key, workflow, of_this_run=of_this_run) for workflow in ours]
        for workflow in doubtful:
            if say is not None and not workflow.status.ended:
                say(
                    f"workflow {workflow.workflow_id} carries this task's correlation id too, and is left as it is: a "
                    "workflow that the task has started may have started it, and given it that id"
                )
    return found


def archived_of(plans: Sequence[StartPlan]) -> Flow[list[tuple[Found, ...]]]:
    """What the search index has of each plan's starts in the present series: the server may have archived it.

    The plans start the same definition under identities, not labels.
    """
    wanted = {
        plan.identity.correlation_id(key): (i, key)
        for i, plan in enumerate(plans)
        for key in (StartKey(plan.identity.series), *plan.identity.later_keys(plan.identity.series))
    }
    summaries: dict[str, Workflow] = yield from search_archived(plans[0].name, list(wanted))
    there: dict[str, Workflow] = yield from read_many([summary.workflow_id for summary in summaries.values()])
    now = yield from current_time()
    found: list[list[Found]] = [[] for _ in plans]
    for text, summary in summaries.items():
        i, key = wanted[text]
        live = there.get(summary.workflow_id)
        if not _is_older(plans[i], live or summary, now):
            found[i].append(Found(key, live or summary, archived=live is None))
    return [tuple(items) for items in found]


def _of_key(plan: StartPlan, key: StartKey, known: str = "") -> Flow[list[Found]]:
    """The workflows of one start. Under a label of the user's own, those that may be ours."""
    if plan.label is None:
        found: list[Found] = yield from _by_keys(plan, [key], known=known)
        return [item for item in found if item.of_this_run]
    answer = yield from ask(endpoints.get_by_correlation_ids(plan.name, [plan.label]))
    now = yield from current_time()
    return [
        Found(key, workflow, by_label=workflow.workflow_id != known)
        for workflow in answer.get(plan.label, ())
        if workflow.workflow_id == known or (not _is_older(plan, workflow, now) and _may_be_ours(plan, workflow))
    ]


def _is_older(plan: StartPlan, workflow: Workflow, now: float) -> bool:
    """Whether the workflow was there before the series began; ``observed_at`` tells the server's clock from ours."""
    own = plan.identity.begins_series and workflow.observed_at
    ahead = now - workflow.observed_at / 1000 if workflow.observed_at else 0.0
    return workflow.create_time / 1000 + ahead < plan.series_began - (OWN_CLOCK if own else OTHER_CLOCK)


def _is_restarted(plan: StartPlan, workflow: Workflow, now: float) -> bool:
    """Whether the workflow on record may be younger than its start: a restart gives it a new time."""
    sent_at = plan.record.sent_at if plan.record is not None else None
    ahead = now - workflow.observed_at / 1000 if workflow.observed_at else 0.0
    return sent_at is None or (workflow.create_time - SERVER_CLOCKS) / 1000 + ahead > sent_at


def _may_be_ours(plan: StartPlan, workflow: Workflow) -> bool:
    """A label is not unique: only a workflow with our input, of the version asked for, can be ours."""
    version = plan.body.get("version")
    return (
        not is_child(workflow)
        and (not version or workflow.version == version)
        and _has_our_input(plan, workflow) is True
    )


def _has_our_input(plan: StartPlan, workflow: Workflow) -> bool | None:
    return has_input(
        workflow, plan.body.get("input") or {}, plan.body.get("externalInputPayloadStoragePath"), besides=plan.told
    )


# Starting


def _start(plan: StartPlan, generation: int, aside: _Aside) -> Flow[Started]:
    """Send the start; where its fate is unknown, look for it with patience before it is sent again."""
    key = StartKey(plan.identity.series, generation)
    correlation_id = plan.identity.correlation_id(key)
    body = {
        **plan.body,
        "correlationId": plan.label or correlation_id,
        # Enforced by Orkes; the open-source server ignores both.
        "idempotencyKey": f"{correlation_id}@{plan.run_began:.0f}",
        "idempotencyStrategy": "RETURN_EXISTING",
    }
    if plan.told:
        body["input"] = {**(plan.body.get("input") or {}), **plan.told}
    call = endpoints.start_workflow(body)
    while True:
        sent_at = yield from current_time()
        record = _record(plan, generation, sent_at=sent_at)
        aside.remember(record)
        aside.posts += 1
        by_label = False
        try:
            workflow_id = yield from ask(call)
        except ConductorRequestError as error:
            if not error.fate_unknown:
                if aside.posts == 1:
                    aside.remember(replace(record, sent_at=None))
                if isinstance(error, (ConductorBadRequestError, ConductorDefinitionNotFoundError)):
                    raise StartRefusedError(str(error)) from error
                raise
            aside.say(f"it is not known whether the workflow was started ({error}); looking for it")
            now = yield from current_time()
            try:
                stays = yield from _search_for(plan, key, now + plan.patience)
            except ConductorRequestError as trouble:
                aside.say(f"that is still not known: {trouble}")
                raise error from trouble
            if stays is not None:
                workflow_id, by_label = stays.workflow_id, plan.label is not None
            elif aside.posts >= MAX_POSTS:
                raise
            else:
                aside.say("it was not started; it is sent again")
                continue
        aside.remember(replace(record, workflow_id=workflow_id, by_label=by_label))
        checks = plan.checks
        if checks is None:
            checks = plan.identity.may_have_started or not plan.keeps_records
        if aside.posts > 1 or checks:
            older = yield from _check(plan, key, workflow_id, aside)
            if older != workflow_id:
                workflow_id = older
                aside.remember(replace(record, workflow_id=workflow_id))
        return Started(workflow_id, Action.START, posts=aside.posts, by_label=by_label)


def _search_for(plan: StartPlan, key: StartKey, deadline: float) -> Flow[Workflow | None]:
    """Look for the start of ``key`` until ``deadline``. None means that the server was asked, to the end.

    Raises:
        ConductorRequestError: Conductor was unreachable at the end: nothing is known, nothing may be sent.
    """
    pause = FIRST_PAUSE
    while True:
        failure: ConductorRequestError | None = None
        try:
            stays, _ = settle([item.workflow for item in (yield from _of_key(plan, key))])
            if stays is not None:
                return stays
        except ConductorMissingRouteError:
            raise
        except ConductorRequestError as trouble:
            failure = trouble
        now = yield from current_time()
        if now >= deadline:
            if failure is not None:
                raise failure
            return None
        yield from sleep(min(pause, deadline - now))
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _check(plan: StartPlan, key: StartKey, workflow_id: str, aside: _Aside) -> Flow[str]:
    """After a start: if two run, the older stays and the younger is terminated.

    It also shows whether this server finds workflows by their correlation id at all; where it does not, that is said.
    With a label of the user's own nothing is terminated: another task may have started it.
    """
    candidates: list[Workflow] = []
    for pause in LOOKS:
        yield from sleep(pause)
        try:
            candidates = [item.workflow for item in (yield from _of_key(plan, key, workflow_id))]
        except ConductorRequestError as error:
            aside.say(f"could not check for a second workflow of this start: {error}")
            return workflow_id
        if any(workflow.workflow_id == workflow_id for workflow in candidates):
            break
    else:
        aside.warn(
            f"workflow {workflow_id} is not found by its correlation id: this server has no look-up, or a slow index. "
            + _what_holds(plan)
        )
    if plan.label is not None:
        return workflow_id
    stays, younger = settle(candidates)
    if stays is None:
        return workflow_id
    for duplicate in younger:
        yield from _terminate(duplicate, duplicate_reason(stays.workflow_id), aside)
    return stays.workflow_id


def _record(
    plan: StartPlan,
    generation: int,
    *,
    sent_at: float | None = None,
    workflow_id: str | None = None,
    by_label: bool = False,
) -> StartRecord:
    return StartRecord(
        max_tries=plan.max_tries,
        first_try=plan.identity.series,
        generation=generation,
        series_began=plan.series_began,
        sent_at=sent_at,
        workflow_id=workflow_id,
        by_label=by_label,
    )


def _what_holds(plan: StartPlan) -> str:
    """For a server without a look-up: what the user can still rely on."""
    if plan.keeps_records:
        return (
            "A retry still finds the workflow by the id that Airflow keeps; but a start whose answer is lost "
            "is sent again, and may then run twice"
        )
    return (
        "A try that is alive still waits for its own workflow; but a retry starts another, and a start whose answer "
        "is lost is sent again, and may then run twice"
    )


# Running again, and ending


def _run_again(workflow: Workflow, action: Action, aside: _Aside) -> Flow[Action]:
    """Retry from the failed tasks, or restart; where a retry does not run it on, restart and say why.

    Raises:
        ConductorConflictError: the server accepted a restart, and nothing has changed.
    """
    if action is Action.RETRY:
        done = yield from _retry(workflow, aside)
        if done is not None:
            return done
        workflow = yield from ask(endpoints.get_workflow(workflow.workflow_id, include_tasks=False))
    workflow_id = workflow.workflow_id
    try:
        yield from ask(endpoints.restart_workflow(workflow_id))
    except ConductorRequestError as error:
        if not (error.fate_unknown or isinstance(error, ConductorConflictError)):
            raise
        if not _goes_on((yield from _status(workflow_id))):
            raise
    else:
        if (yield from _changed(workflow, aside)) is None:
            raise ConductorConflictError(
                f"the server accepted the restart of workflow {workflow_id}, but it is still {workflow.status}"
            )
    aside.say(f"workflow {workflow_id} was {workflow.status} and runs again from its start")
    return Action.RESTART


def _retry(workflow: Workflow, aside: _Aside) -> Flow[Action | None]:
    """Run it on from its failed tasks; None where that is in vain, which is said.

    An accepted retry may do nothing, or nothing that lasts, so it is looked at (seen on 3.32):

    =====================================  ===================  ===================================
    the workflow has ended                 retry, resuming      retry, sub-workflows anew
                                           sub-workflows
    =====================================  ===================  ===================================
    by a failed task                       runs on              runs on
    by a TERMINATE task, no task failed    204, does nothing    409
    the same, beside an open branch        ends again at once   ends again at once
    by a sub-workflow that ended like      ends again at once   runs on, with a new sub-workflow
    the line above
    =====================================  ===================  ===================================
    """
    workflow_id = workflow.workflow_id
    before = workflow
    for resume in (True, False):
        try:
            yield from ask(endpoints.retry_workflow(workflow_id, resume_subworkflow_tasks=resume))
        except ConductorRequestError as error:
            if not (error.fate_unknown or isinstance(error, ConductorConflictError)):
                raise
            now = yield from _status(workflow_id)
            if _goes_on(now):
                aside.say(f"workflow {workflow_id} was {workflow.status} and is {now}")
                return Action.RETRY if error.fate_unknown else Action.ATTACH
            if error.fate_unknown:
                raise
            aside.say(f"workflow {workflow_id} has no task to retry ({error.message}); it is restarted instead")
            return None
        after = yield from _changed(before, aside)
        if after is None:
            continue
        ended_by = ended_itself(after)
        again = workflow_id if ended_by else (yield from _sub_workflow_that_ends_again(after))
        if again and not after.status.ended:
            after = yield from _until_ended(after, again)
        if not again or not after.status.ended:
            how = "from its failed tasks" if resume else "from its failed tasks, with new sub-workflows"
            aside.say(f"workflow {workflow_id} was {workflow.status} and runs on {how}")
            return Action.RETRY
        if ended_by:
            aside.say(
                f"workflow {workflow_id} was ended by its task {ended_by!r} (TERMINATE), which ends a retry at once; "
                "it is restarted instead"
            )
            return None
        before = after
    aside.say(f"workflow {workflow_id} is {before.status}, and a retry had no effect; it is restarted instead")
    return None


def _changed(before: Workflow, aside: _Aside) -> Flow[Workflow | None]:
    """The workflow, with its tasks, once it has run again since; None where nothing has changed.

    Where it cannot be read just then, the server is believed: the wait will read it.
    """
    for pause in LOOKS[:2]:
        yield from sleep(pause)
        try:
            after = yield from ask(endpoints.get_workflow(before.workflow_id))
        except ConductorRequestError as error:
            aside.say(f"could not read workflow {before.workflow_id} after the request to run it again: {error}")
            return before
        if ran_again(before, after):
            return after
    return None


def _until_ended(workflow: Workflow, by: str) -> Flow[Workflow]:
    """The workflow once it has ended, or a moment later; ``by`` is the workflow whose end ends it.

    Old servers (3.13) come to that only at their next evaluation, so they are asked for it.
    """
    for pause in LOOKS:
        yield from sleep(pause)
        try:
            for workflow_id in dict.fromkeys((by, workflow.workflow_id)):
                yield from ask(endpoints.decide_workflow(workflow_id))
            workflow = yield from ask(endpoints.get_workflow(workflow.workflow_id, include_tasks=False))
        except ConductorRequestError:
            continue
        if workflow.status.ended:
            break
    return workflow


def _sub_workflow_that_ends_again(workflow: Workflow) -> Flow[str]:
    """The id of a sub-workflow, at whatever depth, that was retried and has been ended by a TERMINATE task, or ""."""
    for task in workflow.tasks:
        if not task.sub_workflow_id or task.retried or task.known_status is TaskStatus.COMPLETED:
            continue
        try:
            child = yield from ask(endpoints.get_workflow(task.sub_workflow_id))
        except ConductorRequestError:
            continue
        if child.last_retried_time:  # else it is a new one
            found = child.workflow_id if ended_itself(child) else (yield from _sub_workflow_that_ends_again(child))
            if found:
                return found
    return ""


def _goes_on(status: WorkflowStatus) -> bool:
    return not status.ended or status.successful


def _status(workflow_id: str) -> Flow[WorkflowStatus]:
    workflow = yield from ask(endpoints.get_workflow(workflow_id, include_tasks=False))
    return workflow.status


def terminate_all(plan: StartPlan, reason: str, *, say: Callable[[str], None]) -> Flow[list[str]]:
    """Terminate what runs of this task's starts, a moment after they may have been sent; returns the ids."""
    aside = _Aside(say, say, lambda record: None)
    terminated: dict[str, None] = {}
    failure: ConductorRequestError | None = None
    for pause in LOOKS:
        yield from sleep(pause)
        try:
            found: list[Found] = yield from _correlated(plan, say)
            failure = None
            for item in found:
                if not item.workflow.status.ended and not item.by_label:
                    yield from _terminate(item.workflow, reason, aside)
                    terminated[item.workflow.workflow_id] = None
        except ConductorRequestError as error:
            failure = error
    if failure is not None:
        raise failure
    return list(terminated)


def _terminate(workflow: Workflow, reason: str, aside: _Aside) -> Flow[None]:
    """Terminate what still runs; what has ended meanwhile stays as it is."""
    done = yield from terminate([workflow.workflow_id], reason)
    if done.terminated:
        aside.say(f"terminated workflow {workflow.workflow_id}: {reason}")
