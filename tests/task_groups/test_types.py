"""Each type of task in Conductor's documentation in a task group, on real servers: between two others, well and badly.

A workflow here is a simple task, a task of the type, and a simple task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_conductor.client.task_types import CHOSEN_AT_RUN_TIME, CONTAINERS
from airflow_provider_conductor.mirrors.plan import NO_WORK
from airflow_provider_conductor.polling.blocker import AI_TYPES, SERVER_TYPES, SIGNALLED, WORKER_KINDS
from airflow_provider_conductor.task_groups.step import ConductorStepOperator
from tests.integration.client_lab import Lab
from tests.task_groups import real_life as made
from tests.task_groups.group_run import GroupRun
from tests.task_groups.real_life import Made
from tests.task_groups.worker import Worker, define, group_of

BROKEN = "nobody.knows"
REFUSED = "http://127.0.0.1:9/"
"""Nobody listens at this port, which is the discard service's."""

IN_TURN = {"before": "success", "after": "success"}
CUT_OFF = {"before": "success", "after": "upstream_failed"}


@dataclass(frozen=True)
class Case:
    """A task of some type, and what happens to it.

    Attributes:
        tasks: what is between the simple tasks.
        states: the states of the tasks of the group that are not the same in each case.
        messages: the task that fails or is skipped → parts of its message.
        given: more of the workflow's input.
        fails: what the worker fails.
        answer: how somebody ends a task that waits for an answer: its reference name, the status, and the reason.
        below: the tasks of a sub-workflow.
        as_group: whether its definition is given to the group.
        oldest: it is the same with the oldest server.
        timeout: seconds until a task gives up.
    """

    tasks: Callable[[Lab], list[Made]]
    states: Mapping[str, str] = field(default_factory=dict)
    messages: Mapping[str, Sequence[str]] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    fails: str = ""
    answer: tuple[str, str, str] | None = None
    below: Callable[[Lab], list[Made]] | None = None
    as_group: bool = False
    oldest: bool = False
    timeout: float | None = None


def http(lab: Lab, ref: str, uri: str) -> Made:
    return Lab.system("HTTP", ref, inputParameters={"http_request": {"uri": uri, "method": "GET"}}) | {
        "name": lab.name(ref)
    }


def kafka(lab: Lab) -> Made:
    request = {"topic": "orders", "value": "x", "bootStrapServers": "127.0.0.1:9"}
    request |= {"requestTimeoutMs": 300, "maxBlockMs": 300}
    task = Lab.system("KAFKA_PUBLISH", "publish", inputParameters={"kafka_request": request})
    return task | {"name": lab.name("publish")}


def begin(name: str) -> Made:
    return Lab.system("START_WORKFLOW", "begin", inputParameters={"startWorkflow": {"name": name, "version": 1}})


def chosen(task: str) -> Made:
    return Lab.system("DYNAMIC", "act", dynamicTaskNameParam="task", inputParameters={"task": task})


def fan_out_of(what: str) -> list[Made]:
    params = {"dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs"}
    given = {"tasks": what, "inputs": {}}
    return [Lab.system("FORK_JOIN_DYNAMIC", "spread", inputParameters=given, **params), Lab.system("JOIN", "gather")]


def either(lab: Lab) -> list[Made]:
    choice = made.decision("choose", [], yes=[lab.simple("one")], no=[lab.simple("two")])
    return [choice, Lab.system("EXCLUSIVE_JOIN", "first", joinOn=["one", "two"])]


def both(lab: Lab) -> list[Made]:
    return made.fork("split", [lab.simple("one")], [lab.simple("two")])


def wait(**given: str) -> Made:
    return Lab.system("WAIT", "hold", inputParameters=given)


def inner(lab: Lab) -> list[Made]:
    return [lab.simple("inner")]


WORKS = {
    "SIMPLE": Case(lambda lab: [lab.simple("one")], {"one": "success"}, oldest=True),
    "DO_WHILE": Case(lambda lab: [made.loop("again", 2, lab.simple("one"))], {"again": "success"}),
    "DYNAMIC": Case(lambda lab: [made.dynamic(lab, "act", "one")], {"act": "success"}, oldest=True),
    "FORK_JOIN": Case(both, {"one": "success", "two": "success"}, oldest=True),
    "FORK_JOIN_DYNAMIC": Case(lambda lab: made.fan_out(lab, "spread", "one", 2), {"spread": "success"}, oldest=True),
    "JOIN": Case(
        lambda lab: made.fork("split", [lab.simple("one")], [lab.simple("two", optional=True)], on=["two"]),
        {"one": "success", "two": "success"},
        fails="two",
        oldest=True,
    ),
    "EXCLUSIVE_JOIN": Case(either, {"one": "success", "two": "skipped"}, {"two": ["chose the case 'yes'"]}),
    "SWITCH": Case(
        lambda lab: [made.switch("choose", [lab.simple("one")], yes=[lab.simple("two")])],
        {"one": "skipped", "two": "success"},
        {"one": ["SWITCH 'choose' chose the case 'yes'"]},
        oldest=True,
    ),
    "DECISION": Case(
        lambda lab: [made.decision("choose", [lab.simple("one")], no=[lab.simple("two")])],
        {"one": "success", "two": "skipped"},
        {"two": ["SWITCH 'choose' chose its default case"]},
        oldest=True,
    ),
    "SET_VARIABLE": Case(lambda lab: [made.note("seen")], oldest=True),
    "NOOP": Case(lambda lab: [Lab.system("NOOP", "nothing")]),
    "TERMINATE": Case(
        lambda lab: [made.switch("choose", [], yes=[made.stop("enough")])],
        {"after": "skipped"},
        {"after": ["the workflow completed without this step"]},
        oldest=True,
    ),
    "START_WORKFLOW": Case(lambda lab: [begin(lab.name("below"))], {"begin": "success"}, below=inner, oldest=True),
    "SUB_WORKFLOW": Case(lambda lab: [made.sub(lab, "under")], {"under": "success"}, below=inner, oldest=True),
    "EVENT": Case(lambda lab: [made.event("announce")], {"announce": "success"}, oldest=True),
    "HTTP": Case(lambda lab: [made.call(lab, "call")], {"call": "success"}, oldest=True),
    "HUMAN": Case(
        lambda lab: [made.human("approve")],
        {"approve": "success"},
        answer=("approve", "COMPLETED", ""),
        oldest=True,
    ),
    "INLINE": Case(lambda lab: [made.inline("count")], {"count": "success"}),
    "LAMBDA": Case(lambda lab: [made.script("count")], {"count": "success"}),
    "JSON_JQ_TRANSFORM": Case(lambda lab: [made.jq("pick")], {"pick": "success"}, oldest=True),
    "WAIT": Case(lambda lab: [wait(duration="1s")], {"hold": "success"}),
}

FAILS = {
    "DO_WHILE with a broken condition": Case(
        lambda lab: [made.loop("again", 2, made.note("seen")) | {"loopCondition": BROKEN}],
        {"again": "failed"},
        {"again": ["again failed", "Unable to evaluate condition nobody.knows", "nobody is not defined"]},
    ),
    "DO_WHILE whose task fails": Case(
        lambda lab: [made.loop("again", 2, lab.simple("one"))],
        {"again": "failed"},
        {"again": [" failed: one__1 failed", "out of boxes", "clear this Airflow task"]},
        fails="one__1",
    ),
    "DYNAMIC without a worker": Case(
        lambda lab: [chosen("${workflow.input.task}")],
        {"act": "failed"},
        {"act": ["step 'act'", "waiting for a worker to poll queue 'nobody_knows'"]},
        {"task": "nobody_knows"},
        timeout=1,
    ),
    "DYNAMIC without a name": Case(
        lambda lab: [chosen("${workflow.input.task}")],
        {"act": "failed"},
        {"act": ["step 'act' did not run"]},
    ),
    "FORK_JOIN_DYNAMIC of no list": Case(
        lambda lab: fan_out_of("none"),
        {"spread": "failed"},
        {"spread": ["step 'spread' did not run", "Cannot deserialize a list of Workflow Tasks from 'none'"]},
    ),
    "FORK_JOIN with a branch that fails": Case(
        lambda lab: made.fork("split", [lab.simple("one")], [made.human("two")]),
        {"one": "success", "two": "failed"},
        {"two": ["two failed", "too dear"]},
        answer=("two", "FAILED", "too dear"),
        oldest=True,
    ),
    "EXCLUSIVE_JOIN of one that fails": Case(
        either, {"one": "failed", "two": "skipped"}, {"one": ["one failed", "out of boxes"]}, fails="one"
    ),
    "SET_VARIABLE that is too large": Case(
        lambda lab: [Lab.system("SET_VARIABLE", "seen", inputParameters={"all": "${workflow.input.all}"})],
        {"after": "failed"},
        {
            "after": [
                "step 'after' did not run",
                "seen failed",
                "variables payload size",
                "clear the task of an earlier",
            ]
        },
        {"all": "x" * 300_000},
        oldest=True,
    ),
    "SWITCH with a broken expression": Case(
        lambda lab: [
            made.switch("choose", [], yes=[lab.simple("one")]) | {"evaluatorType": "graaljs", "expression": BROKEN}
        ],
        {"one": "failed"},
        {"one": ["step 'one' did not run", "choose failed", "nobody is not defined"]},
    ),
    "DECISION with a broken expression": Case(
        lambda lab: [made.decision("choose", [], yes=[lab.simple("one")]) | {"caseExpression": BROKEN}],
        {"one": "failed"},
        {"one": ["step 'one' did not run", "Error while evaluating script: nobody.knows"]},
    ),
    "TERMINATE as FAILED": Case(
        lambda lab: [
            made.switch(
                "choose",
                [],
                yes=[
                    Lab.system(
                        "TERMINATE",
                        "enough",
                        inputParameters={"terminationStatus": "FAILED", "terminationReason": "sold out"},
                    )
                ],
            )
        ],
        {"after": "failed"},
        {"after": ["step 'after' did not run", "sold out"]},
        oldest=True,
    ),
    "START_WORKFLOW of one that nobody knows": Case(
        lambda lab: [begin("nobody_knows")],
        {"begin": "failed"},
        {"begin": ["begin failed", "No such workflow defined. name=nobody_knows"]},
        oldest=True,
    ),
    "SUB_WORKFLOW that nobody knows": Case(
        lambda lab: [made.sub(lab, "under", "nobody_knows")],
        {"under": "failed"},
        {"under": ["under failed", "No such workflow defined. name=nobody_knows"]},
        oldest=True,
    ),
    "SUB_WORKFLOW whose task fails": Case(
        lambda lab: [made.sub(lab, "under")],
        {"under": "failed"},
        {"under": ["inner failed", "out of boxes"]},
        fails="inner",
        below=inner,
        oldest=True,
    ),
    "SUB_WORKFLOW as a group whose task fails": Case(
        lambda lab: [made.sub(lab, "under")],
        {"under.inner": "failed", "under.finish": "upstream_failed"},
        {"under.inner": ["inner failed", "out of boxes"]},
        fails="inner",
        below=inner,
        as_group=True,
        oldest=True,
    ),
    "EVENT to an unknown queue": Case(
        lambda lab: [Lab.system("EVENT", "announce", sink="nobody:knows")],
        {"announce": "failed"},
        {"announce": ["announce failed", "Unknown queue type nobody"]},
        oldest=True,
    ),
    "HTTP that nobody answers": Case(
        lambda lab: [http(lab, "call", REFUSED)],
        {"call": "failed"},
        {"call": ["call failed", "Connection refused"]},
        oldest=True,
    ),
    "HTTP with an error's status": Case(
        lambda lab: [made.call(lab, "call")],
        {"call": "failed"},
        {"call": ["call failed", "500"]},
        fails="call",
        oldest=True,
    ),
    "HUMAN who refuses": Case(
        lambda lab: [made.human("approve")],
        {"approve": "failed"},
        {"approve": ["approve failed", "too dear"]},
        answer=("approve", "FAILED", "too dear"),
        oldest=True,
    ),
    "DYNAMIC that is a HUMAN who refuses": Case(
        lambda lab: [chosen("${workflow.input.task}")],
        {"act": "failed"},
        {"act": ["act failed", "too dear"]},
        {"task": "HUMAN"},
        answer=("act", "FAILED", "too dear"),
    ),
    "INLINE with a broken expression": Case(
        lambda lab: [made.inline("count", BROKEN)],
        {"count": "failed"},
        {"count": ["count failed", "nobody is not defined"]},
    ),
    "LAMBDA with a broken script": Case(
        lambda lab: [Lab.system("LAMBDA", "count", inputParameters={"scriptExpression": f"return {BROKEN}"})],
        {"count": "failed"},
        {"count": ["count failed", "nobody is not defined"]},
    ),
    "JSON_JQ_TRANSFORM with a broken query": Case(
        lambda lab: [made.jq("pick", ".a | nobody")],
        {"pick": "failed"},
        {"pick": ["pick failed", "Function nobody/0 does not exist"]},
        oldest=True,
    ),
    "KAFKA_PUBLISH to a broker that refuses": Case(
        lambda lab: [kafka(lab)],
        {"publish": "failed"},
        {"publish": ["publish failed", "Topic orders not present in metadata after 300 ms"]},
    ),
    "WAIT that somebody fails": Case(
        lambda lab: [wait()],
        {"hold": "failed"},
        {"hold": ["hold failed", "too dear"]},
        answer=("hold", "FAILED", "too dear"),
        oldest=True,
    ),
    "WAIT for no time": Case(
        lambda lab: [wait(duration="${workflow.input.soon}")],
        {"hold": "failed"},
        {"hold": ["step 'hold' of Conductor workflow", "did not end in time", "no task has been open"]},
        {"soon": "soon"},
        timeout=1,
    ),
    "LLM_CHAT_COMPLETE without a prompt": Case(
        lambda lab: [Lab.system("LLM_CHAT_COMPLETE", "ask")],
        {"ask": "failed"},
        {"ask": ["step 'ask' did not run", "No non-empty user prompt"]},
    ),
}

LACKS = {
    "DO_WHILE": Case(
        lambda lab: [made.loop("again", 2, lab.simple("one"))],
        {"again": "failed"},
        {"again": ["step 'again' of Conductor workflow", "did not end in time"]},
        timeout=1,
    ),
    "INLINE": Case(
        lambda lab: [made.inline("count")],
        {"count": "failed"},
        {"count": ["count failed", "Unknown evaluator 'graaljs'"]},
    ),
    "LAMBDA": Case(
        lambda lab: [made.script("count")],
        {"count": "failed"},
        {"count": ["count failed", "ScriptEvaluator.engine"]},
    ),
    "NOOP": Case(
        lambda lab: [Lab.system("NOOP", "nothing")],
        {"after": "failed"},
        {"after": ["step 'after' did not run", "Cannot find task by name nothing in the task definitions"]},
    ),
    "KAFKA_PUBLISH": Case(
        lambda lab: [kafka(lab)],
        {"publish": "failed"},
        {"publish": ["step 'publish'", "publish (KAFKA_PUBLISH) has been waiting", "for Conductor to run it"]},
        timeout=1,
    ),
    "DYNAMIC of a name without a definition": Case(
        lambda lab: [chosen("${workflow.input.task}")],
        {"act": "failed"},
        {"act": ["step 'act' did not run", "Cannot find task by name nobody_knows", "clear the task of an earlier"]},
        {"task": "nobody_knows"},
    ),
    "JDBC": Case(
        lambda lab: [Lab.system("JDBC", "query")],
        {"query": "failed"},
        {"query": ["step 'query' did not run", "Cannot find task by name query in the task definitions"]},
    ),
}
"""What the oldest server cannot do, which has no JavaScript either: what comes of it."""

NOT_WRITTEN = {"", "FORK", "USER_DEFINED"}
"""No types of a definition: FORK is what the server makes of a FORK_JOIN, and USER_DEFINED of a type that is a name."""


def cases(table: Mapping[str, Case]) -> Iterator[Any]:
    for name, case in table.items():
        yield pytest.param("conductor_server", case, id=f"{name} newest")
        if case.oldest:
            yield pytest.param("old_conductor_server", case, id=f"{name} oldest")


@pytest.fixture
def lab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """On the server whose fixture the test names."""
    url = request.getfixturevalue(request.getfixturevalue("server")).api_url
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", f'{{"conn_type": "conductor", "host": "{url}"}}')
    if "old" in request.getfixturevalue("server"):  # it has no look-up that could be waited for
        monkeypatch.setattr("airflow_provider_conductor.submission.start_once.LOOKUP_PAUSES", (0.0,))
    with Lab(url) as lab:
        yield lab


def answer(lab: Lab, run: GroupRun, ref: str, status: str, reason: str) -> None:
    """End a task as somebody may who is asked."""
    workflow = lab.eventually(
        lambda: lab.client.get_workflow(run.workflow_id),
        lambda found: found.status.ended or found.latest_attempt(ref) is not None,
    )
    task = workflow.latest_attempt(ref)
    assert task is not None, workflow.reason
    if task.is_open:
        lab.client.update_task(run.workflow_id, task.task_id, status, reason=reason)


def run_of(lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch, case: Case) -> GroupRun:
    below = [define(lab, worker, "below", *case.below(lab))] if case.below else []
    definition = define(lab, worker, "types", lab.simple("before"), *case.tasks(lab), lab.simple("after"))
    worker.fails = {case.fails}
    given = {"way": "yes", "site": worker.site, **case.given}
    group = group_of(
        definition,
        workflow_input=given,
        sub_workflows=below if case.as_group else (),
        poll_interval=0.1,
        timeout=case.timeout,
    )
    run = GroupRun(group, monkeypatch)

    def before(name: str) -> None:
        task = run.tasks[name]
        if case.timeout and name in IN_TURN:  # it is short, and not about these
            lab.eventually(lambda: lab.status_of(run.workflow_id, name), lambda status: status == "COMPLETED")
        if case.timeout and name == "finish":
            lab.ended(run.workflow_id)
        if isinstance(task, ConductorStepOperator) and case.answer and task.step.ref == case.answer[0]:
            answer(lab, run, *case.answer)
        if below and isinstance(task, ConductorStepOperator):
            lab.begin_sub_workflows(run.workflow_id)

    run.before = before
    return run


def check_messages(run: GroupRun, case: Case) -> None:
    for name, parts in case.messages.items():
        message = str(run.errors[name])
        for part in parts:
            assert part in message


@pytest.mark.integration
@pytest.mark.parametrize(("server", "case"), list(cases(WORKS)))
def test_it_is_done(server: str, case: Case, lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(lab, worker, monkeypatch, case)
    assert run.go() == {"start": "success", **IN_TURN, **case.states, "finish": "success"}, run.errors
    check_messages(run, case)


@pytest.mark.integration
@pytest.mark.parametrize(("server", "case"), list(cases(FAILS)))
def test_it_fails(server: str, case: Case, lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(lab, worker, monkeypatch, case)
    states = run.go()
    lab.client.bulk_terminate([run.workflow_id])
    check_messages(run, case)
    assert states == {"start": "success", **CUT_OFF, **case.states, "finish": "upstream_failed"}, run.errors


@pytest.mark.integration
@pytest.mark.parametrize("server", ["old_conductor_server"])
@pytest.mark.parametrize("case", LACKS.values(), ids=LACKS)
def test_the_oldest_server_does_not_have_it(
    server: str, case: Case, lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_it_fails(server, case, lab, worker, monkeypatch)


@pytest.mark.integration
@pytest.mark.parametrize("server", ["conductor_server"])
def test_a_type_that_nobody_does_is_ended_from_outside(
    server: str, lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The types of other distributions, and one that this server has only if it is configured."""
    refs = {kind.lower(): kind for kind in sorted(SIGNALLED)}
    case = Case(lambda lab: made.fork("split", *([Lab.system(kind, ref)] for ref, kind in refs.items())), timeout=1)
    run = run_of(lab, worker, monkeypatch, case)
    assert run.go() == {"start": "success", **CUT_OFF, **dict.fromkeys(refs, "failed"), "finish": "upstream_failed"}
    for ref in refs:
        assert f"step '{ref}' of Conductor workflow" in str(run.errors[ref])
        assert lab.status_of(run.workflow_id, ref) == "SCHEDULED"
        answer(lab, run, ref, "COMPLETED", "")
    run.clear(*refs)
    assert set(run.go().values()) == {"success"}, run.errors


@pytest.mark.integration
@pytest.mark.parametrize("server", ["conductor_server"])
def test_types_that_want_another_service(
    server: str, lab: Lab, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a model, an agent or a database each fails; here each is optional, so that all run in one workflow."""
    refs = {kind.lower(): kind for kind in sorted(AI_TYPES - {"LLM_CHAT_COMPLETE"} | {"JDBC"})}
    once = {"optional": True, "retryCount": 0}
    branches = [[Lab.system(kind, ref, **once)] for ref, kind in refs.items()]
    run = run_of(lab, worker, monkeypatch, Case(lambda lab: made.fork("split", *branches)))
    assert set(run.go().values()) == {"success"}, run.errors
    workflow = lab.client.get_workflow(run.workflow_id)
    for (branch,) in branches:
        task = workflow.latest_attempt(branch["taskReferenceName"])
        assert task is not None
        assert task.reason
    assert {"before", "after"} == set(worker.done)


def test_each_known_type_has_a_case() -> None:
    tables = (WORKS, FAILS, LACKS)
    covered = {name.split()[0] for table in tables for name in table} | SIGNALLED | AI_TYPES | {"JDBC"}
    known = SERVER_TYPES | CONTAINERS | CHOSEN_AT_RUN_TIME | NO_WORK | WORKER_KINDS
    assert covered == known - NOT_WRITTEN
