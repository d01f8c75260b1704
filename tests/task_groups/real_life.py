"""Workflows in the shapes that people build: orders, loans, media, data, operations. Each has a task that may fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.integration.client_lab import Lab

Made = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A workflow, and what happens in it.

    Attributes:
        tasks: its tasks, made with a lab.
        given: its input.
        fails: the reference name of the simple task that fails at first, as the worker gets it; "": none does.
        skipped: the steps that are skipped in the end.
        below: the tasks of a sub-workflow that is given to the group.
    """

    tasks: Callable[[Lab], list[Made]]
    given: Mapping[str, Any] = field(default_factory=dict)
    fails: str = ""
    skipped: Sequence[str] = ()
    below: Callable[[Lab], list[Made]] | None = None


def row(lab: Lab, *refs: str) -> list[Made]:
    return [lab.simple(ref) for ref in refs]


def fork(ref: str, *branches: list[Made], on: Sequence[str] = ()) -> list[Made]:
    last = [branch[-1]["taskReferenceName"] for branch in branches]
    return [
        Lab.system("FORK_JOIN", ref, forkTasks=list(branches)),
        Lab.system("JOIN", f"{ref}_join", joinOn=list(on or last)),
    ]


def switch(ref: str, default: list[Made], by: str = "${workflow.input.way}", **cases: list[Made]) -> Made:
    choice = {"evaluatorType": "value-param", "expression": "value", "decisionCases": cases, "defaultCase": default}
    return Lab.system("SWITCH", ref, inputParameters={"value": by}, **choice)


def loop(ref: str, times: int, *over: Made) -> Made:
    condition = f"if ($.{ref}['iteration'] < {times}) {{ true; }} else {{ false; }}"
    given = {ref: f"${{{ref}.output}}"}
    return Lab.system("DO_WHILE", ref, loopCondition=condition, loopOver=list(over), inputParameters=given)


def inline(ref: str, expression: str = "1", **given: Any) -> Made:
    return Lab.system("INLINE", ref, inputParameters={"evaluatorType": "graaljs", "expression": expression} | given)


def jq(ref: str, query: str = ".a") -> Made:
    return Lab.system("JSON_JQ_TRANSFORM", ref, inputParameters={"queryExpression": query, "a": 1})


def note(ref: str) -> Made:
    return Lab.system("SET_VARIABLE", ref, inputParameters={"seen": 1})


def stop(ref: str, status: str = "COMPLETED") -> Made:
    return Lab.system("TERMINATE", ref, inputParameters={"terminationStatus": status})


def pause(ref: str) -> Made:
    return Lab.system("WAIT", ref, inputParameters={"duration": "1s"})


def fan_out(lab: Lab, ref: str, piece: str, count: int) -> list[Made]:
    made = [{"name": lab.name(piece), "taskReferenceName": f"{piece}_{n}", "type": "SIMPLE"} for n in range(count)]
    given = {"tasks": made, "inputs": {f"{piece}_{n}": {} for n in range(count)}}
    params = {"dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs"}
    return [
        Lab.system("FORK_JOIN_DYNAMIC", ref, inputParameters=given, **params),
        Lab.system("JOIN", f"{ref}_join"),
    ]


def sub(lab: Lab, ref: str, name: str = "below") -> Made:
    return Lab.system("SUB_WORKFLOW", ref, subWorkflowParam={"name": lab.name(name), "version": 1})


def inline_sub(lab: Lab, ref: str, *tasks: Made) -> Made:
    definition = lab.definition(f"{ref}_inline", *tasks)
    given = {"name": definition["name"], "version": 1, "workflowDefinition": definition}
    return Lab.system("SUB_WORKFLOW", ref, subWorkflowParam=given)


def dynamic(lab: Lab, ref: str, runs: str) -> Made:
    given = {"task": lab.name(runs)}
    return Lab.system("DYNAMIC", ref, dynamicTaskNameParam="task", inputParameters=given)


CASES = {
    "hello_world": Case(lambda lab: row(lab, "greet"), fails="greet"),
    "order_checkout": Case(
        lambda lab: [
            *row(lab, "reserve", "charge"),
            switch("carrier", row(lab, "post"), air=row(lab, "fly"), sea=row(lab, "ship")),
            *row(lab, "notify"),
        ],
        {"way": "air"},
        fails="fly",
        skipped=["post", "ship"],
    ),
    "payment_with_approval": Case(
        lambda lab: [inline("risk"), switch("review", [], high=row(lab, "approve")), *row(lab, "pay")],
        {"way": "low"},
        fails="pay",
        skipped=["approve"],
    ),
    "travel_booking": Case(
        lambda lab: [*fork("book", row(lab, "flight"), row(lab, "hotel"), row(lab, "car")), *row(lab, "itinerary")],
        fails="hotel",
    ),
    "image_resize": Case(
        lambda lab: [*row(lab, "plan_sizes"), *fan_out(lab, "sizes", "resize", 3), *row(lab, "publish")],
        fails="resize_1",
    ),
    "video_encoding": Case(
        lambda lab: [
            *row(lab, "split"),
            *fork("encodings", [*row(lab, "encode_hd", "check_hd")], [*row(lab, "encode_sd", "check_sd")]),
            *row(lab, "deploy"),
        ],
        fails="check_sd",
    ),
    "loan_application": Case(
        lambda lab: [
            *fork("checks", row(lab, "identity"), row(lab, "credit")),
            jq("score"),
            switch("decision", [*row(lab, "reject"), stop("rejected")], yes=row(lab, "offer")),
            *row(lab, "sign"),
        ],
        {"way": "yes"},
        fails="offer",
        skipped=["reject"],
    ),
    "loan_rejected": Case(
        lambda lab: [
            *row(lab, "score"),
            switch("decision", [*row(lab, "reject"), stop("rejected")], yes=row(lab, "offer")),
            *row(lab, "sign"),
        ],
        {"way": "no"},
        fails="reject",
        skipped=["offer", "sign"],
    ),
    "paged_import": Case(
        lambda lab: [loop("pages", 2, *row(lab, "fetch", "store")), *row(lab, "index")], fails="store__1"
    ),
    "poll_until_done": Case(
        lambda lab: [*row(lab, "submit"), loop("poll", 2, pause("rest"), *row(lab, "ask")), *row(lab, "collect")],
        fails="collect",
    ),
    "etl": Case(
        lambda lab: [
            *fork("extract", row(lab, "orders"), row(lab, "customers")),
            jq("transform"),
            *fork("load", row(lab, "warehouse"), row(lab, "search")),
            note("loaded"),
            *row(lab, "report"),
        ],
        fails="warehouse",
    ),
    "data_quality": Case(
        lambda lab: [
            *row(lab, "profile"),
            switch("verdict", row(lab, "quarantine"), good=[switch("size", row(lab, "small"), big=row(lab, "large"))]),
            *row(lab, "publish"),
        ],
        {"way": "good"},
        fails="small",
        skipped=["quarantine", "large"],
    ),
    "model_training": Case(
        lambda lab: [
            *row(lab, "features"),
            *fan_out(lab, "search", "train", 2),
            inline("choose_best"),
            switch("deploy", [stop("kept")], better=row(lab, "roll_out")),
            *row(lab, "monitor"),
        ],
        {"way": "better"},
        fails="roll_out",
    ),
    "model_kept": Case(
        lambda lab: [
            *row(lab, "evaluate"),
            switch("deploy", [stop("kept")], better=row(lab, "roll_out")),
            *row(lab, "monitor"),
        ],
        {"way": "worse"},
        fails="evaluate",
        skipped=["roll_out", "monitor"],
    ),
    "user_onboarding": Case(
        lambda lab: [
            *row(lab, "create"),
            *fork("welcome", row(lab, "mail"), [pause("a_while"), *row(lab, "remind")], on=("mail", "remind")),
            *row(lab, "activate"),
        ],
        fails="mail",
    ),
    "newsletter": Case(
        lambda lab: [lab.simple("template", optional=True), *fan_out(lab, "send", "mail", 2)], fails="mail_0"
    ),
    "insurance_claim": Case(
        lambda lab: [
            *row(lab, "register"),
            switch(
                "kind",
                row(lab, "desk"),
                car=[*fork("assess", row(lab, "photos"), row(lab, "police")), *row(lab, "estimate")],
            ),
            *row(lab, "settle"),
        ],
        {"way": "car"},
        fails="photos",
        skipped=["desk"],
    ),
    "insurance_desk": Case(
        lambda lab: [
            *row(lab, "register"),
            switch(
                "kind",
                row(lab, "desk"),
                car=[*fork("assess", row(lab, "photos"), row(lab, "police")), *row(lab, "estimate")],
            ),
            *row(lab, "settle"),
        ],
        {"way": "house"},
        fails="desk",
        skipped=["photos", "police", "estimate"],
    ),
    "parcel_as_sub_workflow": Case(
        lambda lab: [*row(lab, "pack"), sub(lab, "deliver"), *row(lab, "thank")],
        fails="label",
        below=lambda lab: row(lab, "label", "hand_over"),
    ),
    "branches_of_sub_workflows": Case(
        lambda lab: [
            *fork(
                "regions",
                [inline_sub(lab, "europe", *row(lab, "ship_eu"))],
                [inline_sub(lab, "asia", *row(lab, "ship_as"))],
            ),
            *row(lab, "close"),
        ],
        fails="close",
    ),
    "sub_workflow_in_a_case": Case(
        lambda lab: [switch("express", [], yes=[sub(lab, "courier")]), *row(lab, "invoice")],
        {"way": "no"},
        fails="invoice",
        skipped=["courier.call", "courier.finish"],
        below=lambda lab: row(lab, "call"),
    ),
    "chosen_at_run_time": Case(
        lambda lab: [*row(lab, "pick"), dynamic(lab, "act", "do_it"), *row(lab, "record")], fails="record"
    ),
    "nested_forks": Case(
        lambda lab: [
            *fork(
                "outer",
                [*row(lab, "a"), *fork("inner", row(lab, "b"), row(lab, "c")), *row(lab, "d")],
                row(lab, "e", "f"),
            ),
            *row(lab, "g"),
        ],
        fails="c",
    ),
    "switch_in_a_branch": Case(
        lambda lab: [
            *fork(
                "both",
                [*row(lab, "left"), switch("which", row(lab, "plain"), extra=row(lab, "fancy"))],
                row(lab, "right"),
                on=("which", "right"),
            ),
            *row(lab, "merge"),
        ],
        {"way": "extra"},
        fails="right",
        skipped=["plain"],
    ),
    "loop_with_a_switch": Case(
        lambda lab: [
            loop("rounds", 2, switch("odd", row(lab, "even_step"), x=row(lab, "odd_step")), *row(lab, "each")),
            *row(lab, "sum_up"),
        ],
        {"way": "x"},
        fails="each__2",
    ),
    "infrastructure_upgrade": Case(
        lambda lab: [
            *row(lab, "drain"),
            loop("nodes", 2, *row(lab, "upgrade", "verify")),
            switch("smoke", [], skip=[note("skipped")]),
            *row(lab, "undrain"),
        ],
        fails="drain",
    ),
    "delivery_pipeline": Case(
        lambda lab: [
            *row(lab, "build"),
            *fork("tests", row(lab, "unit"), row(lab, "lint"), row(lab, "scan")),
            *row(lab, "stage"),
            pause("soak"),
            switch("promote", row(lab, "hold"), yes=row(lab, "canary", "production")),
        ],
        {"way": "yes"},
        fails="production",
        skipped=["hold"],
    ),
    "event_driven": Case(
        lambda lab: [
            *row(lab, "receive"),
            Lab.system("EVENT", "publish", sink="conductor"),
            jq("shape"),
            inline("enrich"),
            *row(lab, "file_it"),
        ],
        fails="file_it",
    ),
    "names_that_airflow_refuses": Case(
        lambda lab: [
            {**lab.simple("weigh"), "taskReferenceName": "weigh the parcel"},
            {**lab.simple("start_it"), "taskReferenceName": "start"},
            {**lab.simple("end_it"), "taskReferenceName": "finish"},
        ],
        fails="start",
    ),
    "kitchen_sink": Case(
        lambda lab: [
            *row(lab, "first"),
            Lab.system("NOOP", "nothing"),
            note("remember"),
            switch(
                "route",
                row(lab, "slow_lane"),
                fast=[
                    *fork("both", row(lab, "one"), [loop("again", 2, *row(lab, "two"))]),
                    *fan_out(lab, "many", "item", 2),
                    sub(lab, "child"),
                ],
            ),
            lab.simple("extra", optional=True),
            *row(lab, "last"),
        ],
        {"way": "fast"},
        fails="item_1",
        skipped=["slow_lane"],
        below=lambda lab: row(lab, "inside"),
    ),
}
