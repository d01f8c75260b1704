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

CASES: dict[str, tuple[list[dict[str, Any]], float, Phase, float | None, float | None]] = {
    # tasks, looked at after, phase, stalled since, next change
    "nothing scheduled yet": ([], 5, Phase.WORKING, 0, None),
    "between two tasks": ([failed(status="COMPLETED", ended=3)], 5, Phase.WORKING, 3, None),
    "a failed attempt whose retry is not there yet": ([failed(ended=3)], 5, Phase.WORKING, 3, None),
    "a worker is at it": ([live(updated=4)], 60, Phase.WORKING, 4, None),
    "queued": ([task(scheduled=2)], 5, Phase.QUEUED, 2, None),
    "queued after a start delay": ([task(scheduled=2, delay=3)], 9, Phase.QUEUED, 5, None),
    "start delay": ([task(scheduled=2, delay=30)], 9, Phase.START_DELAY, None, 32),
    "retry delay": ([*RETRY], 30, Phase.RETRY_DELAY, None, 61),
    "retry due": ([*RETRY], 90, Phase.RETRY_DUE, 61, None),
    "retry within its jitter": (
        [failed(), task(attempt=2, scheduled=1, delay=60, definition={"backoffJitterMs": 40_000})],
        90,
        Phase.RETRY_DELAY,
        None,
        101,
    ),
    "retry by hand, no delay": ([failed(), task(attempt=5, of=4, scheduled=50)], 55, Phase.RETRY_DUE, 50, None),
    "put back by its worker": ([task(started=1, updated=4, polls=1, delay=60)], 30, Phase.POSTPONED, None, 64),
    "put back, not fetched again": ([task(started=1, updated=4, polls=2, delay=60)], 70, Phase.QUEUED, 64, None),
    "in progress, but put back": ([live(updated=4, delay=60)], 30, Phase.POSTPONED, None, 64),
    "WAIT for an hour": (
        [task("nap", "IN_PROGRESS", kind="WAIT", started=1, delay=HOUR, **TIMED)],
        30,
        Phase.TIMED_WAIT,
        None,
        3601,
    ),
    "WAIT evaluated on the way": (
        [task("nap", "IN_PROGRESS", kind="WAIT", started=1, updated=101, polls=3, delay=3500, **TIMED)],
        130,
        Phase.TIMED_WAIT,
        None,
        3602,  # what was left at second 101 is rounded down by the server
    ),
    "WAIT until a date": (
        [task("nap", "IN_PROGRESS", kind="WAIT", started=1.4, delay=58, inputData={"until": "2023-11-14 22:14"})],
        30,
        Phase.TIMED_WAIT,
        None,
        60,
    ),
    "WAIT that is over": (
        [task("nap", "IN_PROGRESS", kind="WAIT", started=1, delay=20, **TIMED)],
        30,
        Phase.WORKING,
        21,
        None,
    ),
    "WAIT for a signal": (
        [task("nap", "IN_PROGRESS", kind="WAIT", started=1, delay=2147483647)],
        30,
        Phase.WAITING_FOR_SIGNAL,
        None,
        None,
    ),
    "WAIT for a signal, after a manual retry": (
        [task("nap", "IN_PROGRESS", kind="WAIT", started=1, updated=1, polls=1, delay=30)],
        90,
        Phase.WAITING_FOR_SIGNAL,
        None,
        None,
    ),
    "HUMAN": ([task("ok", "IN_PROGRESS", kind="HUMAN", started=1)], 30, Phase.WAITING_FOR_PERSON, None, None),
    "HTTP the server has not begun": ([task("get", kind="HTTP", scheduled=1)], 30, Phase.WORKING, 1, None),
    "HTTP retried later": (
        [failed("get", kind="HTTP"), task("get", kind="HTTP", scheduled=1, attempt=2, delay=60)],
        30,
        Phase.RETRY_DELAY,
        None,
        61,
    ),
    "HTTP whose retry is due": (
        [failed("get", kind="HTTP"), task("get", kind="HTTP", scheduled=1, attempt=2, delay=20)],
        30,
        Phase.WORKING,
        21,
        None,
    ),
    "HTTP that somebody completes": (
        [task("get", "IN_PROGRESS", kind="HTTP", started=1, inputData={"asyncComplete": True})],
        30,
        Phase.WAITING_FOR_SIGNAL,
        None,
        None,
    ),
    "EVENT that somebody completes": (
        [task("tell", "IN_PROGRESS", kind="EVENT", started=1, in_workflow={"asyncComplete": True})],
        30,
        Phase.WAITING_FOR_SIGNAL,
        None,
        None,
    ),
    "START_WORKFLOW": ([task("go", kind="START_WORKFLOW", scheduled=1)], 30, Phase.WORKING, 1, None),
    "KAFKA_PUBLISH": ([task("say", "IN_PROGRESS", kind="KAFKA_PUBLISH", started=2)], 30, Phase.WORKING, 2, None),
    "a kind of a newer server": ([task("new", kind="TELEPATHY", scheduled=1)], 30, Phase.WORKING, 1, None),
    "a status of a newer server": ([task("new", "PONDERING", scheduled=1, started=2)], 30, Phase.WORKING, 2, None),
    "a status of a newer server, ended": ([task("new", "DREAMT", ended=4)], 30, Phase.WORKING, 4, None),
    "a DYNAMIC task": ([task("chosen", kind="DYNAMIC", scheduled=2)], 5, Phase.QUEUED, 2, None),
    "a loop's open iteration": (
        [task("loop", "IN_PROGRESS", kind="DO_WHILE", started=0), task("step__2", scheduled=7)],
        9,
        Phase.QUEUED,
        7,
        None,
    ),
    "a loop between iterations": (
        [task("loop", "IN_PROGRESS", kind="DO_WHILE", started=0), failed("step__1", status="COMPLETED", ended=7)],
        9,
        Phase.WORKING,
        7,
        None,
    ),
    "only a JOIN is open": ([failed(status="COMPLETED", ended=7), join(updated=99)], 99, Phase.WORKING, 7, None),
    "a JOIN whose task may still be scheduled": (
        [failed(status="COMPLETED", ended=7), join(inputData={"joinOn": ["charge_card", "next"]})],
        16,
        Phase.WORKING,
        7,
        None,
    ),
    "a JOIN whose task is not there": (
        [failed(status="COMPLETED", ended=7), join(inputData={"joinOn": ["charge_card", "next"]}, updated=98)],
        99,
        Phase.JOIN_BLOCKED,
        7,
        None,
    ),
    "a JOIN whose task is not there, and a branch is open": (
        [live(updated=5), join(inputData={"joinOn": ["pack", "next"]})],
        99,
        Phase.WORKING,
        5,
        None,
    ),
    "a JOIN in a loop": (
        [
            failed("a__2", status="COMPLETED", ended=7),
            join(inputData={"joinOn": ["a"]}, loopOverTask=True, iteration=2),
        ],
        99,
        Phase.WORKING,
        7,
        None,
    ),
    "an EXCLUSIVE_JOIN with one of its tasks": (
        [
            failed(status="COMPLETED", ended=7),
            task("xjoin", "IN_PROGRESS", kind="EXCLUSIVE_JOIN", inputData={"joinOn": ["charge_card", "b"]}),
        ],
        99,
        Phase.WORKING,
        7,
        None,
    ),
    "an EXCLUSIVE_JOIN with none": (
        [
            failed(status="COMPLETED", ended=7),
            task("xjoin", "IN_PROGRESS", kind="EXCLUSIVE_JOIN", inputData={"joinOn": ["a", "b"]}),
        ],
        99,
        Phase.JOIN_BLOCKED,
        7,
        None,
    ),
    "a permissive task has failed, the rest runs": (
        [failed(in_workflow={"permissive": True}), live(updated=5), join()],
        99,
        Phase.WORKING,
        5,
        None,
    ),
    "an optional task has failed": (
        [failed(status="COMPLETED_WITH_ERRORS"), task("next", scheduled=3)],
        99,
        Phase.QUEUED,
        3,
        None,
    ),
    "fork: one branch lives, one waits for its retry": ([*RETRY, live(), join()], 30, Phase.WORKING, 1, None),
    "fork: retry delay and WAIT": (
        [*RETRY, task("nap", "IN_PROGRESS", kind="WAIT", started=1, delay=20, **TIMED), join()],
        15,
        Phase.RETRY_DELAY,
        None,
        21,
    ),
    "fork: retry delay and a person": (
        [*RETRY, task("ok", "IN_PROGRESS", kind="HUMAN", started=1), join()],
        15,
        Phase.RETRY_DELAY,
        None,
        61,
    ),
    "fork: nobody takes one, a person has the other": (
        [task(scheduled=5), task("ok", "IN_PROGRESS", kind="HUMAN", started=9), join()],
        99,
        Phase.QUEUED,
        9,
        None,
    ),
    "fork: EXCLUSIVE_JOIN": (
        [task("xjoin", "IN_PROGRESS", kind="EXCLUSIVE_JOIN"), task(scheduled=5)],
        99,
        Phase.QUEUED,
        5,
        None,
    ),
    "a sub-workflow not read": ([sub()], 99, Phase.UNREAD, None, None),
    "a sub-workflow not begun": ([sub(status="SCHEDULED", runs="")], 99, Phase.WORKING, 0, None),
}


@pytest.mark.parametrize("case", CASES)
def test_each_situation_is_told_apart(case: str) -> None:
    tasks, seconds, phase, stalled, change = CASES[case]
    progress = observe(workflow(*tasks), seconds)
    assert progress.phase is phase
    assert progress.stalled_since == (None if stalled is None else at(stalled))
    assert progress.next_change == (None if change is None else at(change))


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"])
def test_an_ended_workflow_waits_for_nothing(status: str) -> None:
    progress = observe(workflow(task(), status=status, endTime=at(7)), 9)
    assert (progress.phase, progress.since, progress.stalled_since) == (Phase.ENDED, at(7), None)
    assert not progress.wants


def test_a_failure_workflow_does_not_keep_a_failed_one_alive() -> None:
    output = {"conductor.failure_workflow": "wf-9"}
    assert observe(workflow(failed(), status="FAILED", output=output), 9).phase is Phase.ENDED


def test_retry_delay_is_not_a_stall() -> None:
    assert observe(workflow(*RETRY), 60).stalled_since is None


def test_a_retry_nobody_takes_is_a_stall_from_the_moment_it_was_due() -> None:
    assert observe(workflow(*RETRY), 600).stalled_since == at(61)


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
    assert not progress.wants


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
    assert not progress.wants


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
