"""Looking up the workflows that earlier tries started: by the saved record, by correlation id, in the search index."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.endpoints.reading import has_name
from airflow_provider_conductor.client.errors import (
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
)
from airflow_provider_conductor.client.flow import Flow, ask, current_time, sleep
from airflow_provider_conductor.client.flows import LOOKUP_PAUSES, read_many
from airflow_provider_conductor.client.models import Workflow
from airflow_provider_conductor.polling.missing_workflow import confirm_missing
from airflow_provider_conductor.submission.earlier_workflows import Found, settle
from airflow_provider_conductor.submission.errors import WorkflowGoneError
from airflow_provider_conductor.submission.identity import StartKey
from airflow_provider_conductor.submission.ownership import SERVER_CLOCKS, is_child, own_of
from airflow_provider_conductor.submission.start_plan import StartPlan
from airflow_provider_conductor.submission.start_record import StartRecord

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
"""Seconds between look-ups of a start whose fate is unknown."""

IDS_AT_ONCE = 200
"""Correlation ids in one request: the server asks its database for one after the other, and answers whole workflows."""

SEARCHED_AT_ONCE = 20
"""Correlation ids in one search: a query is part of the URL, which servers limit to 8 kB."""

OWN_CLOCK, OTHER_CLOCK = 1.0, 60.0
"""Seconds of tolerance where a workflow's age is compared with a moment that this machine or another one recorded."""

_PLAIN = re.compile(r"[\w.:+~@=-]+", re.ASCII)
"""Ids that every search index reads literally. Those with commas, quotes or blanks are not searched for."""


def find_earlier(plan: StartPlan, log: Callable[[str], None], warn: Callable[[str], None]) -> Flow[Sequence[Found]]:
    """What earlier tries started, by the record and by correlation ids.

    An earlier try may have died just after it sent its start, so the server gets a moment to show the workflow; or
    all of ``search_seconds``, where a record shows that a start was sent. A record of this series has what was sent
    in it; a missing one does not mean that nothing was, since it may not have been saved.

    Under a label, which others may use too, a workflow on record is the only one that counts.

    Raises:
        WorkflowGoneError: the record names this series' workflow, and the server no longer has it.
    """
    record, current = plan.record, plan.current_record
    recorded: Found | None = None
    if record is not None and record.workflow_id is not None:
        recorded = yield from _read_recorded(record, record.workflow_id)
        if recorded is None and current is not None:
            raise WorkflowGoneError(record.workflow_id)
    if recorded is not None and current is not None and plan.label is not None:
        return [recorded]
    pauses = LOOKUP_PAUSES[:1] if plan.identity.begins_series or current is not None else LOOKUP_PAUSES
    found: list[Found] = []
    try:
        if current is not None and current.workflow_id is None and current.sent_at is not None:
            log("an earlier try sent a start and received no answer; searching for its workflow")
            recorded = yield from search_for_start(plan, current.key, current.sent_at + plan.search_seconds)
        for pause in pauses:
            yield from sleep(pause)
            ((*found,),) = yield from look_up([plan], log)
            if any(item.of_this_run and item.key.first_try >= plan.identity.series for item in found):
                break
        else:
            # Without a record of the id, the index may know of what the look-up does not find.
            if current is None and not plan.identity.begins_series:
                if plan.label is not None:
                    found += yield from _look_up_label_in_index(plan, plan.label)
                else:
                    (indexed,) = yield from look_up_in_index([plan])
                    found += indexed
    except ConductorMissingRouteError as error:
        warn(f"{error}, so workflows of earlier tries cannot be found. {without_lookup(plan)}")
    except ConductorRequestError as error:
        if recorded is None or current is None:
            raise
        log(f"could not look for more than workflow {recorded.workflow.workflow_id}, which is on record: {error}")
    if recorded is not None and all(item.workflow.workflow_id != recorded.workflow.workflow_id for item in found):
        found.append(recorded)
    return found


def without_lookup(plan: StartPlan) -> str:
    """What the user can rely on where the server has no look-up, as a sentence for a message."""
    if plan.keeps_records:
        return (
            "A retry still finds the workflow by the id that Airflow keeps; but a start whose answer is lost "
            "is sent again, and may then run twice"
        )
    return (
        "A try that is alive still waits for its own workflow; but a retry starts another, and a start whose answer "
        "is lost is sent again, and may then run twice"
    )


def look_up(
    plans: Sequence[StartPlan], log: Callable[[str], None] = lambda line: None
) -> Flow[list[tuple[Found, ...]]]:
    """What the server has of each plan's start, of every series and generation there can have been.

    Args:
        plans: of one task, all for the same definition; several only where they have no labels.
        log: takes a line about each running workflow that may be the task's or not.
    """
    if len(plans) == 1 and plans[0].label is not None:
        return [tuple((yield from look_up_start(plans[0], StartKey(plans[0].identity.series))))]
    found: list[list[Found]] = [[] for _ in plans]
    first = [(i, key) for i, plan in enumerate(plans) for key in plan.identity.first_keys()]
    yield from _look_up(plans, first, found, log)
    later = [
        (i, key)
        for i, plan in enumerate(plans)
        for first_try in sorted({item.key.first_try for item in found[i]} - {plan.identity.series})
        for key in plan.identity.later_keys(first_try)
    ]
    yield from _look_up(plans, later, found, log)
    return [tuple(items) for items in found]


def look_up_start(plan: StartPlan, key: StartKey, known: str = "") -> Flow[list[Found]]:
    """The workflows of one start, ``known`` surely among them; under a label of the user's own, those that may be."""
    if plan.label is None:
        ours: list[list[Found]] = [[]]
        yield from _look_up([plan], [(0, key)], ours, known=known)
        return [item for item in ours[0] if item.of_this_run]
    answer = yield from ask(endpoints.get_by_correlation_ids(plan.name, [plan.label]))
    return (yield from _labelled(plan, key, answer.get(plan.label, ()), known))


def _labelled(plan: StartPlan, key: StartKey, workflows: Iterable[Workflow], known: str = "") -> Flow[list[Found]]:
    """Of the workflows under a label, those that may be the task's."""
    now = yield from current_time()
    return [
        Found(key, workflow, by_label=workflow.workflow_id != known)
        for workflow in workflows
        if workflow.workflow_id == known or (not _is_older(plan, workflow, now) and plan.may_have_started(workflow))
    ]


def search_for_start(plan: StartPlan, key: StartKey, deadline: float) -> Flow[Found | None]:
    """Search for the workflow of a start until ``deadline``; None: the server answered to the end, and has none.

    At the end in the search index, too: a server may have archived a short workflow before the search began.

    Raises:
        ConductorRequestError: Conductor was unreachable at the end: nothing is known, so nothing may be sent.
    """
    pause = FIRST_PAUSE
    while True:
        failure: ConductorRequestError | None = None
        try:
            stays, _ = settle((yield from look_up_start(plan, key)))
            if stays is not None:
                return stays
        except ConductorMissingRouteError:
            raise
        except ConductorRequestError as error:
            failure = error
        now = yield from current_time()
        if now >= deadline:
            if failure is not None:
                raise failure
            indexed = () if plan.label is not None else (yield from look_up_in_index([plan]))[0]
            return settle(item for item in indexed if item.key == key)[0]
        yield from sleep(min(pause, deadline - now))
        pause = min(pause * 1.5, LONGEST_PAUSE)


def look_up_in_index(plans: Sequence[StartPlan]) -> Flow[list[tuple[Found, ...]]]:
    """What the search index has of each plan's starts in the present series, though the look-up did not find it.

    The server may have archived it. On PostgreSQL a look-up also leaves out a workflow whose row is being written
    (``FOR SHARE SKIP LOCKED`` in PostgresExecutionDAO, seen on 3.32.2), which the index does not.

    Of several with one id, it is the oldest that is no child: the others were started by it, or are second starts. A
    server without an index is no error. The plans are for the same definition, and without labels.
    """
    wanted = {
        plan.identity.correlation_id(key): (i, key)
        for i, plan in enumerate(plans)
        for key in (StartKey(plan.identity.series), *plan.identity.later_keys(plan.identity.series))
    }
    summaries = yield from _search(plans[0].name, list(wanted))
    present = yield from read_many([summary.workflow_id for summary in summaries])
    now = yield from current_time()
    oldest: dict[str, Workflow] = {}
    for summary in summaries:
        workflow, text = present.get(summary.workflow_id, summary), summary.correlation_id or ""
        # A child is the oldest where its parent was deleted, or restarted since.
        if not is_child(workflow) and not _is_older(plans[wanted[text][0]], workflow, now):
            oldest.setdefault(text, workflow)
    found: list[list[Found]] = [[] for _ in plans]
    for text, workflow in oldest.items():
        i, key = wanted[text]
        archived = workflow.workflow_id not in present
        if workflow.status.ended or not archived:
            found[i].append(Found(key, workflow, archived=archived))
    return [tuple(items) for items in found]


def _look_up_label_in_index(plan: StartPlan, label: str) -> Flow[list[Found]]:
    """What the search index has under a label of the user's own that the server has, and that may be the task's."""
    # The newest, since others may have used the label hundreds of times before.
    summaries = yield from _search(plan.name, [label], first="DESC")
    present = yield from read_many([item.workflow_id for item in summaries])
    return (yield from _labelled(plan, StartKey(plan.identity.series), present.values()))


def _search(name: str, correlation_ids: Sequence[str], first: str = "ASC") -> Flow[list[Workflow]]:
    """The index's summaries of workflows of this name and these ids, the oldest first; [] from a server without one.

    Of more than fit into an answer, those that are the ``first`` in this order of their start.
    """
    plain = [text for text in correlation_ids if _PLAIN.fullmatch(text)]
    found = []
    for begin in range(0, len(plain), SEARCHED_AT_ONCE):
        ids = plain[begin : begin + SEARCHED_AT_ONCE]
        query = f"correlationId IN ({','.join(ids)})"
        try:
            answer = yield from ask(
                endpoints.search_workflows(query=query, size=10 * SEARCHED_AT_ONCE, sort=f"startTime:{first}")
            )
        except ConductorRequestError as error:
            if not (error.conclusive or error.refused_by_gateway):
                raise
            return []
        found += [
            replace(item, data={**item.data, "createTime": _milliseconds(item.data.get("startTime"))})
            for item in answer
            if has_name(item, name) and item.correlation_id in ids
        ]
    return sorted(found, key=lambda item: item.create_time)


def _milliseconds(time: object) -> int:
    """A summary has its times as text; 1, older than everything, where they cannot be read."""
    try:
        return int(datetime.fromisoformat(str(time)).timestamp() * 1000)
    except ValueError:
        return 1


def _read_recorded(record: StartRecord, workflow_id: str) -> Flow[Found | None]:
    """The workflow on record. Servers archive and expire what has ended: then what the search index has of it."""

    def read() -> Flow[Found]:
        workflow = yield from ask(endpoints.get_workflow(workflow_id, include_tasks=False))
        return Found(record.key, workflow, by_label=record.by_label)

    try:
        return (yield from read())
    except ConductorNotFoundError as error:
        seen = yield from confirm_missing(workflow_id, error, read)
    if not isinstance(seen, Workflow):
        return seen
    began = int((record.sent_at or record.series_began) * 1000)
    archived = replace(seen, data={**seen.data, "createTime": began})
    return Found(record.key, archived, by_label=record.by_label, archived=True)


def _look_up(
    plans: Sequence[StartPlan],
    wanted: Iterable[tuple[int, StartKey]],
    found: list[list[Found]],
    log: Callable[[str], None] = lambda line: None,
    *,
    known: str = "",
) -> Flow[None]:
    """Add to ``found`` what each of these plans' (by index) starts (by key) has."""
    ids = {plans[i].identity.correlation_id(key): (i, key) for i, key in wanted}
    texts = list(ids)
    for begin in range(0, len(texts), IDS_AT_ONCE):
        some = texts[begin : begin + IDS_AT_ONCE]
        answer = yield from ask(endpoints.get_by_correlation_ids(plans[0].name, some))
        now = yield from current_time()
        for text in some:
            i, key = ids[text]
            found[i] += _found_of(plans[i], key, answer.get(text, ()), now, known, log)


def _found_of(
    plan: StartPlan,
    key: StartKey,
    workflows: Iterable[Workflow],
    now: float,
    known: str,
    log: Callable[[str], None],
) -> list[Found]:
    """Of the workflows with the correlation id of ``key``, those that certainly are this task's."""
    present = key.first_try >= plan.identity.series
    recorded = (plan.record and plan.record.workflow_id) or ""
    older: list[Workflow] = []
    younger: list[Workflow] = []
    for workflow in workflows:
        (older if present and _is_older(plan, workflow, now) else younger).append(workflow)
    found = []
    for of_this_run, some in ((False, older), (True, younger)):
        restarted = [w.workflow_id for w in some if w.workflow_id == recorded and _may_be_restarted(plan, w, now)]
        ours, doubtful = own_of(
            some, {known, recorded}, eldest=restarted[0] if restarted else None, started_so=plan.has_input_of
        )
        found += [Found(key, workflow, of_this_run=of_this_run) for workflow in ours]
        for workflow in doubtful:
            if not workflow.status.ended:
                log(
                    f"workflow {workflow.workflow_id} has this task's correlation id too and is left as it is: a "
                    "workflow that the task has started may have started it and passed the id on"
                )
    return found


def _created(workflow: Workflow, now: float) -> float:
    """When it was created, on this machine's clock; ``observed_at`` shows how far the server's is ahead."""
    ahead = now - workflow.observed_at / 1000 if workflow.observed_at else 0.0
    return workflow.create_time / 1000 + ahead


def _is_older(plan: StartPlan, workflow: Workflow, now: float) -> bool:
    """Whether the workflow was there before the series began."""
    own = plan.identity.begins_series and workflow.observed_at
    return _created(workflow, now) < plan.series_began - (OWN_CLOCK if own else OTHER_CLOCK)


def _may_be_restarted(plan: StartPlan, workflow: Workflow, now: float) -> bool:
    """Whether the workflow on record may be younger than its start: a restart gives it a new time."""
    sent_at = plan.record.sent_at if plan.record is not None else None
    return sent_at is None or _created(workflow, now) - SERVER_CLOCKS / 1000 > sent_at
