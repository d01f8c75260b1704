"""The workflows for the tests in a browser: their definitions, and the worker that does some of their tasks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow_provider_conductor.client import ConductorClient, Task, endpoints

__all__ = ["BATCH", "BUTTONS", "FOREIGN_REASON", "FOREIGN_REF", "INNERMOST_REASON", "Shop", "names", "order_definition"]

OWNER = {"ownerEmail": "tests@example.com", "timeoutSeconds": 0}

BUTTONS = {
    "pause": "held",
    "resume": "held",
    "terminate": "held",
    "skip": "held",
    "complete": "held",
    "fail": "asked",
    "retry": "fragile",
    "restart": "fragile",
    "rerun": "fragile",
}
"""The verbs, and the workflow that each is tried on. The mapped task `press` has an instance for each, in order."""

BATCH = {"A-1": "good", "A-2": "stuck", "A-3": "bad"}
"""The items of the task `batch`, and what becomes of each one's workflow."""

SCRIPT = "<script>window.__xss = 'script'; alert(1)</script>"
IMAGE = "<img src=x onerror=\"window.__xss = 'image'\">"

FOREIGN_REF = SCRIPT + "r" * (300 - len(SCRIPT))
FOREIGN_REASON = f"{IMAGE}{SCRIPT} because" + " of that" * 40
"""Conductor keeps 500 characters of a reason."""

INNERMOST_REASON = "no paper left"

MANY = 5000
"""Tasks of the workflow `many`, which begins with them when its first task is completed."""

MAKE_TASKS = f"""(function () {{
  var tasks = [];
  for (var i = 0; i < {MANY}; i++) tasks.push({{name: 'item', taskReferenceName: 'item_' + i, type: 'NOOP'}});
  return tasks;
}})();"""


def names(prefix: str) -> dict[str, str]:
    """The name that each workflow has on the server."""
    kinds = ("stuck", "express", "outer", "middle", "inner", "many", "item", "order", *dict.fromkeys(BUTTONS.values()))
    foreign = f"{prefix} {IMAGE} "
    return {kind: f"{prefix}_{kind}" for kind in kinds} | {"foreign": foreign + "n" * (300 - len(foreign))}


def queue_of(prefix: str, name: str) -> str:
    """The name that a queue has on the server."""
    return f"{prefix}_{name}"


def order_definition(prefix: str) -> dict[str, Any]:
    """The workflow whose steps are tasks: a fork, and a switch whose case waits for a worker that is not there."""

    def work(ref: str, queue: str = "reserve", **given: Any) -> dict[str, Any]:
        return _step(ref, "SIMPLE", name=queue_of(prefix, queue), **given)

    tasks = [
        work("reserve_stock"),
        _step("both", "FORK_JOIN", forkTasks=[[work("pack_box")], [work("charge_card"), work("send_invoice")]]),
        _step("joined", "JOIN", joinOn=["pack_box", "send_invoice"]),
        _step(
            "speed",
            "SWITCH",
            evaluatorType="value-param",
            expression="chosen",
            decisionCases={"express": [work("book_courier", "pack")], "standard": [work("take_to_post")]},
            chosen="express",
        ),
        work("notify_customer"),
    ]
    return {**OWNER, "name": names(prefix)["order"], "version": 1, "schemaVersion": 2, "tasks": tasks}


class Shop:
    """Definitions with names of their own on one server.

    Args:
        client: of the server.
        prefix: what the names begin with.
    """

    def __init__(self, client: ConductorClient, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self.names = names(prefix)
        self.foreign_queue = f"{prefix} {IMAGE}"
        self._broke: set[str] = set()

    @property
    def unpolled_queue(self) -> str:
        """The queue that no worker polls."""
        return f"{self.prefix}_pack"

    def define(self) -> None:
        """Register the definitions."""
        retries = {"retryCount": 0, "retryLogic": "FIXED", "retryDelaySeconds": 0}
        tasks: dict[str, dict[str, Any]] = {
            self._queue("reserve"): {},
            self.unpolled_queue: {},
            self._queue("fragile"): {},
            self._queue("print"): {"retryCount": 1},
            # It waits for its second attempt for as long as the tests take.
            self.foreign_queue: {"retryCount": 3, "retryDelaySeconds": 86_400, "description": IMAGE},
        }
        self.client.register_task_defs([{**OWNER, **retries, "name": name, **own} for name, own in tasks.items()])
        for kind, steps in self._steps().items():
            head = {**OWNER, "name": self.names[kind], "version": 1, "schemaVersion": 2}
            self.client.register_workflow_defs({**head, "tasks": steps})
        self.client.register_workflow_defs(order_definition(self.prefix))

    def _queue(self, name: str) -> str:
        return queue_of(self.prefix, name)

    def _steps(self) -> dict[str, list[dict[str, Any]]]:
        reserve = _step("reserve", "SIMPLE", name=self._queue("reserve"), order="${workflow.input.order}")
        pack = _step("pack", "SIMPLE", name=self.unpolled_queue)
        fragile = _step("fragile", "SIMPLE", name=self._queue("fragile"))
        note = _step("note", "SET_VARIABLE", noted=True)
        express = _step("label_express", "SET_VARIABLE", label="express")
        slow = _step("label_slow", "SET_VARIABLE", label="slow")
        return {
            "stuck": [reserve, pack, _step("ship", "SIMPLE", name=self._queue("reserve"))],
            "express": [
                _step("both", "FORK_JOIN", forkTasks=[[reserve], [note]]),
                _step("joined", "JOIN", joinOn=["reserve", "note"]),
                _step(
                    "speed",
                    "SWITCH",
                    evaluatorType="value-param",
                    expression="chosen",
                    decisionCases={"express": [express], "slow": [slow]},
                    defaultCase=[_step("ask", "HUMAN")],
                    chosen="express",
                ),
                _step(
                    "parcels",
                    "DO_WHILE",
                    loopCondition="if ($.parcels['iteration'] < 3) { true; } else { false; }",
                    loopOver=[_step("scan", "SET_VARIABLE", scanned=True)],
                ),
            ],
            "outer": [_step("ship", "SUB_WORKFLOW", subWorkflowParam={"name": self.names["middle"], "version": 1})],
            "middle": [_step("label", "SUB_WORKFLOW", subWorkflowParam={"name": self.names["inner"], "version": 1})],
            "inner": [_step("print", "SIMPLE", name=self._queue("print"))],
            "foreign": [_step(FOREIGN_REF, "SIMPLE", name=self.foreign_queue, note="${workflow.input.note}")],
            "many": [
                _step("begin", "WAIT"),
                _step("listed", "INLINE", evaluatorType="graaljs", expression=MAKE_TASKS),
                _step(
                    "fan",
                    "FORK_JOIN_DYNAMIC",
                    dynamicForkTasksParam="tasks",
                    dynamicForkTasksInputParamName="inputs",
                    tasks="${listed.output.result}",
                    inputs={},
                ),
                _step("joined", "JOIN", joinOn=[]),
            ],
            "item": [
                _step(
                    "fate",
                    "SWITCH",
                    evaluatorType="value-param",
                    expression="chosen",
                    decisionCases={
                        "stuck": [pack],
                        "bad": [
                            _step("end", "TERMINATE", terminationStatus="FAILED", terminationReason=INNERMOST_REASON)
                        ],
                    },
                    defaultCase=[note],
                    chosen="${workflow.input.fate}",
                ),
            ],
            "held": [_step("hold", "WAIT"), pack],
            "asked": [_step("ask", "HUMAN", question="Shall it be shipped?"), pack],
            "fragile": [note, fragile],
        }

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Poll all queues but one, in a thread."""
        done = threading.Event()
        thread = threading.Thread(target=self._work, args=(done,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _work(self, done: threading.Event) -> None:
        queues = [self._queue("reserve"), self._queue("fragile"), self._queue("print"), self.foreign_queue]
        while not done.wait(0.2):
            for queue in queues:
                for task in self.client.send(endpoints.poll_tasks(queue, 10, worker_id=f"worker of {queue}")):
                    self._do(queue, task)

    def _do(self, queue: str, task: Task) -> None:
        """Reserve whatever comes, print nothing, and do what is fragile at the second attempt."""
        workflow_id: str = task.data["workflowInstanceId"]
        first = workflow_id not in self._broke
        self._broke.add(workflow_id)
        result: dict[str, Any] = {"output": {"reserved": True}, "logs": ["looked into the shelf", "took it"]}
        status = "COMPLETED"
        if queue == self.foreign_queue:
            status, result = "FAILED", {"reason": FOREIGN_REASON, "output": {IMAGE: SCRIPT}, "logs": [SCRIPT, IMAGE]}
        elif queue == self._queue("print"):
            status, result = "FAILED", {"reason": INNERMOST_REASON}
        elif queue == self._queue("fragile") and first:
            status, result = "FAILED", {"reason": "it broke"}
        self.client.update_task(workflow_id, task.task_id, status, worker_id=f"worker of {queue}", **result)


FIELDS = (
    "decisionCases",
    "defaultCase",
    "dynamicForkTasksInputParamName",
    "dynamicForkTasksParam",
    "forkTasks",
    "joinOn",
    "loopCondition",
    "loopOver",
    "subWorkflowParam",
)
"""What is part of a task's definition itself, and not of its input."""


def _step(ref: str, kind: str, name: str | None = None, **given: Any) -> dict[str, Any]:
    """A task of a workflow definition."""
    step = {key: value for key, value in given.items() if key in FIELDS}
    inputs = {key: value for key, value in given.items() if key not in FIELDS}
    if kind == "SWITCH":
        step |= {key: inputs.pop(key) for key in ("evaluatorType", "expression")}
    return {"name": name or ref, "taskReferenceName": ref, "type": kind, "inputParameters": inputs, **step}
