from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as some

from airflow_provider_conductor.client import PollData, TaskStatus, Workflow
from airflow_provider_conductor.polling.messages import NOTHING_LOGGED, describe, next_message
from airflow_provider_conductor.polling.progress import MAX_DEPTH, MAX_SUB_WORKFLOWS, Phase, Progress, assess
from airflow_provider_conductor.polling.root_cause import root_cause
from airflow_provider_conductor.polling.timeline import timeline
from tests.polling.builders import at, failed, join, live, polled, sub, task, workflow

TIMED = {"inputData": {"duration": "1 hour"}}
HOUR = 3600


def observe(run: Workflow, seconds: float, *subs: Workflow, polls: tuple[PollData, ...] | None = None) -> Progress:
    queues: dict[str, list[PollData]] = {}
    for one in polls or ():
        queues.setdefault(one.queue, []).append(one)
    if polls is not None:
        queues.setdefault("charge_card", [])
    return assess(run, at(seconds), sub_workflows={s.workflow_id: s for s in subs}, poll_data=queues)


RETRY = (failed(retried=True), task(attempt=2, of=4, scheduled=1, delay=60))


def nap(**more: Any) -> dict[str, Any]:
    return task("nap", "IN_PROGRESS", kind="WAIT", started=1, **more)


def done(ref: str = "charge_card") -> dict[str, Any]:
    return failed(ref, status="COMPLETED", ended=7)


def xjoin(*refs: str) -> dict[str, Any]:
    return task("xjoin", "IN_PROGRESS", kind="EXCLUSIVE_JOIN", inputData={"joinOn": list(refs)})


PERSON = task("ok", "IN_PROGRESS", kind="HUMAN", started=1)
JOINS = {"joinOn": ["charge_card", "next"]}


def case(
    seconds: float, phase: str, stalled: float | None, change: float | None, *tasks: dict[str, Any]
) -> tuple[Any, ...]:
    """After so many seconds: the phase, stalled since, and next change."""
    return (
        seconds,
        Phase[phase],
        None if stalled is None else at(stalled),
        None if change is None else at(change),
        tasks,
    )


CASES = {
    "nothing scheduled yet": case(5, "WORKING", 0, None),
    "between two tasks": case(5, "WORKING", 3, None, failed(status="COMPLETED", ended=3)),
    "a failed attempt whose retry is not there yet": case(5, "WORKING", 3, None, failed(ended=3)),
    "a worker is at it": case(60, "WORKING", 4, None, live(updated=4)),
    "queued": case(5, "QUEUED", 2, None, task(scheduled=2)),
    "queued after a start delay": case(9, "QUEUED", 5, None, task(scheduled=2, delay=3)),
    "start delay": case(9, "START_DELAY", None, 32, task(scheduled=2, delay=30)),
    "retry delay": case(30, "RETRY_DELAY", None, 61, *RETRY),
    "retry due": case(90, "RETRY_DUE", 61, None, *RETRY),
    "retry within its jitter": case(
        90,
        "RETRY_DELAY",
        None,
        101,
        failed(),
        task(attempt=2, scheduled=1, delay=60, definition={"backoffJitterMs": 40000}),
    ),
    "retry by hand, no delay": case(55, "RETRY_DUE", 50, None, failed(), task(attempt=5, of=4, scheduled=50)),
    "put back by its worker": case(30, "POSTPONED", None, 64, task(started=1, updated=4, polls=1, delay=60)),
    "put back, not fetched again": case(70, "QUEUED", 64, None, task(started=1, updated=4, polls=2, delay=60)),
    "in progress, but put back": case(30, "POSTPONED", None, 64, live(updated=4, delay=60)),
    "WAIT for an hour": case(30, "TIMED_WAIT", None, 3601, nap(delay=HOUR, **TIMED)),
    # What was left at second 101 is rounded down by the server.
    "WAIT evaluated on the way": case(130, "TIMED_WAIT", None, 3602, nap(updated=101, polls=3, delay=3500, **TIMED)),
    "WAIT until a date": case(
        30,
        "TIMED_WAIT",
        None,
        60,
        task("nap", "IN_PROGRESS", kind="WAIT", started=1.4, delay=58, inputData={"until": "2023-11-14 22:14"}),
    ),
    "WAIT that is over": case(30, "WORKING", 21, None, nap(delay=20, **TIMED)),
    "WAIT for a signal": case(30, "WAITING_FOR_SIGNAL", None, None, nap(delay=2147483647)),
    "WAIT for a signal, after a manual retry": case(
        90, "WAITING_FOR_SIGNAL", None, None, nap(updated=1, polls=1, delay=30)
    ),
    "HUMAN": case(30, "WAITING_FOR_PERSON", None, None, PERSON),
    "HTTP the server has not begun": case(30, "WORKING", 1, None, task("get", kind="HTTP", scheduled=1)),
    "HTTP retried later": case(
        30,
        "RETRY_DELAY",
        None,
        61,
        failed("get", kind="HTTP"),
        task("get", kind="HTTP", scheduled=1, attempt=2, delay=60),
    ),
    "HTTP whose retry is due": case(
        30, "WORKING", 21, None, failed("get", kind="HTTP"), task("get", kind="HTTP", scheduled=1, attempt=2, delay=20)
    ),
    "HTTP that somebody completes": case(
        30,
        "WAITING_FOR_SIGNAL",
        None,
        None,
        task("get", "IN_PROGRESS", kind="HTTP", started=1, inputData={"asyncComplete": True}),
    ),
    "EVENT that somebody completes": case(
        30,
        "WAITING_FOR_SIGNAL",
        None,
        None,
        task("tell", "IN_PROGRESS", kind="EVENT", started=1, in_workflow={"asyncComplete": True}),
    ),
    "START_WORKFLOW": case(30, "WORKING", 1, None, task("go", kind="START_WORKFLOW", scheduled=1)),
    "KAFKA_PUBLISH": case(30, "WORKING", 2, None, task("say", "IN_PROGRESS", kind="KAFKA_PUBLISH", started=2)),
    "a kind of a newer server": case(30, "WORKING", 1, None, task("new", kind="TELEPATHY", scheduled=1)),
    "a status of a newer server": case(30, "WORKING", 2, None, task("new", "PONDERING", scheduled=1, started=2)),
    "a status of a newer server, ended": case(30, "WORKING", 4, None, task("new", "DREAMT", ended=4)),
    "a DYNAMIC task": case(5, "QUEUED", 2, None, task("chosen", kind="DYNAMIC", scheduled=2)),
    "a loop's open iteration": case(
        9, "QUEUED", 7, None, task("loop", "IN_PROGRESS", kind="DO_WHILE", started=0), task("step__2", scheduled=7)
    ),
    "a loop between iterations": case(
        9, "WORKING", 7, None, task("loop", "IN_PROGRESS", kind="DO_WHILE", started=0), done("step__1")
    ),
    "only a JOIN is open": case(99, "WORKING", 7, None, done(), join(updated=99)),
    "a JOIN whose task may still be scheduled": case(16, "WORKING", 7, None, done(), join(inputData=JOINS)),
    "a JOIN whose task is not there": case(99, "JOIN_BLOCKED", 7, None, done(), join(inputData=JOINS, updated=98)),
    "a JOIN whose task is not there, and a branch is open": case(
        99, "WORKING", 5, None, live(updated=5), join(inputData={"joinOn": ["pack", "next"]})
    ),
    "a JOIN in a loop": case(
        99, "WORKING", 7, None, done("a__2"), join(inputData={"joinOn": ["a"]}, loopOverTask=True, iteration=2)
    ),
    "an EXCLUSIVE_JOIN with one of its tasks": case(99, "WORKING", 7, None, done(), xjoin("charge_card", "b")),
    "an EXCLUSIVE_JOIN with none": case(99, "JOIN_BLOCKED", 7, None, done(), xjoin("a", "b")),
    "a permissive task has failed, the rest runs": case(
        99, "WORKING", 5, None, failed(in_workflow={"permissive": True}), live(updated=5), join()
    ),
    "an optional task has failed": case(
        99, "QUEUED", 3, None, failed(status="COMPLETED_WITH_ERRORS"), task("next", scheduled=3)
    ),
    "fork: one branch lives, one waits for its retry": case(30, "WORKING", 1, None, *RETRY, live(), join()),
    "fork: retry delay and WAIT": case(15, "RETRY_DELAY", None, 21, *RETRY, nap(delay=20, **TIMED), join()),
    "fork: retry delay and a person": case(15, "RETRY_DELAY", None, 61, *RETRY, PERSON, join()),
    "fork: nobody takes one, a person has the other": case(
        99, "QUEUED", 9, None, task(scheduled=5), task("ok", "IN_PROGRESS", kind="HUMAN", started=9), join()
    ),
    "fork: EXCLUSIVE_JOIN": case(99, "QUEUED", 5, None, xjoin(), task(scheduled=5)),
    "a sub-workflow not read": case(99, "UNREAD", None, None, sub()),
    "a sub-workflow not begun": case(99, "WORKING", 0, None, sub(status="SCHEDULED", runs="")),
}


@pytest.mark.parametrize("case", CASES)
def test_each_situation_is_told_apart(case: str) -> None:
    seconds, *expected, tasks = CASES[case]
    progress = observe(workflow(*tasks), seconds)
    assert [progress.phase, progress.stalled_since, progress.next_change] == expected


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"])
def test_an_ended_workflow_waits_for_nothing(status: str) -> None:
    progress = observe(workflow(task(), status=status, endTime=at(7)), 9)
    assert (progress.phase, progress.since, progress.stalled_since) == (Phase.ENDED, at(7), None)
    assert not any(progress.wants)


def test_a_failure_workflow_does_not_keep_a_failed_one_alive() -> None:
    output = {"conductor.failure_workflow": "wf-9"}
    assert observe(workflow(failed(), status="FAILED", output=output), 9).phase is Phase.ENDED


def test_a_retry_names_the_attempt_that_failed_and_why() -> None:
    [blocker] = observe(workflow(*RETRY), 30).blockers
    assert (blocker.attempt, blocker.max_attempts, blocker.reason) == (2, 4, "card service down")


def test_a_manual_retry_past_the_limit_claims_no_limit() -> None:
    [blocker] = observe(workflow(failed(), task(attempt=5, of=4)), 30).blockers
    assert (blocker.attempt, blocker.max_attempts) == (5, None)


def test_a_pause_is_not_a_stall() -> None:
    progress = observe(workflow(task(), status="PAUSED", updateTime=at(5)), 9999)
    assert (progress.phase, progress.since, progress.stalled_since) == (Phase.PAUSED, at(5), None)


def test_the_stall_clock_starts_no_earlier_than_the_resume() -> None:
    assert observe(workflow(task(), lastRetriedTime=at(500)), 600).stalled_since == at(500)


def test_age_counts_from_the_last_manual_retry() -> None:
    assert observe(workflow(live(), lastRetriedTime=at(500)), 600).started == at(500)


# Poll data


def test_poll_data_is_asked_for_only_once_a_task_is_overdue() -> None:
    assert observe(workflow(task()), 5).wants.queues == ()
    assert observe(workflow(task()), 15).wants.queues == ("charge_card",)
    assert observe(workflow(task()), 15, polls=()).wants.queues == ()


def test_no_worker_is_ever_blamed_for_a_task_of_the_servers() -> None:
    progress = observe(workflow(task("get", kind="HTTP"), task("new", kind="TELEPATHY")), 999)
    assert progress.wants.queues == ()
    assert all(blocker.by_server for blocker in progress.blockers)
    assert "polled" not in describe(progress, at(999))


def test_a_queue_nobody_polls_is_unattended_since_its_task_was_due() -> None:
    [blocker] = observe(workflow(task(scheduled=2)), 99, polls=()).blockers
    assert (blocker.unpolled_since, blocker.last_poll) == (at(2), None)


def test_a_queue_is_unattended_since_its_last_poll() -> None:
    [blocker] = observe(workflow(task()), 200, polls=(polled("charge_card", 80),)).blockers
    assert blocker.unpolled_since == at(80)


def test_a_queue_polled_just_now_is_attended() -> None:
    progress = observe(workflow(task()), 200, polls=(polled("charge_card", 199),))
    assert progress.phase is Phase.QUEUED
    assert progress.blockers[0].unpolled_since is None


def test_a_worker_in_another_domain_does_not_attend_the_queue() -> None:
    polls = (polled("charge_card", 199), polled("charge_card", 199, domain="green"))
    [blocker] = observe(workflow(task(domain="blue")), 200, polls=polls).blockers
    assert (blocker.last_poll, blocker.other_domains) == (None, ("", "green"))
    assert blocker.unpolled_since == at(0)


@pytest.mark.parametrize("limit", [{"rateLimitPerFrequency": 1}, {"definition": {"concurrentExecLimit": 1}}])
def test_a_limited_task_that_workers_pass_by_is_probably_limited(limit: dict[str, Any]) -> None:
    run = workflow(task(**limit))
    assert observe(run, 200, polls=(polled("charge_card", 199),)).phase is Phase.RATE_LIMITED
    assert observe(run, 200, polls=()).phase is Phase.QUEUED
    assert observe(run, 200, polls=(polled("charge_card", 80),)).phase is Phase.QUEUED


def test_a_line_follows_once_nobody_has_polled_and_not_again() -> None:
    run, logged, lines = workflow(task()), NOTHING_LOGGED, []
    for seconds in (5, 15, 9999):
        line, logged = next_message(observe(run, seconds, polls=()), at(seconds), logged)
        lines.append(bool(line))
    assert lines == [True, True, False]


# Sub-workflows


def test_a_sub_workflow_is_followed_to_the_task_that_holds_it_up() -> None:
    inner = workflow(*RETRY, id="wf-3")
    middle = workflow(sub("inner", "wf-3"), id="wf-2")
    outer = workflow(sub("middle", "wf-2"))
    assert observe(outer, 30).wants.sub_workflows == ("wf-2",)
    assert observe(outer, 30, middle).wants.sub_workflows == ("wf-3",)
    progress = observe(outer, 30, middle, inner)
    assert progress.phase is Phase.RETRY_DELAY
    assert progress.blockers[0].path == ("middle", "inner")
    assert progress.next_change == at(61)
    assert not any(progress.wants)


def test_a_paused_sub_workflow_is_told_as_paused() -> None:
    below = workflow(task(), id="wf-2", status="PAUSED", updateTime=at(5))
    progress = observe(workflow(sub()), 30, below)
    assert (progress.phase, progress.since, progress.stalled_since) == (Phase.PAUSED, at(5), None)
    assert progress.blockers[0].sub_workflow_id == "wf-2"


def test_a_sub_workflow_that_has_ended_is_for_the_server_to_notice() -> None:
    below = workflow(failed(), id="wf-2", status="FAILED", endTime=at(9))
    progress = observe(workflow(sub()), 30, below)
    assert (progress.phase, progress.stalled_since) == (Phase.WORKING, at(9))


def test_progress_in_a_sub_workflow_is_progress() -> None:
    before = observe(workflow(sub()), 30, workflow(live("a"), id="wf-2"))
    after = observe(workflow(sub()), 30, workflow(failed("a", status="COMPLETED"), live("b"), id="wf-2"))
    assert before.fingerprint != after.fingerprint


def test_a_join_in_a_sub_workflow_is_named_by_its_path() -> None:
    below = workflow(failed(status="COMPLETED", ended=7), join(inputData={"joinOn": ["gone"]}), id="wf-2")
    progress = observe(workflow(sub()), 99, below)
    [blocker] = progress.blockers
    assert (progress.phase, blocker.path, blocker.reference_name) == (Phase.JOIN_BLOCKED, ("ship",), "join")
    assert progress.stalled_since == at(7)


def test_a_reference_that_the_definition_lacks_is_told_from_one_not_scheduled() -> None:
    case = {"taskReferenceName": "left", "type": "SIMPLE"}
    switch = {"taskReferenceName": "way", "type": "SWITCH", "decisionCases": {"l": [case]}, "defaultCase": []}
    fork = {"taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": [[switch]]}
    refs = ["left", "typo"]
    waiting = join(inputData={"joinOn": refs}, in_workflow={"joinOn": refs})
    [blocker] = observe(workflow(waiting, workflowDefinition={"tasks": [fork]}), 99).blockers
    assert (blocker.missing, blocker.undefined) == (("left", "typo"), ("typo",))
    assert observe(workflow(waiting, workflowDefinition={"tasks": [fork]}), 1).phase is Phase.JOIN_BLOCKED


def test_what_has_not_been_scheduled_is_named_where_nothing_is_open() -> None:
    tasks = [{"taskReferenceName": ref, "type": "SIMPLE"} for ref in ("charge_card", "pack", "ship")]
    run = workflow(failed(status="COMPLETED", ended=7), workflowDefinition={"tasks": tasks})
    assert observe(run, 99).unscheduled == ("pack", "ship")
    assert observe(workflow(live(), workflowDefinition={"tasks": tasks}), 99).unscheduled == ()


@pytest.mark.parametrize("definition", [None, [], {"tasks": None}, {"tasks": [None, {"forkTasks": "x"}, 7]}])
def test_a_definition_of_any_shape_breaks_nothing(definition: Any) -> None:
    progress = observe(workflow(join(inputData={"joinOn": ["a", 7, None]}), workflowDefinition=definition), 99)
    assert progress.blockers[0].missing == ("a",)


@pytest.mark.parametrize(
    ("ended", "retried", "phase"),
    [
        (3, 0, Phase.QUEUED),  # it ended, and somebody reran it from this task
        (3, 2, Phase.QUEUED),  # so too, after an earlier retry
        (3, 4, Phase.RETRY_DUE),  # it ended, and somebody retried it: the failure is the reason
        (0, 0, Phase.RETRY_DUE),  # Conductor's own retry
    ],
)
def test_a_reruns_task_is_no_retry_of_its_old_failure(ended: float, retried: float, phase: Phase) -> None:
    attempts = (failed(retried=True, of=2), task(attempt=2, of=2, scheduled=5))
    times = {"endTime": at(ended) if ended else 0, "lastRetriedTime": at(retried) if retried else 0}
    progress = observe(workflow(*attempts, **times), 9)
    assert progress.phase is phase
    assert bool(progress.blockers[0].reason) is (phase is Phase.RETRY_DUE)


def test_sub_workflows_are_followed_to_a_bounded_depth() -> None:
    chain = [workflow(sub("down", f"wf-{n + 1}"), id=f"wf-{n}") for n in range(MAX_DEPTH + 3)]
    progress = observe(chain[0], 30, *chain[1:])
    assert (progress.phase, progress.stalled_since) == (Phase.UNREAD, None)
    assert not any(progress.wants)


def test_a_sub_workflow_that_claims_to_contain_itself_ends_the_walk() -> None:
    run = workflow(sub("again", "wf-1"))
    assert observe(run, 30, run).phase is Phase.UNREAD


def test_a_fan_out_of_hundreds_is_sampled_and_never_called_a_stall() -> None:
    run = workflow(*(sub(f"s{n}", f"sub-{n}") for n in range(300)))
    wanted = observe(run, 30).wants.sub_workflows
    assert len(wanted) == MAX_SUB_WORKFLOWS
    stuck = [workflow(task(f"t{n}"), id=one) for n, one in enumerate(wanted)]
    progress = observe(run, 9999, *stuck)
    assert progress.stalled_since is None
    assert not progress.wants.sub_workflows


# Fingerprints

noise = some.fixed_dictionaries(
    {
        "pollCount": some.integers(0, 10**6),
        "updateTime": some.integers(at(0), at(10**6)),
        "callbackAfterSeconds": some.integers(0, 3600),
    }
)


@given(noise, noise)
def test_a_joins_noise_is_no_progress(one: dict[str, int], other: dict[str, int]) -> None:
    def seen(noise: dict[str, int]) -> Progress:
        return observe(workflow(*RETRY, task("loop", "IN_PROGRESS", kind="DO_WHILE", **noise), join(**noise)), 30)

    assert seen(one) == seen(other)


def test_a_worker_that_puts_its_task_back_again_and_again_is_no_progress() -> None:
    back = task(started=1, updated=4, polls=1, delay=60)
    taken = task(status="IN_PROGRESS", started=1, updated=70, polls=2)
    assert observe(workflow(back), 30).fingerprint == observe(workflow(taken), 71).fingerprint


def test_a_worker_taking_a_task_is_progress() -> None:
    assert observe(workflow(task()), 3).fingerprint != observe(workflow(live("charge_card")), 3).fingerprint


def test_passing_time_is_no_progress() -> None:
    assert observe(workflow(*RETRY), 3).fingerprint == observe(workflow(*RETRY), 9999).fingerprint


# Anything a server could say

statuses = some.sampled_from([*map(str, TaskStatus), "PONDERING", ""])
kinds = some.sampled_from(
    ["SIMPLE", "WAIT", "HUMAN", "HTTP", "JOIN", "DO_WHILE", "SUB_WORKFLOW", "DYNAMIC", "EVENT", "TERMINATE", "NEW"]
)
moments = some.one_of(some.just(0), some.integers(at(-100), at(10_000)))
any_task = some.fixed_dictionaries(
    {"status": statuses, "workflowTask": some.fixed_dictionaries({"type": kinds})},
    optional={
        "taskId": some.sampled_from("abcd"),
        "retriedTaskId": some.sampled_from("abcd"),
        "referenceTaskName": some.text(max_size=5),
        "taskType": some.sampled_from(["SIMPLE", "charge_card", "WAIT", "TERMINATE"]),
        "callbackAfterSeconds": some.one_of(some.integers(0, 5000), some.just(2147483647)),
        "retryCount": some.integers(0, 5),
        "pollCount": some.integers(0, 5),
        "scheduledTime": moments,
        "startTime": moments,
        "updateTime": moments,
        "endTime": moments,
        "seq": some.integers(0, 9),
        "subWorkflowId": some.sampled_from(["wf-1", "wf-2", ""]),
        "reasonForIncompletion": some.one_of(some.none(), some.text(max_size=20)),
        "inputData": some.sampled_from([None, {}, {"duration": "1 s"}, {"until": ""}, {"asyncComplete": True}]),
        "taskDefinition": some.sampled_from([None, {}, {"backoffJitterMs": 9000, "retryCount": 3}]),
        "domain": some.sampled_from([None, "blue"]),
    },
)
any_workflow = some.builds(
    lambda tasks, status, id: Workflow({"workflowId": id, "status": status, "startTime": at(0), "tasks": tasks}),
    some.lists(any_task, max_size=6),
    some.sampled_from(["RUNNING", "RUNNING", "RUNNING", "PAUSED", "FAILED", "COMPLETED", "TIMED_OUT", "BAFFLED"]),
    some.sampled_from(["wf-1", "wf-2"]),
)
any_polls = some.lists(some.builds(polled, some.just("charge_card"), some.integers(0, 5000)), max_size=2)


@given(any_workflow, some.lists(any_workflow, max_size=2), some.integers(0, 5000), any_polls)
def test_no_answer_breaks_the_wait(run: Workflow, below: list[Workflow], seconds: int, polls: list[PollData]) -> None:
    now = at(seconds)
    subs = {one.workflow_id: one for one in below}
    progress = assess(run, now, sub_workflows=subs, poll_data={"charge_card": polls})
    for blocker in progress.blockers:
        if blocker.phase in (Phase.RETRY_DELAY, Phase.POSTPONED, Phase.START_DELAY, Phase.TIMED_WAIT):
            assert blocker.due is None or blocker.due > now
    if progress.next_change is not None:
        assert progress.next_change > now
    if progress.stalled_since is not None:
        assert progress.stalled_since <= now
    next_message(progress, now, NOTHING_LOGGED)
    assert "\n" not in describe(progress, now)
    root_cause(run, subs)
    timeline(run)
