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

NOWHERE = "http://127.0.0.1:9/none"


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
        base = {"timeoutSeconds": 0, "timeoutPolicy": "ALERT_ONLY", "ownerEmail": "a@b.c", "schemaVersion": 2}
        self.call("PUT", "/metadata/workflow", [base | {"name": name, "version": 1, "tasks": list(tasks)} | extra])
        return name

    def define_task(self, name: str, **policy: Any) -> str:
        name = f"{name}_{self.mark}"
        base = {"ownerEmail": "a@b.c", "timeoutSeconds": 0, "responseTimeoutSeconds": 3600, "retryCount": 0}
        self.call("POST", "/metadata/taskdefs", [base | {"name": name} | policy])
        return name

    def start(self, name: str, **extra: Any) -> str:
        request = {"name": name, "version": 1, "input": {}} | extra
        self.started.append(str(self.call("POST", "/workflow", request)).strip('"'))
        return self.started[-1]

    def run(self, name: str, *tasks: Json, **extra: Any) -> str:
        return self.start(self.define(name, *tasks, **extra))

    def only(self, name: str, task: str, **policy: Any) -> tuple[str, str]:
        """A workflow of one task for a worker: the task's queue, and the workflow's id."""
        queue = self.define_task(task, **policy)
        return queue, self.run(name, simple(queue))

    def tidy(self) -> None:
        """End what still runs."""
        for workflow_id in self.started:
            if not ended(self.workflow(workflow_id)):
                self.call("DELETE", f"/workflow/{workflow_id}?reason=recorded")

    def glance(self, queue: str, worker: str = "worker-3", domain: str = "", *, note: bool = True) -> Any:
        """One poll, whatever it brings."""
        query = {"workerid": worker} | ({"domain": domain} if domain else {})
        return self.call("GET", f"/tasks/poll/{queue}?{urllib.parse.urlencode(query)}", note=note)

    def poll(self, queue: str) -> Json | None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if task := self.glance(queue, note=False):
                self.steps.append(f"GET /tasks/poll/{queue}?workerid=worker-3")
                return dict(task)
            time.sleep(0.2)
        return None

    def report(self, task: Json | None, status: str, **extra: Any) -> None:
        if task is None:
            raise SystemExit("nothing was queued")
        ids = {"workflowInstanceId": task["workflowInstanceId"], "taskId": task["taskId"]}
        self.call("POST", "/tasks", ids | {"status": status, "workerId": task.get("workerId") or "worker-3"} | extra)

    def fail(self, queue: str, why: str) -> None:
        self.report(self.poll(queue), "FAILED", reasonForIncompletion=why)

    def complete(self, queue: str) -> None:
        self.report(self.poll(queue), "COMPLETED")

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
            read = {queue: self.call("GET", f"/tasks/queue/polldata?taskType={queue}", note=False) for queue in queues}
            snapshot["poll_data"] = read
        if logs_of:
            snapshot["logs"] = self.call("GET", f"/tasks/{logs_of}/log", note=False)
        self.snapshots[name] = snapshot

    def later(self, seconds: float, name: str, workflow_id: str, *queues: str, logs_of: str = "") -> None:
        time.sleep(seconds)
        self.keep(name, workflow_id, *queues, logs_of=logs_of)

    def ended(self, name: str, workflow_id: str, *queues: str) -> None:
        self.until(workflow_id, ended)
        self.keep(name, workflow_id, *queues)

    def opened(self, workflow_id: str, ref: str, status: str = "IN_PROGRESS") -> Json:
        """The workflow once this task has this status."""
        return self.until(workflow_id, lambda workflow: has(workflow, ref, status))

    def terminated_and_retried(self, workflow_id: str, ref: str) -> None:
        """As a user does it, once this task is open."""
        self.opened(workflow_id, ref)
        self.call("DELETE", f"/workflow/{workflow_id}?reason=oops")
        self.until(workflow_id, ended)
        self.call("POST", f"/workflow/{workflow_id}/retry?resumeSubworkflowTasks=false")

    def decided(self, name: str, workflow_id: str) -> None:
        """As it has ended once the server was told to evaluate it."""
        self.call("PUT", f"/workflow/decide/{workflow_id}")
        self.ended(name, workflow_id)


def simple(name: str, ref: str = "", **extra: Any) -> Json:
    return {"name": name, "taskReferenceName": ref or name.rsplit("_", 1)[0], "type": "SIMPLE"} | extra


def system(kind: str, ref: str, **extra: Any) -> Json:
    return {"name": ref, "taskReferenceName": ref, "type": kind} | extra


def fetch(uri: str, **extra: Any) -> Json:
    request = {"uri": uri, "method": "GET"}
    return system("HTTP", "fetch", inputParameters={"http_request": request}, **extra)


def noted(ref: str) -> Json:
    """A task that completes at once."""
    return system("SET_VARIABLE", ref, inputParameters={"seen": True})


def nap(duration: str) -> Json:
    return system("WAIT", "cool_down", inputParameters={"duration": duration})


def runs(ref: str, workflow: str, **extra: Any) -> Json:
    return system("SUB_WORKFLOW", ref, subWorkflowParam={"name": workflow, "version": 1}, **extra)


def has(workflow: Json, ref: str, status: str) -> bool:
    return any(task["referenceTaskName"] == ref and task["status"] == status for task in workflow["tasks"])


def ended(workflow: Json) -> bool:
    return workflow["status"] not in ("RUNNING", "PAUSED")


class Scenarios(Server):
    """Each public method is a scenario."""

    def working(self) -> None:
        task, run = self.only("working", "charge_card", retryCount=3)
        self.keep("queued_fresh", run)
        self.poll(task)
        self.keep("working", run, task)

    def retry_delay(self) -> None:
        task, run = self.only("retry_delay", "charge_card", retryCount=3, retryDelaySeconds=60, retryLogic="FIXED")
        self.fail(task, "card service down")
        self.opened(run, "charge_card", "SCHEDULED")
        self.keep("retry_delay", run, task)

    def retry_due(self) -> None:
        task, run = self.only("retry_due", "charge_card", retryCount=3, retryDelaySeconds=1, retryLogic="FIXED")
        self.fail(task, "card service down")
        self.later(15, "retry_due", run, task)

    def backoff(self) -> None:
        for logic, more in (
            ("EXPONENTIAL_BACKOFF", {"maxRetryDelaySeconds": 0, "backoffJitterMs": 0}),
            ("LINEAR_BACKOFF", {"backoffScaleFactor": 2, "backoffJitterMs": 5000}),
        ):
            task = self.define_task(
                f"ship_{logic[:3].lower()}", retryCount=5, retryDelaySeconds=2, retryLogic=logic, **more
            )
            run = self.run("backoff", simple(task, "ship"))
            self.fail(task, "no truck")
            self.fail(task, "no driver")
            self.until(run, lambda w: w["tasks"][-1].get("retryCount") == 2)
            self.keep(f"retry_delay_{logic.lower()}", run, task)
        task = self.define_task(
            "ship_cap", retryCount=5, retryDelaySeconds=600, maxRetryDelaySeconds=20, retryLogic="FIXED"
        )
        run = self.run("backoff_capped", simple(task, "ship"))
        self.fail(task, "no truck")
        self.opened(run, "ship", "SCHEDULED")
        self.keep("retry_delay_capped", run, task)

    def queued(self) -> None:
        task, run = self.only("queued", "nobody")
        self.later(15, "queued_never_polled", run, task)

    def no_definition(self) -> None:
        task = f"undefined_{self.mark}"
        run = self.run("no_definition", simple(task))
        self.later(11, "queued_without_definition", run, task)

    def domain(self) -> None:
        task = self.define_task("domained")
        self.glance(task, "worker-plain")
        self.glance(task, "worker-green", "green")
        run = self.start(self.define("domain", simple(task)), taskToDomain={task: "blue"})
        time.sleep(11)
        self.glance(task, "worker-plain")
        self.glance(task, "worker-green", "green")
        self.keep("queued_in_a_domain", run, task)

    def rate_limited(self) -> None:
        task = self.define_task("limited", rateLimitPerFrequency=1, rateLimitFrequencyInSeconds=600)
        name = self.define("rate_limited", simple(task))
        self.start(name)
        self.poll(task)
        run = self.start(name)
        for _ in range(12):
            time.sleep(1)
            self.glance(task)
        # 3.32 on SQLite hands it out all the same: it has no rate limits there.
        if has(self.workflow(run), "limited", "SCHEDULED"):
            self.keep("rate_limited", run, task)

    def concurrency_limited(self) -> None:
        task = self.define_task("one_at_a_time", concurrentExecLimit=1)
        name = self.define("concurrency_limited", simple(task))
        self.start(name)
        self.poll(task)
        run = self.start(name)
        for _ in range(12):
            time.sleep(1)
            self.glance(task)
        self.keep("concurrency_limited", run, task)

    def postponed(self) -> None:
        task, run = self.only("postponed", "long_job")
        self.report(self.poll(task), "IN_PROGRESS", callbackAfterSeconds=120)
        self.keep("postponed", run, task)

    def start_delay(self) -> None:
        task = self.define_task("later")
        run = self.run("start_delay", simple(task, startDelay=90))
        self.keep("start_delay", run, task)

    def timed_wait(self) -> None:
        run = self.run("timed_wait", nap("5 minutes"))
        self.opened(run, "cool_down")
        self.keep("timed_wait", run)
        until = time.strftime("%Y-%m-%d %H:%M", time.gmtime(time.time() + 3600)) + " GMT"
        run = self.run("wait_until", system("WAIT", "cool_down", inputParameters={"until": until}))
        self.opened(run, "cool_down")
        self.keep("timed_wait_until", run)

    def signal(self) -> None:
        run = self.run("signal", system("WAIT", "approval"))
        self.opened(run, "approval")
        self.keep("waiting_for_signal", run)

    def signal_after_retry(self) -> None:
        run = self.run("signal_retried", system("WAIT", "approval"))
        self.terminated_and_retried(run, "approval")
        self.later(8, "waiting_for_signal_after_retry", run)

    def timed_wait_after_retry(self) -> None:
        run = self.run("wait_retried", nap("5 minutes"))
        self.terminated_and_retried(run, "cool_down")
        self.later(8, "timed_wait_after_retry", run)

    def human(self) -> None:
        run = self.run("human", system("HUMAN", "sign_off"))
        self.opened(run, "sign_off")
        self.keep("waiting_for_person", run)

    def paused(self) -> None:
        task, run = self.only("paused", "charge_card", retryCount=3)
        time.sleep(2)
        self.call("PUT", f"/workflow/{run}/pause")
        self.later(2, "paused", run, task)
        time.sleep(2)
        self.call("PUT", f"/workflow/{run}/resume")
        self.later(12, "queued_after_resume", run, task)

    def fork(self) -> None:
        live, dead = self.define_task("live"), self.define_task("dead", retryCount=2, retryDelaySeconds=300)
        forked = system(
            "FORK_JOIN",
            "fork",
            forkTasks=[[simple(live)], [simple(dead)], [nap("1 hour")], [system("HUMAN", "sign_off")]],
        )
        join = system("JOIN", "join", joinOn=["live", "dead", "cool_down", "sign_off"])
        run = self.run("fork", forked, join)
        taken = self.poll(live)
        self.fail(dead, "out of stock")
        self.until(run, lambda w: any(t.get("retryCount") for t in w["tasks"]))
        self.keep("fork_mixed", run, live, dead)
        self.report(taken, "COMPLETED")
        self.opened(run, "live", "COMPLETED")
        self.keep("fork_at_rest", run, live, dead)
        self.later(10, "fork_at_rest_later", run, live, dead)

    def dynamic_fork(self) -> None:
        task = self.define_task("piece")
        pieces = [simple(task, f"piece_{n}") for n in range(3)]
        forked = system(
            "FORK_JOIN_DYNAMIC",
            "fan_out",
            dynamicForkTasksParam="pieces",
            dynamicForkTasksInputParamName="inputs",
            inputParameters={"pieces": pieces, "inputs": {}},
        )
        run = self.run("dynamic_fork", forked, system("JOIN", "fan_in"))
        self.poll(task)
        self.keep("dynamic_fork", run, task)

    def dynamic_task(self) -> None:
        task = self.define_task("chosen")
        chooser = system("DYNAMIC", "choose", dynamicTaskNameParam="which", inputParameters={"which": task})
        run = self.run("dynamic_task", chooser)
        self.later(11, "queued_dynamic_task", run, task)

    def do_while(self) -> None:
        task = self.define_task("step")
        loop = system(
            "DO_WHILE",
            "loop",
            loopCondition="if ($.loop['iteration'] < 3) { true; } else { false; }",
            inputParameters={},
            loopOver=[simple(task)],
        )
        run = self.run("do_while", loop)
        self.complete(task)
        self.until(run, lambda w: any(t["referenceTaskName"] == "step__2" for t in w["tasks"]))
        self.keep("do_while", run, task)

    def switch(self) -> None:
        task = self.define_task("left")
        choice = system(
            "SWITCH",
            "choice",
            evaluatorType="value-param",
            expression="way",
            inputParameters={"way": "left"},
            decisionCases={"left": [simple(task)]},
        )
        run = self.run("switch", choice)
        self.poll(task)
        self.keep("switch", run, task)

    def optional(self) -> None:
        nice, must = self.define_task("nice_to_have"), self.define_task("must")
        run = self.run("optional", simple(nice, optional=True), simple(must))
        self.fail(nice, "no candles")
        self.poll(must)
        self.keep("optional_failed", run, must)

    def permissive(self) -> None:
        soft, other = self.define_task("soft"), self.define_task("other")
        forked = system("FORK_JOIN", "fork", forkTasks=[[simple(soft, permissive=True)], [simple(other)]])
        run = self.run("permissive", forked, system("JOIN", "join", joinOn=["soft", "other"]))
        self.fail(soft, "no candles")
        taken = self.poll(other)
        self.keep("permissive_failed", run, other)
        self.report(taken, "COMPLETED")
        self.ended("ended_permissive", run)

    def http(self) -> None:
        run = self.run("http_async", fetch(self.url + "/metadata/taskdefs", asyncComplete=True))
        self.opened(run, "fetch")
        self.keep("waiting_for_async_complete", run)

    def http_failed(self) -> None:
        run = self.run("http_failed", fetch(NOWHERE))
        self.ended("ended_http_failed", run)

    def sub_workflow(self) -> None:
        task = self.define_task("pack", retryCount=2, retryDelaySeconds=120)
        inner = self.define("inner", simple(task))
        middle = self.define("middle", runs("to_inner", inner))
        outer = self.define("outer", runs("to_middle", middle))
        run = self.start(outer)
        self.fail(task, "box too small")
        self.later(1, "sub_workflow_retry_delay", run, task)

    def sub_workflow_failed(self) -> None:
        task = self.define_task("pack")
        inner = self.define("inner_failing", simple(task))
        middle = self.define("middle_failing", runs("to_inner", inner))
        outer = self.define("outer_failing", runs("to_middle", middle))
        run = self.start(outer)
        taken = self.poll(task)
        self.report(
            taken,
            "FAILED",
            reasonForIncompletion="box too small",
            logs=[{"log": "measuring"}, {"log": "box is 3 cm too small"}],
        )
        self.until(run, ended)
        self.later(1, "ended_failed_two_levels_down", run, logs_of=(taken or {})["taskId"])

    def sub_workflow_paused(self) -> None:
        task = self.define_task("pack")
        inner = self.define("inner_paused", simple(task))
        run = self.run("outer_paused", runs("to_inner", inner))
        seen = self.opened(run, "to_inner")
        self.call("PUT", f"/workflow/{seen['tasks'][0]['subWorkflowId']}/pause")
        self.keep("sub_workflow_paused", run, task)

    def failures(self) -> None:
        task = self.define_task("charge_card", retryCount=1, retryDelaySeconds=0)
        name = self.define("failing", simple(task))
        run = self.start(name)
        self.fail(task, "card service down")
        self.fail(task, "card service still down")
        self.ended("ended_failed", run)
        run = self.start(name)
        self.report(self.poll(task), "FAILED_WITH_TERMINAL_ERROR", reasonForIncompletion="card is stolen")
        self.ended("ended_failed_with_terminal_error", run)
        run = self.start(name)
        self.call("DELETE", f"/workflow/{run}?reason=wrong%20customer")
        self.ended("ended_terminated", run)
        run = self.start(name)
        self.complete(task)
        self.ended("ended_completed", run)

    def retried_by_hand(self) -> None:
        task, run = self.only("by_hand", "charge_card", retryCount=1, retryDelaySeconds=0)
        self.fail(task, "one")
        self.fail(task, "two")
        self.until(run, ended)
        self.call("POST", f"/workflow/{run}/retry")
        self.poll(task)
        self.keep("working_after_manual_retry", run)

    def response_timeout(self) -> None:
        task, run = self.only("response_timeout", "silent", responseTimeoutSeconds=1, retryCount=0)
        self.poll(task)
        time.sleep(3)
        self.decided("ended_timed_out", run)

    def workflow_timeout(self) -> None:
        task = self.define_task("slow")
        run = self.run("workflow_timeout", simple(task), timeoutSeconds=1, timeoutPolicy="TIME_OUT_WF")
        time.sleep(2)
        self.decided("ended_workflow_timed_out", run)

    def terminate_task(self) -> None:
        for status in ("FAILED", "TERMINATED"):
            stop = {"terminationStatus": status, "terminationReason": "nothing to ship"}
            run = self.run(f"terminate_{status}", system("TERMINATE", "stop", inputParameters=stop))
            self.ended(f"ended_by_terminate_task_{status.lower()}", run)

    def failure_workflow(self) -> None:
        task, clean = self.define_task("charge_card"), self.define_task("clean_up")
        handler = self.define("handler", simple(clean))
        run = self.run("with_handler", simple(task), failureWorkflow=handler)
        self.fail(task, "card service down")
        self.until(run, ended)
        self.poll(clean)
        self.keep("ended_failed_handler_runs", run)

    def bad_dynamic(self) -> None:
        run = self.run("bad_dynamic", system("DYNAMIC", "choose", dynamicTaskNameParam="which", inputParameters={}))
        self.ended("ended_failed_without_a_task", run)

    def join_of_missing(self) -> None:
        """A JOIN that waits for references that the workflow does not have, or that it never comes to."""
        forked = system("FORK_JOIN", "fork", forkTasks=[[noted("a")], [noted("b")]])
        run = self.run("join_typo", forked, system("JOIN", "join", joinOn=["a", "typo"]))
        self.opened(run, "join")
        self.later(11, "join_on_no_such_task", run)
        way = system(
            "SWITCH",
            "way",
            evaluatorType="value-param",
            expression="way",
            inputParameters={"way": "right"},
            decisionCases={"left": [noted("left")], "right": [noted("right")]},
        )
        forked = system("FORK_JOIN", "fork", forkTasks=[[way], [noted("b")]])
        run = self.run("join_branch", forked, system("JOIN", "join", joinOn=["left", "b"]))
        self.opened(run, "join")
        self.later(11, "join_on_a_branch_not_taken", run)

    def rerun_in_a_fork(self) -> None:
        """A rerun within a branch takes away what the other branches had done, and never does it again."""
        task = self.define_task("step")
        branches = [[simple(task, f"first_{n}"), simple(task, f"then_{n}")] for n in (1, 2, 3)]
        join = system("JOIN", "join", joinOn=["then_1", "then_2", "then_3"])
        run = self.run("rerun_fork", system("FORK_JOIN", "fork", forkTasks=branches), join)
        for _ in range(6):
            self.complete(task)
        done = self.until(run, ended)
        (again,) = (t["taskId"] for t in done["tasks"] if t["referenceTaskName"] == "first_2")
        self.call("POST", f"/workflow/{run}/rerun", {"reRunFromTaskId": again, "reRunFromWorkflowId": run})
        for _ in range(2):
            self.complete(task)
        self.until(
            run, lambda w: sum(t["status"] == "COMPLETED" for t in w["tasks"] if "then" in t["referenceTaskName"])
        )
        self.later(11, "join_after_a_rerun_in_a_fork", run)

    def poll_timeout(self) -> None:
        _, run = self.only("poll_timeout", "nobody", pollTimeoutSeconds=2)
        time.sleep(4)
        self.decided("ended_poll_timeout", run)

    def total_timeout(self) -> None:
        task, run = self.only("total_timeout", "flaky", totalTimeoutSeconds=4, retryCount=9, retryDelaySeconds=2)
        deadline = time.monotonic() + 90
        while not ended(self.workflow(run)):
            if time.monotonic() > deadline:
                raise SystemExit("totalTimeoutSeconds has ended nothing")
            taken = self.glance(task)
            if taken:
                self.report(taken, "FAILED", reasonForIncompletion="still down")
            time.sleep(0.5)
        self.keep("ended_total_timeout", run)

    def servers_own_errors(self) -> None:
        script = {"evaluatorType": "javascript", "expression": "$.x.y"}
        run = self.run("script", system("INLINE", "js", inputParameters=script))
        self.ended("ended_script_failed", run)
        loop = system("DO_WHILE", "loop", loopCondition="$.nope.x < 3", loopOver=[noted("v")])
        run = self.run("loop", loop)
        self.ended("ended_loop_condition_failed", run)
        task, run = self.only("large", "large")
        taken = self.poll(task)
        self.report(taken, "COMPLETED", outputData={"rows": "x" * 11_000_000})
        self.ended("ended_output_too_large", run)

    def sub_workflow_terminated_in_a_fork(self) -> None:
        """A permissive one: its end does not end its parent at once, but its JOIN does when the others have ended."""
        inner = self.define("inner_fork", system("HUMAN", "sign_off"))
        left = system("SUB_WORKFLOW", "left", permissive=True, subWorkflowParam={"name": inner, "version": 1})
        forked = system("FORK_JOIN", "fork", forkTasks=[[left], [noted("right")]])
        run = self.run("outer_fork", forked, system("JOIN", "join", joinOn=["left", "right"]))
        seen = self.opened(run, "left")
        (below,) = (t["subWorkflowId"] for t in seen["tasks"] if t.get("subWorkflowId"))
        self.call("DELETE", f"/workflow/{below}?reason=by%20hand")
        self.until(run, ended, 60)
        self.keep("ended_permissive_sub_workflow_terminated", run)

    def system_retry(self) -> None:
        task = self.define_task("fetch", retryCount=1, retryDelaySeconds=60)
        run = self.run("system_retry", fetch(NOWHERE) | {"name": task})
        self.until(run, lambda w: len(w["tasks"]) == 2)
        self.keep("retry_delay_of_a_system_task", run)

    def system_timeout(self) -> None:
        """A task that no worker executes has a timeout, too."""
        task = self.define_task("sign_off", timeoutSeconds=2, responseTimeoutSeconds=1, timeoutPolicy="TIME_OUT_WF")
        human = {"name": task, "taskReferenceName": "sign_off", "type": "HUMAN"}
        run = self.run("system_timeout", human)
        time.sleep(4)
        self.decided("ended_system_task_timed_out", run)

    def rerun_after_a_retry(self) -> None:
        """A rerun from a task whose first attempt had failed and whose second had completed."""
        task, run = self.only("rerun", "work", retryCount=1, retryDelaySeconds=0)
        self.fail(task, "boom of yesterday")
        self.complete(task)
        done = self.until(run, ended)
        (again,) = (t["taskId"] for t in done["tasks"] if t["status"] == "COMPLETED")
        self.call("POST", f"/workflow/{run}/rerun", {"reRunFromTaskId": again, "reRunFromWorkflowId": run})
        self.later(11, "queued_after_rerun", run, task)

    def no_failure_workflow(self) -> None:
        task = self.define_task("charge_card")
        name = self.define("without_handler", simple(task), failureWorkflow="no_such_failure_workflow")
        run = self.start(name)
        self.fail(task, "card service down")
        self.until(run, ended)
        self.later(1, "ended_failed_no_such_handler", run)

    def no_reason(self) -> None:
        task, run = self.only("no_reason", "charge_card")
        self.report(self.poll(task), "FAILED")
        self.ended("ended_failed_without_a_reason", run)


SCENARIOS: dict[str, Callable[[Scenarios], None]] = {
    name: play for name, play in vars(Scenarios).items() if not name.startswith("_")
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="the API's root, e.g. http://localhost:8080/api")
    parser.add_argument("--into", required=True, help="folder beside this script, e.g. conductor-3.32.2")
    parser.add_argument("--only", nargs="*", choices=sorted(SCENARIOS))
    options = parser.parse_args()
    folder = HERE / options.into
    folder.mkdir(exist_ok=True)
    for name in options.only or SCENARIOS:
        server = Scenarios(options.url)
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
