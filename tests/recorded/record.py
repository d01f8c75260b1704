"""Records what a real Conductor answers in every phase a workflow can be in.

    python tests/recorded/record.py --url http://localhost:8080/api --into conductor-3.32.2
    python tests/recorded/record.py --url http://localhost:8080/api --into conductor-3.32.2 --only human fork

Each scenario below registers a definition of its own, starts it, plays worker, and writes what
``GET /workflow/{id}`` said, with the sub-workflows, the poll data and the task logs that belong to
it, to ``<version>/<scenario>.json``. Names carry a random mark, so a shared server is not disturbed
(the mark is ``_x`` in the files).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Json = dict[str, Any]
SCENARIOS: dict[str, Callable[[Server], None]] = {}


class Server:
    """The few calls a recording needs; writes down each that changes something."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.steps: list[str] = []
        self.date = 0
        self.snapshots: dict[str, Json] = {}
        self.recording = ""
        self.started: list[str] = []
        self.mark = uuid.uuid4().hex[:6]

    def call(self, method: str, path: str, body: Any = None, *, note: bool = True) -> Any:
        if note:
            step = f"{method} {path}" + ("" if body is None else " " + json.dumps(body))
            self.steps.append(step if len(step) < 5_000 else step[:500] + "…")
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Content-Type", "application/json")
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=40) as answer:
                self.date = int(parsedate_to_datetime(answer.headers["Date"]).timestamp() * 1000)
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()[:500]}") from error
        try:
            return json.loads(text)
        except ValueError:
            return text

    def define(self, name: str, *tasks: Json, **extra: Any) -> str:
        name = f"{name}_{self.mark}"
        definition = {
            "name": name,
            "version": 1,
            "ownerEmail": "a@b.c",
            "tasks": list(tasks),
            "schemaVersion": 2,
        }
        self.call(
            "PUT",
            "/metadata/workflow",
            [{"timeoutSeconds": 0, "timeoutPolicy": "ALERT_ONLY"} | definition | extra],
        )
        return name

    def define_task(self, name: str, **policy: Any) -> str:
        name = f"{name}_{self.mark}"
        base = {
            "name": name,
            "ownerEmail": "a@b.c",
            "timeoutSeconds": 0,
            "responseTimeoutSeconds": 3600,
            "retryCount": 0,
        }
        self.call("POST", "/metadata/taskdefs", [base | policy])
        return name

    def start(self, name: str, **extra: Any) -> str:
        request = {"name": name, "version": 1, "input": {}} | extra
        self.started.append(str(self.call("POST", "/workflow", request)).strip('"'))
        return self.started[-1]

    def tidy(self) -> None:
        """End what still runs."""
        for workflow_id in self.started:
            if not ended(self.workflow(workflow_id)):
                self.call("DELETE", f"/workflow/{workflow_id}?reason=recorded")

    def poll(self, queue: str, worker: str = "worker-3", domain: str = "") -> Json | None:
        query = {"workerid": worker} | ({"domain": domain} if domain else {})
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            task = self.call("GET", f"/tasks/poll/{queue}?{urllib.parse.urlencode(query)}", note=False)
            if task:
                self.steps.append(f"GET /tasks/poll/{queue}?{urllib.parse.urlencode(query)}")
                return dict(task)
            time.sleep(0.2)
        return None

    def glance(self, queue: str, worker: str = "worker-3", domain: str = "") -> Any:
        """One poll, whatever it brings."""
        query = {"workerid": worker} | ({"domain": domain} if domain else {})
        return self.call("GET", f"/tasks/poll/{queue}?{urllib.parse.urlencode(query)}")

    def report(self, task: Json | None, status: str, **extra: Any) -> None:
        if task is None:
            raise SystemExit("nothing was queued")
        ids = {"workflowInstanceId": task["workflowInstanceId"], "taskId": task["taskId"]}
        self.call("POST", "/tasks", ids | {"status": status, "workerId": task.get("workerId") or "worker-3"} | extra)

    def workflow(self, workflow_id: str) -> Json:
        return dict(self.call("GET", f"/workflow/{workflow_id}?includeTasks=true", note=False))

    def until(self, workflow_id: str, seen: Callable[[Json], Any], seconds: float = 90) -> Json:
        deadline = time.monotonic() + seconds
        while True:
            workflow = self.workflow(workflow_id)
            if seen(workflow):
                return workflow
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.recording}: not seen within {seconds} s: {json.dumps(workflow)[:3000]}")
            time.sleep(0.1)

    def keep(self, name: str, workflow_id: str, *queues: str, logs_of: str = "") -> None:
        """One snapshot: the workflow, the sub-workflows below it, poll data and logs."""
        sub_workflows: dict[str, Json] = {}
        workflow = self.workflow(workflow_id)
        now = self.date
        below = [workflow]
        while below:
            for task in below.pop().get("tasks", []):
                child = task.get("subWorkflowId") or (task.get("outputData") or {}).get("subWorkflowId")
                if child and child not in sub_workflows:
                    sub_workflows[child] = self.workflow(child)
                    below.append(sub_workflows[child])
        snapshot: Json = {"steps": list(self.steps), "now": now, "workflow": workflow}
        if sub_workflows:
            snapshot["sub_workflows"] = sub_workflows
        if queues:
            snapshot["poll_data"] = {
                queue: self.call("GET", f"/tasks/queue/polldata?taskType={queue}", note=False) for queue in queues
            }
        if logs_of:
            snapshot["logs"] = self.call("GET", f"/tasks/{logs_of}/log", note=False)
        self.snapshots[name] = snapshot


def scenario(function: Callable[[Server], None]) -> Callable[[Server], None]:
    SCENARIOS[function.__name__] = function
    return function


def simple(name: str, ref: str = "", **extra: Any) -> Json:
    return {"name": name, "taskReferenceName": ref or name.rsplit("_", 1)[0], "type": "SIMPLE"} | extra


def system(kind: str, ref: str, **extra: Any) -> Json:
    return {"name": ref, "taskReferenceName": ref, "type": kind} | extra


def noted(ref: str) -> Json:
    """A task that completes at once."""
    return system("SET_VARIABLE", ref, inputParameters={"seen": True})


def open_task(ref: str, status: str) -> Callable[[Json], bool]:
    def seen(workflow: Json) -> bool:
        return any(t["referenceTaskName"] == ref and t["status"] == status for t in workflow["tasks"])

    return seen


def ended(workflow: Json) -> bool:
    return workflow["status"] not in ("RUNNING", "PAUSED")


@scenario
def working(server: Server) -> None:
    task = server.define_task("charge_card", retryCount=3)
    run = server.start(server.define("working", simple(task)))
    server.keep("queued_fresh", run)
    server.poll(task)
    server.keep("working", run, task)


@scenario
def retry_delay(server: Server) -> None:
    task = server.define_task("charge_card", retryCount=3, retryDelaySeconds=60, retryLogic="FIXED")
    run = server.start(server.define("retry_delay", simple(task)))
    server.report(server.poll(task), "FAILED", reasonForIncompletion="card service down")
    server.until(run, open_task("charge_card", "SCHEDULED"))
    server.keep("retry_delay", run, task)


@scenario
def retry_due(server: Server) -> None:
    task = server.define_task("charge_card", retryCount=3, retryDelaySeconds=1, retryLogic="FIXED")
    run = server.start(server.define("retry_due", simple(task)))
    server.report(server.poll(task), "FAILED", reasonForIncompletion="card service down")
    time.sleep(15)
    server.keep("retry_due", run, task)


@scenario
def backoff(server: Server) -> None:
    for logic, more in (
        ("EXPONENTIAL_BACKOFF", {"maxRetryDelaySeconds": 0, "backoffJitterMs": 0}),
        ("LINEAR_BACKOFF", {"backoffScaleFactor": 2, "backoffJitterMs": 5000}),
    ):
        task = server.define_task(
            f"ship_{logic[:3].lower()}", retryCount=5, retryDelaySeconds=2, retryLogic=logic, **more
        )
        run = server.start(server.define("backoff", simple(task, "ship")))
        server.report(server.poll(task), "FAILED", reasonForIncompletion="no truck")
        server.report(server.poll(task), "FAILED", reasonForIncompletion="no driver")
        server.until(run, lambda w: w["tasks"][-1].get("retryCount") == 2)
        server.keep(f"retry_delay_{logic.lower()}", run, task)
    task = server.define_task(
        "ship_cap", retryCount=5, retryDelaySeconds=600, maxRetryDelaySeconds=20, retryLogic="FIXED"
    )
    run = server.start(server.define("backoff_capped", simple(task, "ship")))
    server.report(server.poll(task), "FAILED", reasonForIncompletion="no truck")
    server.until(run, open_task("ship", "SCHEDULED"))
    server.keep("retry_delay_capped", run, task)


@scenario
def queued(server: Server) -> None:
    task = server.define_task("nobody")
    run = server.start(server.define("queued", simple(task)))
    time.sleep(15)
    server.keep("queued_never_polled", run, task)


@scenario
def no_definition(server: Server) -> None:
    task = f"undefined_{server.mark}"
    run = server.start(server.define("no_definition", simple(task)))
    time.sleep(11)
    server.keep("queued_without_definition", run, task)


@scenario
def domain(server: Server) -> None:
    task = server.define_task("domained")
    server.glance(task, "worker-plain")
    server.glance(task, "worker-green", "green")
    run = server.start(server.define("domain", simple(task)), taskToDomain={task: "blue"})
    time.sleep(11)
    server.glance(task, "worker-plain")
    server.glance(task, "worker-green", "green")
    server.keep("queued_in_a_domain", run, task)


@scenario
def rate_limited(server: Server) -> None:
    task = server.define_task("limited", rateLimitPerFrequency=1, rateLimitFrequencyInSeconds=600)
    name = server.define("rate_limited", simple(task))
    server.start(name)
    server.poll(task)
    run = server.start(name)
    for _ in range(12):
        time.sleep(1)
        server.glance(task)
    # 3.32 on SQLite hands it out all the same: it has no rate limits there.
    if open_task("limited", "SCHEDULED")(server.workflow(run)):
        server.keep("rate_limited", run, task)


@scenario
def concurrency_limited(server: Server) -> None:
    task = server.define_task("one_at_a_time", concurrentExecLimit=1)
    name = server.define("concurrency_limited", simple(task))
    server.start(name)
    server.poll(task)
    run = server.start(name)
    for _ in range(12):
        time.sleep(1)
        server.glance(task)
    server.keep("concurrency_limited", run, task)


@scenario
def postponed(server: Server) -> None:
    task = server.define_task("long_job")
    run = server.start(server.define("postponed", simple(task)))
    server.report(server.poll(task), "IN_PROGRESS", callbackAfterSeconds=120)
    server.keep("postponed", run, task)


@scenario
def start_delay(server: Server) -> None:
    task = server.define_task("later")
    run = server.start(server.define("start_delay", simple(task, startDelay=90)))
    server.keep("start_delay", run, task)


@scenario
def timed_wait(server: Server) -> None:
    run = server.start(
        server.define("timed_wait", system("WAIT", "cool_down", inputParameters={"duration": "5 minutes"}))
    )
    server.until(run, open_task("cool_down", "IN_PROGRESS"))
    server.keep("timed_wait", run)
    until = time.strftime("%Y-%m-%d %H:%M", time.gmtime(time.time() + 3600)) + " GMT"
    run = server.start(server.define("wait_until", system("WAIT", "cool_down", inputParameters={"until": until})))
    server.until(run, open_task("cool_down", "IN_PROGRESS"))
    server.keep("timed_wait_until", run)


@scenario
def signal(server: Server) -> None:
    run = server.start(server.define("signal", system("WAIT", "approval")))
    server.until(run, open_task("approval", "IN_PROGRESS"))
    server.keep("waiting_for_signal", run)


@scenario
def signal_after_retry(server: Server) -> None:
    run = server.start(server.define("signal_retried", system("WAIT", "approval")))
    server.until(run, open_task("approval", "IN_PROGRESS"))
    server.call("DELETE", f"/workflow/{run}?reason=oops")
    server.until(run, ended)
    server.call("POST", f"/workflow/{run}/retry?resumeSubworkflowTasks=false")
    time.sleep(8)
    server.keep("waiting_for_signal_after_retry", run)


@scenario
def timed_wait_after_retry(server: Server) -> None:
    run = server.start(
        server.define("wait_retried", system("WAIT", "cool_down", inputParameters={"duration": "5 minutes"}))
    )
    server.until(run, open_task("cool_down", "IN_PROGRESS"))
    server.call("DELETE", f"/workflow/{run}?reason=oops")
    server.until(run, ended)
    server.call("POST", f"/workflow/{run}/retry?resumeSubworkflowTasks=false")
    time.sleep(8)
    server.keep("timed_wait_after_retry", run)


@scenario
def human(server: Server) -> None:
    run = server.start(server.define("human", system("HUMAN", "sign_off")))
    server.until(run, open_task("sign_off", "IN_PROGRESS"))
    server.keep("waiting_for_person", run)


@scenario
def paused(server: Server) -> None:
    task = server.define_task("charge_card", retryCount=3)
    run = server.start(server.define("paused", simple(task)))
    time.sleep(2)
    server.call("PUT", f"/workflow/{run}/pause")
    time.sleep(2)
    server.keep("paused", run, task)
    time.sleep(2)
    server.call("PUT", f"/workflow/{run}/resume")
    time.sleep(12)
    server.keep("queued_after_resume", run, task)


@scenario
def fork(server: Server) -> None:
    live, dead = server.define_task("live"), server.define_task("dead", retryCount=2, retryDelaySeconds=300)
    forked = system(
        "FORK_JOIN",
        "fork",
        forkTasks=[
            [simple(live)],
            [simple(dead)],
            [system("WAIT", "cool_down", inputParameters={"duration": "1 hour"})],
            [system("HUMAN", "sign_off")],
        ],
    )
    join = system("JOIN", "join", joinOn=["live", "dead", "cool_down", "sign_off"])
    run = server.start(server.define("fork", forked, join))
    taken = server.poll(live)
    server.report(server.poll(dead), "FAILED", reasonForIncompletion="out of stock")
    server.until(run, lambda w: any(t.get("retryCount") for t in w["tasks"]))
    server.keep("fork_mixed", run, live, dead)
    server.report(taken, "COMPLETED")
    server.until(run, open_task("live", "COMPLETED"))
    server.keep("fork_at_rest", run, live, dead)
    time.sleep(10)
    server.keep("fork_at_rest_later", run, live, dead)


@scenario
def dynamic_fork(server: Server) -> None:
    task = server.define_task("piece")
    pieces = [simple(task, f"piece_{n}") for n in range(3)]
    forked = system(
        "FORK_JOIN_DYNAMIC",
        "fan_out",
        dynamicForkTasksParam="pieces",
        dynamicForkTasksInputParamName="inputs",
        inputParameters={"pieces": pieces, "inputs": {}},
    )
    run = server.start(server.define("dynamic_fork", forked, system("JOIN", "fan_in")))
    server.poll(task)
    server.keep("dynamic_fork", run, task)


@scenario
def dynamic_task(server: Server) -> None:
    task = server.define_task("chosen")
    chooser = system("DYNAMIC", "choose", dynamicTaskNameParam="which", inputParameters={"which": task})
    run = server.start(server.define("dynamic_task", chooser))
    time.sleep(11)
    server.keep("queued_dynamic_task", run, task)


@scenario
def do_while(server: Server) -> None:
    task = server.define_task("step")
    loop = system(
        "DO_WHILE",
        "loop",
        loopCondition="if ($.loop['iteration'] < 3) { true; } else { false; }",
        inputParameters={},
        loopOver=[simple(task)],
    )
    run = server.start(server.define("do_while", loop))
    server.report(server.poll(task), "COMPLETED")
    server.until(run, lambda w: any(t["referenceTaskName"] == "step__2" for t in w["tasks"]))
    server.keep("do_while", run, task)


@scenario
def switch(server: Server) -> None:
    task = server.define_task("left")
    choice = system(
        "SWITCH",
        "choice",
        evaluatorType="value-param",
        expression="way",
        inputParameters={"way": "left"},
        decisionCases={"left": [simple(task)]},
    )
    run = server.start(server.define("switch", choice))
    server.poll(task)
    server.keep("switch", run, task)


@scenario
def optional(server: Server) -> None:
    nice, must = server.define_task("nice_to_have"), server.define_task("must")
    run = server.start(server.define("optional", simple(nice, optional=True), simple(must)))
    server.report(server.poll(nice), "FAILED", reasonForIncompletion="no candles")
    server.poll(must)
    server.keep("optional_failed", run, must)


@scenario
def permissive(server: Server) -> None:
    soft, other = server.define_task("soft"), server.define_task("other")
    forked = system("FORK_JOIN", "fork", forkTasks=[[simple(soft, permissive=True)], [simple(other)]])
    run = server.start(server.define("permissive", forked, system("JOIN", "join", joinOn=["soft", "other"])))
    server.report(server.poll(soft), "FAILED", reasonForIncompletion="no candles")
    taken = server.poll(other)
    server.keep("permissive_failed", run, other)
    server.report(taken, "COMPLETED")
    server.until(run, ended)
    server.keep("ended_permissive", run)


@scenario
def http(server: Server) -> None:
    request = {"uri": "http://127.0.0.1:9/none", "method": "GET"}
    run = server.start(
        server.define(
            "http_async",
            system(
                "HTTP",
                "fetch",
                asyncComplete=True,
                inputParameters={"http_request": request | {"uri": server.url + "/metadata/taskdefs"}},
            ),
        )
    )
    server.until(run, open_task("fetch", "IN_PROGRESS"), 30)
    server.keep("waiting_for_async_complete", run)


@scenario
def http_failed(server: Server) -> None:
    request = {"uri": "http://127.0.0.1:9/none", "method": "GET"}
    run = server.start(server.define("http_failed", system("HTTP", "fetch", inputParameters={"http_request": request})))
    server.until(run, ended)
    server.keep("ended_http_failed", run)


@scenario
def sub_workflow(server: Server) -> None:
    task = server.define_task("pack", retryCount=2, retryDelaySeconds=120)
    inner = server.define("inner", simple(task))
    middle = server.define("middle", system("SUB_WORKFLOW", "to_inner", subWorkflowParam={"name": inner, "version": 1}))
    outer = server.define("outer", system("SUB_WORKFLOW", "to_middle", subWorkflowParam={"name": middle, "version": 1}))
    run = server.start(outer)
    server.report(server.poll(task), "FAILED", reasonForIncompletion="box too small")
    time.sleep(1)
    server.keep("sub_workflow_retry_delay", run, task)


@scenario
def sub_workflow_failed(server: Server) -> None:
    task = server.define_task("pack")
    inner = server.define("inner_failing", simple(task))
    middle = server.define(
        "middle_failing", system("SUB_WORKFLOW", "to_inner", subWorkflowParam={"name": inner, "version": 1})
    )
    outer = server.define(
        "outer_failing", system("SUB_WORKFLOW", "to_middle", subWorkflowParam={"name": middle, "version": 1})
    )
    run = server.start(outer)
    taken = server.poll(task)
    server.report(
        taken,
        "FAILED",
        reasonForIncompletion="box too small",
        logs=[{"log": "measuring"}, {"log": "box is 3 cm too small"}],
    )
    server.until(run, ended)
    time.sleep(1)
    server.keep("ended_failed_two_levels_down", run, logs_of=(taken or {})["taskId"])


@scenario
def sub_workflow_paused(server: Server) -> None:
    task = server.define_task("pack")
    inner = server.define("inner_paused", simple(task))
    run = server.start(
        server.define(
            "outer_paused", system("SUB_WORKFLOW", "to_inner", subWorkflowParam={"name": inner, "version": 1})
        )
    )
    seen = server.until(run, open_task("to_inner", "IN_PROGRESS"))
    server.call("PUT", f"/workflow/{seen['tasks'][0]['subWorkflowId']}/pause")
    server.keep("sub_workflow_paused", run, task)


@scenario
def failures(server: Server) -> None:
    task = server.define_task("charge_card", retryCount=1, retryDelaySeconds=0)
    name = server.define("failing", simple(task))
    run = server.start(name)
    server.report(server.poll(task), "FAILED", reasonForIncompletion="card service down")
    server.report(server.poll(task), "FAILED", reasonForIncompletion="card service still down")
    server.until(run, ended)
    server.keep("ended_failed", run)
    run = server.start(name)
    server.report(server.poll(task), "FAILED_WITH_TERMINAL_ERROR", reasonForIncompletion="card is stolen")
    server.until(run, ended)
    server.keep("ended_failed_with_terminal_error", run)
    run = server.start(name)
    server.call("DELETE", f"/workflow/{run}?reason=wrong%20customer")
    server.until(run, ended)
    server.keep("ended_terminated", run)
    run = server.start(name)
    server.report(server.poll(task), "COMPLETED")
    server.until(run, ended)
    server.keep("ended_completed", run)


@scenario
def retried_by_hand(server: Server) -> None:
    task = server.define_task("charge_card", retryCount=1, retryDelaySeconds=0)
    run = server.start(server.define("by_hand", simple(task)))
    server.report(server.poll(task), "FAILED", reasonForIncompletion="one")
    server.report(server.poll(task), "FAILED", reasonForIncompletion="two")
    server.until(run, ended)
    server.call("POST", f"/workflow/{run}/retry")
    server.poll(task)
    server.keep("working_after_manual_retry", run)


@scenario
def response_timeout(server: Server) -> None:
    task = server.define_task("silent", responseTimeoutSeconds=1, retryCount=0)
    run = server.start(server.define("response_timeout", simple(task)))
    server.poll(task)
    time.sleep(3)
    server.call("PUT", f"/workflow/decide/{run}")
    server.until(run, ended, 90)
    server.keep("ended_timed_out", run)


@scenario
def workflow_timeout(server: Server) -> None:
    task = server.define_task("slow")
    run = server.start(server.define("workflow_timeout", simple(task), timeoutSeconds=1, timeoutPolicy="TIME_OUT_WF"))
    time.sleep(2)
    server.call("PUT", f"/workflow/decide/{run}")
    server.until(run, ended, 90)
    server.keep("ended_workflow_timed_out", run)


@scenario
def terminate_task(server: Server) -> None:
    for status in ("FAILED", "TERMINATED"):
        stop = {"terminationStatus": status, "terminationReason": "nothing to ship"}
        run = server.start(server.define(f"terminate_{status}", system("TERMINATE", "stop", inputParameters=stop)))
        server.until(run, ended)
        server.keep(f"ended_by_terminate_task_{status.lower()}", run)


@scenario
def failure_workflow(server: Server) -> None:
    task, clean = server.define_task("charge_card"), server.define_task("clean_up")
    handler = server.define("handler", simple(clean))
    run = server.start(server.define("with_handler", simple(task), failureWorkflow=handler))
    server.report(server.poll(task), "FAILED", reasonForIncompletion="card service down")
    server.until(run, ended)
    server.poll(clean)
    server.keep("ended_failed_handler_runs", run)


@scenario
def bad_dynamic(server: Server) -> None:
    run = server.start(
        server.define("bad_dynamic", system("DYNAMIC", "choose", dynamicTaskNameParam="which", inputParameters={}))
    )
    server.until(run, ended)
    server.keep("ended_failed_without_a_task", run)


@scenario
def join_of_missing(server: Server) -> None:
    """A JOIN that waits for references that the workflow does not have, or that it never comes to."""
    forked = system("FORK_JOIN", "fork", forkTasks=[[noted("a")], [noted("b")]])
    run = server.start(server.define("join_typo", forked, system("JOIN", "join", joinOn=["a", "typo"])))
    server.until(run, open_task("join", "IN_PROGRESS"))
    time.sleep(11)
    server.keep("join_on_no_such_task", run)
    way = system(
        "SWITCH",
        "way",
        evaluatorType="value-param",
        expression="way",
        inputParameters={"way": "right"},
        decisionCases={"left": [noted("left")], "right": [noted("right")]},
    )
    forked = system("FORK_JOIN", "fork", forkTasks=[[way], [noted("b")]])
    run = server.start(server.define("join_branch", forked, system("JOIN", "join", joinOn=["left", "b"])))
    server.until(run, open_task("join", "IN_PROGRESS"))
    time.sleep(11)
    server.keep("join_on_a_branch_not_taken", run)


@scenario
def rerun_in_a_fork(server: Server) -> None:
    """A rerun within a branch takes away what the other branches had done, and never does it again."""
    task = server.define_task("step")
    branches = [[simple(task, f"first_{n}"), simple(task, f"then_{n}")] for n in (1, 2, 3)]
    join = system("JOIN", "join", joinOn=["then_1", "then_2", "then_3"])
    run = server.start(server.define("rerun_fork", system("FORK_JOIN", "fork", forkTasks=branches), join))
    for _ in range(6):
        server.report(server.poll(task), "COMPLETED")
    done = server.until(run, ended)
    (again,) = (t["taskId"] for t in done["tasks"] if t["referenceTaskName"] == "first_2")
    server.call("POST", f"/workflow/{run}/rerun", {"reRunFromTaskId": again, "reRunFromWorkflowId": run})
    for _ in range(2):
        server.report(server.poll(task), "COMPLETED")
    server.until(run, lambda w: sum(t["status"] == "COMPLETED" for t in w["tasks"] if "then" in t["referenceTaskName"]))
    time.sleep(11)
    server.keep("join_after_a_rerun_in_a_fork", run)


@scenario
def poll_timeout(server: Server) -> None:
    task = server.define_task("nobody", pollTimeoutSeconds=2)
    run = server.start(server.define("poll_timeout", simple(task)))
    time.sleep(4)
    server.call("PUT", f"/workflow/decide/{run}")
    server.until(run, ended, 90)
    server.keep("ended_poll_timeout", run)


@scenario
def total_timeout(server: Server) -> None:
    task = server.define_task("flaky", totalTimeoutSeconds=4, retryCount=9, retryDelaySeconds=2)
    run = server.start(server.define("total_timeout", simple(task)))
    deadline = time.monotonic() + 90
    while not ended(server.workflow(run)):
        if time.monotonic() > deadline:
            raise SystemExit("totalTimeoutSeconds has ended nothing")
        taken = server.glance(task)
        if taken:
            server.report(taken, "FAILED", reasonForIncompletion="still down")
        time.sleep(0.5)
    server.keep("ended_total_timeout", run)


@scenario
def servers_own_errors(server: Server) -> None:
    script = {"evaluatorType": "javascript", "expression": "$.x.y"}
    run = server.start(server.define("script", system("INLINE", "js", inputParameters=script)))
    server.until(run, ended)
    server.keep("ended_script_failed", run)
    loop = system("DO_WHILE", "loop", loopCondition="$.nope.x < 3", loopOver=[noted("v")])
    run = server.start(server.define("loop", loop))
    server.until(run, ended)
    server.keep("ended_loop_condition_failed", run)
    task = server.define_task("large")
    run = server.start(server.define("large", simple(task)))
    taken = server.poll(task)
    server.report(taken, "COMPLETED", outputData={"rows": "x" * 11_000_000})
    server.until(run, ended)
    server.keep("ended_output_too_large", run)


@scenario
def sub_workflow_terminated_in_a_fork(server: Server) -> None:
    """A permissive one: its end does not end its parent at once, but its JOIN does when the others have ended."""
    inner = server.define("inner_fork", system("HUMAN", "sign_off"))
    left = system("SUB_WORKFLOW", "left", permissive=True, subWorkflowParam={"name": inner, "version": 1})
    forked = system("FORK_JOIN", "fork", forkTasks=[[left], [noted("right")]])
    run = server.start(server.define("outer_fork", forked, system("JOIN", "join", joinOn=["left", "right"])))
    seen = server.until(run, open_task("left", "IN_PROGRESS"))
    (below,) = (t["subWorkflowId"] for t in seen["tasks"] if t.get("subWorkflowId"))
    server.call("DELETE", f"/workflow/{below}?reason=by%20hand")
    server.until(run, ended, 60)
    server.keep("ended_permissive_sub_workflow_terminated", run)


@scenario
def system_retry(server: Server) -> None:
    task = server.define_task("fetch", retryCount=1, retryDelaySeconds=60)
    request = {"uri": "http://127.0.0.1:9/none", "method": "GET"}
    fetch = {"name": task, "taskReferenceName": "fetch", "type": "HTTP", "inputParameters": {"http_request": request}}
    run = server.start(server.define("system_retry", fetch))
    server.until(run, lambda w: len(w["tasks"]) == 2)
    server.keep("retry_delay_of_a_system_task", run)


@scenario
def system_timeout(server: Server) -> None:
    """A task that no worker executes has a timeout, too."""
    task = server.define_task("sign_off", timeoutSeconds=2, responseTimeoutSeconds=1, timeoutPolicy="TIME_OUT_WF")
    human = {"name": task, "taskReferenceName": "sign_off", "type": "HUMAN"}
    run = server.start(server.define("system_timeout", human))
    time.sleep(4)
    server.call("PUT", f"/workflow/decide/{run}")
    server.until(run, ended, 90)
    server.keep("ended_system_task_timed_out", run)


@scenario
def rerun_after_a_retry(server: Server) -> None:
    """A rerun from a task whose first attempt had failed and whose second had completed."""
    task = server.define_task("work", retryCount=1, retryDelaySeconds=0)
    run = server.start(server.define("rerun", simple(task)))
    server.report(server.poll(task), "FAILED", reasonForIncompletion="boom of yesterday")
    server.report(server.poll(task), "COMPLETED")
    done = server.until(run, ended)
    (again,) = (t["taskId"] for t in done["tasks"] if t["status"] == "COMPLETED")
    server.call("POST", f"/workflow/{run}/rerun", {"reRunFromTaskId": again, "reRunFromWorkflowId": run})
    time.sleep(11)
    server.keep("queued_after_rerun", run, task)


@scenario
def no_failure_workflow(server: Server) -> None:
    task = server.define_task("charge_card")
    name = server.define("without_handler", simple(task), failureWorkflow="no_such_failure_workflow")
    run = server.start(name)
    server.report(server.poll(task), "FAILED", reasonForIncompletion="card service down")
    server.until(run, ended)
    time.sleep(1)
    server.keep("ended_failed_no_such_handler", run)


@scenario
def no_reason(server: Server) -> None:
    task = server.define_task("charge_card")
    run = server.start(server.define("no_reason", simple(task)))
    server.report(server.poll(task), "FAILED")
    server.until(run, ended)
    server.keep("ended_failed_without_a_reason", run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="the API's root, e.g. http://localhost:8080/api")
    parser.add_argument("--into", required=True, help="folder beside this script, e.g. conductor-3.32.2")
    parser.add_argument("--only", nargs="*", choices=sorted(SCENARIOS))
    options = parser.parse_args()
    folder = HERE / options.into
    folder.mkdir(exist_ok=True)
    for name in options.only or SCENARIOS:
        server = Server(options.url)
        server.recording = name
        try:
            SCENARIOS[name](server)
        except SystemExit as failure:
            sys.stderr.write(f"{name}: {failure}\n")
        server.tidy()
        for file, snapshot in server.snapshots.items():
            text = json.dumps(snapshot, separators=(",", ":"), sort_keys=True).replace(f"_{server.mark}", "_x")
            (folder / f"{file}.json").write_text(text + "\n")
            sys.stderr.write(f"{name}: {file}.json, {len(text):,} bytes\n")


if __name__ == "__main__":
    main()
