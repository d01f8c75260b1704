"""Workflows in the shapes of definitions in public repositories, with tasks of our own. One task of each may fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.integration.client_lab import Lab

Made = dict[str, Any]

OSS, NETFLIX = "conductor-oss/conductor", "Netflix/conductor"
JAVA, PYTHON = "conductor-oss/java-sdk", "conductor-oss/python-sdk"
APPS, EXAMPLES = "conductor-oss/awesome-conductor-apps", "conductor-sdk/conductor-examples"
CABS, IMAGES = "conductor-sdk/conductor-examples-saga-pattern", "orkes-io/orkesworkers"
NETWORK, LOANS, SHOP = "FRINXio/fm-workflows", "huuhoait/los-demo", "syenty/conductor-example"


@dataclass(frozen=True)
class Case:
    """A workflow, and what happens in it.

    Attributes:
        shape: the repository and the file whose tasks and branches it has.
        tasks: its tasks, made with a lab.
        given: its input.
        fails: the reference name of the task that fails at first, as the worker gets it, or the path of an HTTP task.
        skipped: the steps that are skipped in the end.
        failed: those that have failed in the end, in optional sub-workflows.
        below: the tasks of a sub-workflow that is given to the group.
        survives: the workflow completes in spite of the failure.
        undone: it has a failure workflow.
    """

    shape: str
    tasks: Callable[[Lab], list[Made]]
    given: Mapping[str, Any] = field(default_factory=dict)
    fails: str = ""
    skipped: Sequence[str] = ()
    failed: Sequence[str] = ()
    below: Callable[[Lab], list[Made]] | None = None
    survives: bool = False
    undone: bool = False


def row(lab: Lab, *refs: str) -> list[Made]:
    """Simple tasks; a ``?`` at the end of a name makes it optional."""
    return [lab.simple(ref.rstrip("?"), optional=ref.endswith("?")) for ref in refs]


def fork(ref: str, *branches: list[Made], on: Sequence[str] = ()) -> list[Made]:
    last = [branch[-1]["taskReferenceName"] for branch in branches]
    return [
        Lab.system("FORK_JOIN", ref, forkTasks=list(branches)),
        Lab.system("JOIN", f"{ref}_join", joinOn=list(on or last)),
    ]


def switch(ref: str, default: list[Made], by: str = "${workflow.input.way}", **cases: list[Made]) -> Made:
    choice = {"evaluatorType": "value-param", "expression": "value", "decisionCases": cases, "defaultCase": default}
    return Lab.system("SWITCH", ref, inputParameters={"value": by}, **choice)


def decision(ref: str, default: list[Made], by: str = "${workflow.input.way}", **cases: list[Made]) -> Made:
    choice = {"caseValueParam": "value", "decisionCases": cases, "defaultCase": default}
    return Lab.system("DECISION", ref, inputParameters={"value": by}, **choice)


def loop(ref: str, times: int, *over: Made, **fields: Any) -> Made:
    condition = f"if ($.{ref}['iteration'] < {times}) {{ true; }} else {{ false; }}"
    given = {ref: f"${{{ref}.output}}"}
    return Lab.system("DO_WHILE", ref, loopCondition=condition, loopOver=list(over), inputParameters=given, **fields)


def inline(ref: str, expression: str = "1", **given: Any) -> Made:
    return Lab.system("INLINE", ref, inputParameters={"evaluatorType": "graaljs", "expression": expression} | given)


def script(ref: str) -> Made:
    return Lab.system("LAMBDA", ref, inputParameters={"scriptExpression": "return {a: 1}"})


def jq(ref: str, query: str = ".a") -> Made:
    return Lab.system("JSON_JQ_TRANSFORM", ref, inputParameters={"queryExpression": query, "a": 1})


def note(ref: str) -> Made:
    return Lab.system("SET_VARIABLE", ref, inputParameters={"seen": 1})


def stop(ref: str, status: str = "COMPLETED") -> Made:
    return Lab.system("TERMINATE", ref, inputParameters={"terminationStatus": status})


def pause(ref: str) -> Made:
    return Lab.system("WAIT", ref, inputParameters={"duration": "1s"})


def event(ref: str) -> Made:
    return Lab.system("EVENT", ref, sink="conductor")


def human(ref: str, **fields: Any) -> Made:
    return Lab.system("HUMAN", ref, **fields)


def call(lab: Lab, ref: str, **fields: Any) -> Made:
    """An HTTP task that calls the worker's site."""
    request = {"uri": f"${{workflow.input.site}}/{ref}", "method": "GET", "readTimeOut": 30_000}
    return Lab.system("HTTP", ref, inputParameters={"http_request": request}, **fields) | {"name": lab.name(ref)}


def fan_out(lab: Lab, ref: str, piece: str, count: int, **fields: Any) -> list[Made]:
    made = [{"name": lab.name(piece), "taskReferenceName": f"{piece}_{n}", "type": "SIMPLE"} for n in range(count)]
    given = {"tasks": made, "inputs": {f"{piece}_{n}": {} for n in range(count)}}
    params = {"dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs"}
    return [
        Lab.system("FORK_JOIN_DYNAMIC", ref, inputParameters=given, **params, **fields),
        Lab.system("JOIN", f"{ref}_join"),
    ]


def sub(lab: Lab, ref: str, name: str = "below", **fields: Any) -> Made:
    return Lab.system("SUB_WORKFLOW", ref, subWorkflowParam={"name": lab.name(name), "version": 1}, **fields)


def inline_sub(lab: Lab, ref: str, *tasks: Made) -> Made:
    definition = lab.definition(f"{ref}_inline", *tasks)
    given = {"name": definition["name"], "version": 1, "workflowDefinition": definition}
    return Lab.system("SUB_WORKFLOW", ref, subWorkflowParam=given)


def dynamic(lab: Lab, ref: str, runs: str) -> Made:
    return Lab.system("DYNAMIC", ref, dynamicTaskNameParam="task", inputParameters={"task": lab.name(runs)})


CASES = {
    "greeting": Case(
        f"{PYTHON} examples/helloworld/greetings_workflow.json",
        lambda lab: row(lab, "greet"),
        fails="greet",
    ),
    "first_steps": Case(
        f"{OSS} docs/quickstart/workflow.json",
        lambda lab: [call(lab, "weather"), inline("in_celsius")],
        fails="weather",
    ),
    "many_workers_in_a_row": Case(
        f"{PYTHON} examples/workers_e2e_workflow.json",
        lambda lab: row(lab, *"abcdefgh"),
        fails="f",
    ),
    "order_with_compensation": Case(
        f"{OSS} docs/devguide/cookbook/assets/saga-order-fulfillment.json",
        lambda lab: [call(lab, "reserve"), call(lab, "charge"), call(lab, "ship")],
        fails="charge",
        undone=True,
    ),
    "compensation": Case(
        f"{OSS} docs/devguide/cookbook/assets/saga-order-compensation.json",
        lambda lab: [
            jq("what_was_done"),
            switch("was_charged", [], yes=[call(lab, "refund")]),
            switch("was_reserved", [], by="no", yes=[call(lab, "release")]),
        ],
        {"way": "yes"},
        fails="refund",
        skipped=["release"],
    ),
    "all_that_there_is": Case(
        f"{OSS} rest/src/main/resources/kitchensink/kitchensink.json",
        lambda lab: [
            *row(lab, "begin"),
            event("announce"),
            dynamic(lab, "act", "do_it"),
            decision(
                "odd_or_even",
                [],
                even=[*row(lab, "plan"), *fan_out(lab, "spread", "piece", 2)],
                odd=fork("both", [*row(lab, "one"), sub(lab, "under_one")], [*row(lab, "two"), sub(lab, "under_two")]),
            ),
            call(lab, "index"),
            *row(lab, "end"),
        ],
        {"way": "even"},
        fails="piece_1",
        skipped=["one", "under_one.inner", "under_one.finish", "two", "under_two.inner", "under_two.finish"],
        below=lambda lab: row(lab, "inner"),
    ),
    "decisions_in_decisions": Case(
        f"{NETFLIX} rest/src/main/resources/kitchensink/wf1.json",
        lambda lab: [
            *row(lab, "a"),
            dynamic(lab, "b", "do_it"),
            *row(lab, "c"),
            decision(
                "first",
                [],
                spread=[*row(lab, "d"), *fan_out(lab, "pieces", "piece", 2), *row(lab, "e", "f")],
                step=[
                    *row(lab, "g", "h", "i"),
                    decision("second", [*row(lab, "j"), sub(lab, "k"), *row(lab, "l")], step=row(lab, "m", "n")),
                ],
            ),
            *row(lab, "o", "p", "q"),
        ],
        {"way": "step"},
        fails="n",
        skipped=["d", "pieces", "e", "f", "j", "k.inner", "k.finish", "l"],
        below=lambda lab: row(lab, "inner"),
    ),
    "fork_of_rows": Case(
        f"{OSS} rest/src/main/resources/kitchensink/wf2.json",
        lambda lab: [*row(lab, "a", "b"), *fork("both", row(lab, "c", "d"), row(lab, "e", "f")), *row(lab, "g")],
        fails="d",
    ),
    "forks_decisions_and_sub_workflows": Case(
        f"{OSS} test-harness/src/test/resources/nested_fork_join_with_sub_workflow_integration_test.json",
        lambda lab: [
            *fork(
                "outer",
                row(lab, "a"),
                fork(
                    "inner",
                    row(lab, "b", "c"),
                    [
                        *row(lab, "d"),
                        decision("choose", row(lab, "e"), x=row(lab, "f", "g", "h"), y=row(lab, "i", "j")),
                    ],
                    on=("c", "d"),
                ),
                [sub(lab, "k")],
            ),
            *row(lab, "l"),
        ],
        {"way": "y"},
        fails="j",
        skipped=["e", "f", "g", "h"],
        below=lambda lab: row(lab, "label"),
    ),
    "switch_in_a_branch": Case(
        f"{OSS} test-harness/src/test/resources/switch_and_fork_join_integration_test.json",
        lambda lab: fork(
            "both", [switch("choose", row(lab, "a"), x=row(lab, "b", "c")), *row(lab, "d")], row(lab, "e")
        ),
        {"way": "x"},
        fails="e",
        skipped=["a"],
    ),
    "one_join_for_two_decisions": Case(
        f"{OSS} test-harness/src/test/resources/exclusive_join_integration_test.json",
        lambda lab: [
            *row(lab, "a"),
            decision(
                "first",
                [],
                yes=[*row(lab, "b"), decision("second", [], yes=row(lab, "c"))],
                no=[*row(lab, "d"), decision("third", [], yes=row(lab, "e"))],
            ),
            Lab.system("EXCLUSIVE_JOIN", "either", joinOn=["c", "e"], defaultExclusiveJoinTask=["b", "d"]),
        ],
        {"way": "yes"},
        fails="c",
        skipped=["d", "e"],
    ),
    "loop_over_a_fork": Case(
        f"{OSS} test-harness/src/test/resources/do_while_sub_workflow_integration_test.json",
        lambda lab: [
            loop("rounds", 2, *row(lab, "a"), *fork("both", row(lab, "b"), row(lab, "c")), sub(lab, "d")),
        ],
        fails="c__1",
        below=lambda lab: row(lab, "inner"),
    ),
    "everything_again": Case(
        f"{OSS} e2e/src/test/resources/metadata/re_run_test_workflow.json",
        lambda lab: [
            *row(lab, "a"),
            jq("b"),
            call(lab, "c"),
            pause("d"),
            note("e"),
            *fork("three", row(lab, "f"), [*row(lab, "g"), pause("h")], row(lab, "i")),
            sub(lab, "j"),
            *fan_out(lab, "k", "piece", 2),
            *fork(
                "two",
                [
                    loop("again", 1, switch("long", [], yes=row(lab, "l")), optional=True),
                    inline_sub(lab, "m", *row(lab, "n"), switch("way", [stop("short")], yes=row(lab, "o"))),
                ],
                row(lab, "p", "q"),
            ),
        ],
        {"way": "yes"},
        fails="inner",
        skipped=["m.o"],
        below=lambda lab: row(lab, "inner"),
    ),
    "loan": Case(
        f"{EXAMPLES} finance/loan_banking.json",
        lambda lab: [
            *row(lab, "customer"),
            switch(
                "purpose", row(lab, "job", "income"), study=row(lab, "school", "fees"), house=row(lab, "deed", "worth")
            ),
            *row(lab, "credit"),
            switch(
                "possible",
                [stop("refused")],
                house=[*row(lab, "offer", "answer"), switch("agreed", [stop("declined")], house=row(lab, "pay_out"))],
            ),
        ],
        {"way": "house"},
        fails="worth",
        skipped=["job", "income", "school", "fees"],
    ),
    "loan_refused": Case(
        f"{EXAMPLES} finance/loan_banking.json",
        lambda lab: [
            *row(lab, "customer"),
            switch("purpose", row(lab, "job", "income"), study=row(lab, "school", "fees")),
            *row(lab, "credit"),
            switch("possible", [stop("refused")], yes=row(lab, "offer", "answer")),
        ],
        {"way": "study"},
        fails="credit",
        skipped=["job", "income", "offer", "answer"],
    ),
    "address_check": Case(
        f"{EXAMPLES} US_post_office/check_address.json",
        lambda lab: [
            call(lab, "look_up"),
            switch(
                "found",
                [switch("exact", [inline("guess"), stop("nearly")], yes=[inline("keep"), stop("exactly")])],
                no=[stop("unknown")],
            ),
        ],
        {"way": "yes"},
        fails="look_up",
        skipped=["guess"],
    ),
    "document_approval": Case(
        f"{EXAMPLES} document_approvals/review_approval.json",
        lambda lab: [
            loop(
                "rounds",
                2,
                *row(lab, "draft"),
                *fork("reviews", row(lab, "legal"), row(lab, "style")),
                switch(
                    "agreed", [], yes=[*row(lab, "sign"), switch("signed", row(lab, "ask"), yes=row(lab, "publish"))]
                ),
            )
        ],
        {"way": "yes"},
        fails="publish__2",
    ),
    "images_in_many_sizes": Case(
        f"{EXAMPLES} image_processing/image_multiple_convert_resize.json",
        lambda lab: [*row(lab, "sizes"), *fan_out(lab, "resize_all", "resize", 3)],
        fails="resize_1",
    ),
    "two_bots_at_once": Case(
        f"{EXAMPLES} standup-bot/standup_updates_main.json",
        lambda lab: fork("bots", [sub(lab, "east", optional=True)], [sub(lab, "west", optional=True)]),
        fails="ask",
        failed=["east.ask", "west.ask"],
        survives=True,
        below=lambda lab: row(lab, "ask"),
    ),
    "welcome": Case(
        f"{EXAMPLES} community-welcome-workflow/community-welcome-workflow.json",
        lambda lab: [
            switch("what", [], joined=[call(lab, "name"), call(lab, "greet"), pause("day"), call(lab, "tips")])
        ],
        {"way": "joined"},
        fails="tips",
    ),
    "shopping_cart": Case(
        f"{EXAMPLES} shopping_cart/shopping_cart_1.json",
        lambda lab: [
            note("empty"),
            loop(
                "shop",
                1,
                note("item"),
                pause("think"),
                note("total"),
                switch(
                    "done",
                    [inline("go_on")],
                    checkout=[sub(lab, "checkout"), pause("settle"), switch("paid", [note("yes")], no=[note("sorry")])],
                ),
            ),
        ],
        {"way": "checkout"},
        fails="charge",
        below=lambda lab: row(lab, "charge"),
    ),
    "formats_and_a_sub_workflow": Case(
        f"{IMAGES} data/workflow/image_convert_resize_multipleformat_subworkflow.json",
        lambda lab: fork("formats", [sub(lab, "jpg")], row(lab, "webp", "upload_webp")),
        fails="upload_jpg",
        below=lambda lab: row(lab, "convert", "upload_jpg"),
    ),
    "search_by_picture": Case(
        f"{IMAGES} data/workflow/visual_image_search.json",
        lambda lab: [
            call(lab, "detect"),
            *(jq("labels"), jq("words")),
            *fork("shape", [jq("query")], [jq("filters")]),
            call(lab, "find"),
            jq("hits"),
        ],
        fails="find",
    ),
    "cab_booking": Case(
        f"{CABS} src/main/resources/cab_service_saga_booking_wf.json",
        lambda lab: [
            *row(lab, "book", "pay", "driver", "confirm"),
            *fork("notify", row(lab, "tell_rider"), row(lab, "tell_driver")),
        ],
        fails="driver",
        undone=True,
    ),
    "cab_cancellation": Case(
        f"{CABS} src/main/resources/cab_service_saga_cancellation_wf.json",
        lambda lab: [
            jq("failed_at"),
            switch("undo", [], payment=row(lab, "refund", "void"), driver=row(lab, "free_driver")),
            *row(lab, "cancel"),
            *fork("notify", row(lab, "tell_rider"), row(lab, "tell_driver")),
        ],
        {"way": "payment"},
        fails="tell_rider",
        skipped=["free_driver"],
    ),
    "payment_transfer": Case(
        f"{APPS} go/saga/workflow/workflow.json",
        lambda lab: [
            *row(lab, "check"),
            switch("enough", [], no=[*row(lab, "mail"), stop("refused", "FAILED")]),
            *row(lab, "withdraw", "deposit", "receipt"),
        ],
        {"way": "yes"},
        fails="deposit",
        skipped=["mail"],
        undone=True,
    ),
    "insurance_claim": Case(
        f"{APPS} typescript/claims-workflow/workflows/claim_workflow.json",
        lambda lab: [
            *row(lab, "register"),
            inline("policies"),
            human("pick_policy"),
            switch(
                "valid",
                [stop("invalid")],
                yes=[
                    *row(lab, "assess"),
                    human("inspect"),
                    switch("covered", [stop("not_covered")], yes=[inline("amount"), stop("settled")]),
                ],
            ),
        ],
        {"way": "yes"},
        fails="assess",
    ),
    "site_monitor": Case(
        f"{APPS} examples/HTTP-EndPoint-Monitoring/workflows/HTTP_EndPoint_Monitoring.json",
        lambda lab: [
            call(lab, "ping", optional=True),
            switch(
                "is_up",
                [*row(lab, "mail"), stop("down")],
                by="${ping.output.response.statusCode}",
                **{"200": [note("up")]},
            ),
        ],
        fails="ping",
        survives=True,
    ),
    "agent_with_tools": Case(
        f"{APPS} python/agentic_trader_app/resources/workflow.json",
        lambda lab: [
            note("budget"),
            loop(
                "turns",
                2,
                *row(lab, "think"),
                switch(
                    "tool",
                    [],
                    sell=[*row(lab, "price", "sell"), note("sold")],
                    balance=[*row(lab, "sum"), note("known")],
                ),
                *row(lab, "record", "reflect"),
                note("turn"),
            ),
        ],
        {"way": "sell"},
        fails="sell__1",
    ),
    "device_discovery": Case(
        f"{NETWORK} demo-workflows/workflows/Device_identification.json",
        lambda lab: [
            *row(lab, "probe", "log_in"),
            script("protocol"),
            decision("by_protocol", row(lab, "over_cli"), netconf=[*row(lab, "mount", "store"), stop("mounted")]),
            *row(lab, "banner"),
            script("vendor"),
            decision("by_vendor", [], cli=row(lab, "a1", "a2"), b=row(lab, "b1", "b2"), c=row(lab, "c1", "c2")),
            Lab.system("EXCLUSIVE_JOIN", "known", joinOn=["a2", "b2", "c2"]),
            *row(lab, "save"),
            stop("saved"),
        ],
        {"way": "cli"},
        fails="a2",
        skipped=["mount", "store", "b1", "b2", "c1", "c2"],
    ),
    "install_page_by_page": Case(
        f"{NETWORK} demo-workflows/workflows/Install_all_from_inventory.json",
        lambda lab: [
            *row(lab, "count"),
            loop("pages", 2, script("offset"), *row(lab, "read_page"), *fan_out(lab, "install", "device", 2)),
        ],
        fails="read_page__2",
    ),
    "router_upgrade": Case(
        f"{NETWORK} demo-workflows/workflows/IOSXR_Upgrade.json",
        lambda lab: [
            *row(lab, "free_space"),
            script("enough"),
            decision("space", [stop("full", "FAILED")], yes=[sub(lab, "copy")]),
            *row(lab, "backup?"),
            sub(lab, "add"),
            *row(lab, "prepare", "activate"),
            sub(lab, "reload"),
            *row(lab, "version"),
            script("same"),
            *row(lab, "clean?", "commit", "verify", "tidy?"),
            sub(lab, "report"),
        ],
        {"way": "yes"},
        fails="commit",
        below=lambda lab: row(lab, "inner"),
    ),
    "underwriting": Case(
        f"{LOANS} services/loan-api/workflows/underwriting_workflow.json",
        lambda lab: [
            *row(lab, "credit", "income", "fraud", "score"),
            decision(
                "risk",
                row(lab, "manual", "tell"),
                low=row(lab, "approve", "terms"),
                high=row(lab, "deny", "letter"),
                middle=[
                    *row(lab, "file", "assign"),
                    human("underwriter"),
                    decision("verdict", [], middle=row(lab, "accept", "price"), no=row(lab, "reject", "explain")),
                ],
            ),
        ],
        {"way": "middle"},
        fails="price",
        skipped=["manual", "tell", "approve", "terms", "deny", "letter", "reject", "explain"],
    ),
    "parallel_payment_and_stock": Case(
        f"{SHOP} workflows/W6_parallel_post_payment.json",
        lambda lab: [
            *row(lab, "order"),
            *fork("both", row(lab, "pay?"), row(lab, "reserve")),
            decision(
                "outcome", [], both=row(lab, "confirm", "ship"), stock=row(lab, "backorder"), none=row(lab, "cancel")
            ),
        ],
        {"way": "both"},
        fails="reserve",
        skipped=["backorder", "cancel"],
    ),
    "map_reduce": Case(
        f"{JAVA} examples/advanced/map-reduce/src/main/resources/workflow.json",
        lambda lab: [
            *row(lab, "split"),
            *fork("map", row(lab, "map_a"), row(lab, "map_b"), row(lab, "map_c")),
            *row(lab, "reduce", "publish"),
        ],
        fails="reduce",
    ),
    "names_with_spaces": Case(
        f"{APPS} python/interview_agentic_app/resources/coreInterviewLoop.json",
        lambda lab: [
            {**note("greeting"), "taskReferenceName": "set greeting"},
            {**lab.simple("ask"), "taskReferenceName": "start"},
            loop("questions", 1, pause("answer"), inline("score")),
            {**lab.simple("close"), "taskReferenceName": "finish"},
            {**lab.simple("mail"), "taskReferenceName": "mail the result"},
        ],
        fails="finish",
    ),
}
