"""Whatever is lost, late or crashes, and whoever acts in between: never two running, and none lost."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_provider_conductor.client import ConductorError
from airflow_provider_conductor.submission.earlier_workflows import Action
from airflow_provider_conductor.submission.errors import WorkflowTerminatedError
from airflow_provider_conductor.submission.termination_reasons import (
    ended_as_duplicate,
    killed_reason,
    timed_out_reason,
)
from tests.submission.simulation import (
    PATIENCE,
    Airflow,
    Crashed,
    Server,
    answer_lost,
    crash_after,
    crash_before,
    done_but_unavailable,
    done_later,
    fine,
    refused,
    request_lost,
    unavailable,
)

LATEST = PATIENCE - 10
"""Seconds after which the server takes up a start that it takes up at all: within the patience."""

SLOWEST_INDEX = 2.0

FAULTS = st.sampled_from(
    [
        fine,
        fine,
        request_lost,
        answer_lost,
        refused,
        unavailable,
        done_but_unavailable,
        done_later(2),
        done_later(LATEST),
        done_later(LATEST, and_crash=True),
        crash_before,
        crash_after,
    ]
)


BY_HAND = ("TERMINATED", "by hand")

CHANGES = [
    *((status, "its own doing") for status in ("COMPLETED", "FAILED", "TIMED_OUT")),
    *(("TERMINATED", reason) for reason in (killed_reason("this try"), timed_out_reason("this try"))),
    BY_HAND,
    ("PAUSED", ""),
]

CHILDREN = st.sampled_from(["RUNNING", "COMPLETED", "FAILED"])


class AnyInterleaving(RuleBasedStateMachine):
    """A task, its tries and a server. ``attended`` is the workflow that the living try waits for, if one lives."""

    @initialize(
        stores=st.booleans(),
        retry_from=st.sampled_from(["failed_task", "start", "new"]),
        index_delay=st.floats(0, SLOWEST_INDEX),
        has_children=st.booleans(),
        widens=st.booleans(),
    )
    def begin(self, stores: bool, retry_from: str, index_delay: float, has_children: bool, widens: bool) -> None:
        types = ("SUB_WORKFLOW", "START_WORKFLOW") if has_children else ("SIMPLE",)
        self.server = Server(index_delay=index_delay, task_types=types, widens=widens)
        self.not_ours: dict[str, str] = {}
        """Workflow → its status: children of the task's workflows, and others' that a look-up finds besides."""
        self.airflow = Airflow(self.server, stores=stores, retry_from=retry_from)
        self.attended: str | None = None
        self.over = True
        """No try of this task lives; the next one has been counted already."""
        self.others_terminated = False
        self.series_starts: set[str] = set()
        self.cleared_at: set[str] = set()
        self.deployed = False

    @precondition(lambda self: self.over)
    @rule(faults=st.lists(FAULTS, max_size=8))
    def a_try(self, faults: list[Any]) -> None:
        before = set(self.server.workflows)
        self.over = False
        self.attended = None
        try:
            started = self.airflow.run(*faults)
        except WorkflowTerminatedError:
            assert self.others_terminated
        except (Crashed, ConductorError):
            pass
        else:
            self.attended = started.workflow_id
            assert started.workflow_id in self.server.workflows
            if started.action is Action.ATTACH:
                assert self.server.status(started.workflow_id) not in ("FAILED", "TIMED_OUT")
            assert started.workflow_id not in self.not_ours
            assert self.ours_that_run() <= {started.workflow_id}
        self.series_starts |= set(self.server.workflows) - before

    def ours_that_run(self) -> set[str]:
        return set(self.server.running()) - set(self.not_ours)

    @precondition(lambda self: self.attended and self.server.task_types != ("SIMPLE",))
    @rule(kind=st.sampled_from(["SUB_WORKFLOW", "START_WORKFLOW"]), status=CHILDREN, after=st.floats(0.01, 10))
    def it_starts_a_child(self, kind: str, status: str, after: float) -> None:
        self.server.pass_time(after)
        assert self.attended
        child = self.server.child(self.attended, kind, status)
        if kind == "START_WORKFLOW" and self.airflow.retry_from == "start" and not self.airflow.stores:
            # A restarted workflow is younger than what it has started. Without a record, only the input tells them
            # apart: docs/guarantees.md, "Workflows that start workflows".
            self.server.workflows[child]["input"] = {"another": True}
        self.not_ours[child] = status

    @precondition(lambda self: self.attended)
    @rule(name=st.sampled_from(["orders", "Orders", "invoices"]), label_of=st.sampled_from([str, str.upper]))
    def somebody_starts_one_that_looks_like_it(self, name: str, label_of: Any) -> None:
        if label_of is str and (name == "orders" or (name == "Orders" and self.server.widens)):
            return  # the label and the name of a start of ours; on a server that ignores case, in any case
        label = self.server.workflows[self.attended or ""]["correlationId"]
        self.not_ours[self.server.add(name=name, correlationId=label_of(label))] = "RUNNING"

    @precondition(lambda self: not self.over)
    @rule(after=st.floats(0, 100))
    def automatic_retry(self, after: float) -> None:
        # Without a record nobody can know of a start that the server has not yet taken up, or does not yet show.
        self.airflow.retry(after if self.airflow.stores else after + LATEST + SLOWEST_INDEX + 0.1)
        self.series_starts |= set(self.server.workflows) - self.cleared_at
        self.over, self.attended = True, None

    @precondition(lambda self: not self.over)
    @rule(after=st.floats(0, 100))
    def clear(self, after: float) -> None:
        self.airflow.clear(after + LATEST + SLOWEST_INDEX + 0.1)
        self.cleared_at = set(self.server.workflows)
        self.series_starts = set()
        self.over, self.attended = True, None

    @precondition(lambda self: not self.over)
    @rule(change=st.sampled_from([-1, 1, 3]))
    def deploy(self, change: int) -> None:
        if self.airflow.retries + change >= 0:
            self.airflow.retries += change
            self.deployed = True

    @precondition(lambda self: self.attended)
    @rule(what=st.sampled_from(CHANGES))
    def the_workflow_changes(self, what: tuple[str, str]) -> None:
        if self.attended in self.server.running():
            self.server.end(self.attended, *what)
            self.others_terminated |= what == BY_HAND

    @invariant()
    def never_two_beside_each_other(self) -> None:
        assert not self.attended or self.ours_that_run() <= {self.attended}

    @invariant()
    def what_is_not_ours_is_left_as_it_is(self) -> None:
        for workflow_id, status in self.not_ours.items():
            assert self.server.status(workflow_id) == status

    @invariant()
    def nothing_is_done_twice(self) -> None:
        """Within a series, what completed is the only one that did."""
        if self.deployed:
            return
        starts = self.series_starts - set(self.not_ours)
        completed = [key for key in starts if self.server.status(key) == "COMPLETED"]
        assert len(completed) <= 1
        if completed and self.attended:
            assert self.attended in completed

    @invariant()
    def a_duplicate_was_ended_for_one_that_stays(self) -> None:
        for data in self.server.workflows.values():
            if ended_as_duplicate(data["reasonForIncompletion"]):
                other = data["reasonForIncompletion"].rpartition(" ")[2]
                assert self.server.workflows[other]["correlationId"] == data["correlationId"]
                assert self.server.workflows[other]["createTime"] <= data["createTime"]

    def teardown(self) -> None:
        """One more try on a good day finds or makes the one workflow."""
        if not hasattr(self, "server"):  # it did not even begin
            return
        if not self.over:
            self.automatic_retry(LATEST)
        try:
            started = self.airflow.run()
        except WorkflowTerminatedError:
            assert self.others_terminated
            return
        assert self.ours_that_run() <= {started.workflow_id}
        assert self.server.status(started.workflow_id) in ("RUNNING", "PAUSED", "COMPLETED")


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = settings(
    max_examples=150, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
