"""A start in an operator: records in Airflow's store, Airflow's errors, and a kill during the start."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_conductor import _airflow as version_compat
from airflow_provider_conductor.exceptions import ConductorStartRefusedError
from airflow_provider_conductor.operators import ConductorStartWorkflowOperator, submission as starting
from airflow_provider_conductor.submission.termination_reasons import ended_by_our_kill
from airflow_provider_conductor.testing import ConductorStandIn
from tests.operators.airflow_standin import TaskInstanceStandIn, context_of


class Store:
    """Airflow 3.3's task state store, with what was set in order."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.history: list[Any] = []
        self.broken = False

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        if self.broken:
            raise RuntimeError("the API server is away")
        assert retention == "forever"
        self.values[key] = value
        self.history.append(dict(value))

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(version_compat, "NEVER_EXPIRE", "forever")
    return Store()


def operator(**arguments: Any) -> ConductorStartWorkflowOperator:
    return ConductorStartWorkflowOperator(task_id="start", workflow_name="orders", retries=2, **arguments)


def start(task: ConductorStartWorkflowOperator, store: Store | None = None, **ti: Any) -> str:
    context = context_of(task, **ti)
    if store is not None:
        context["task_state_store"] = store
    task._begin(context)  # type: ignore[arg-type]
    return task._start()


def test_the_start_is_saved_before_it_is_sent_and_with_its_id_after(conductor: ConductorStandIn, store: Store) -> None:
    workflow_id = start(operator(), store)
    assert [record["workflow_id"] for record in store.history] == [None, workflow_id]
    assert store.history[0]["sent_at"] is not None
    assert store.history[0]["max_tries"] == 2
    assert len(conductor.requests) == 1


def test_the_next_try_uses_the_record(conductor: ConductorStandIn, store: Store) -> None:
    workflow_id = start(operator(), store)
    conductor.workflows[workflow_id]["correlationId"] = "an index that shows nothing"
    assert start(operator(), store, try_number=2) == workflow_id


def test_the_record_is_deleted_when_the_task_has_succeeded(conductor: ConductorStandIn, store: Store) -> None:
    task = operator()
    task.execute(context_of(task) | {"task_state_store": store})
    assert store.values == {}


def test_a_start_does_not_need_a_readable_record(conductor: ConductorStandIn, store: Store) -> None:
    store.values[starting.RECORD_KEY] = {"unheard": "of"}
    assert start(operator(), store) == conductor.only_workflow


def test_without_a_store_the_server_is_asked_once_whether_it_finds_the_start(conductor: ConductorStandIn) -> None:
    workflow_id = start(operator())
    assert [request.method for request in conductor.requests] == ["POST", "POST"]
    assert start(operator(), try_number=2) == workflow_id


def test_the_connections_prefix_is_in_the_identity(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", conductor.connection_uri(identity_prefix="prod"))
    start(operator())
    assert conductor.started[0]["correlationId"].startswith("prod:nightly_orders:")


def test_mapped_tasks_start_one_each(conductor: ConductorStandIn) -> None:
    ids = {start(operator(), map_index=index) for index in range(3)}
    assert ids == {start(operator(), map_index=index, try_number=2) for index in range(3)}
    assert len(conductor.workflows) == 3


def test_a_refused_look_up_is_not_a_refused_start(conductor: ConductorStandIn) -> None:
    start(operator())
    conductor.instead = lambda request: (
        (400, "application/json", b'{"message": "too long", "retryable": false}')
        if request.path.endswith("/correlated")
        else None
    )
    with pytest.raises(Exception, match="too long") as caught:
        start(operator(), try_number=2)
    assert not isinstance(caught.value, (ConductorStartRefusedError, AirflowFailException))


def killed_during(conductor: ConductorStandIn, task: ConductorStartWorkflowOperator, *, before: bool) -> None:
    """Airflow's SIGTERM arrives while the start's request is on the way."""
    killed: list[bool] = []

    def instead(request: Any) -> tuple[int, str, bytes] | None:
        if (request.method, request.path) != ("POST", "/workflow") or killed:
            return None
        killed.append(True)
        answer = None if before else conductor._route(request)
        task.on_kill()
        return answer

    conductor.instead = instead


@pytest.mark.parametrize("before", [True, False], ids=["before the server has it", "after"])
@pytest.mark.parametrize("label", [None, "order-7"])
def test_a_task_killed_while_it_starts_leaves_nothing_running(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, before: bool, label: str | None
) -> None:
    monkeypatch.setattr("airflow_provider_conductor.submission.start_once.LOOKUP_PAUSES", (0.0, 0.01, 0.01))
    task = operator(correlation_id=label)
    killed_during(conductor, task, before=before)
    with pytest.raises(AirflowException, match="was killed while"):
        start(task)
    assert conductor.status(conductor.only_workflow) == "TERMINATED"
    assert ended_by_our_kill(conductor.reason(conductor.only_workflow))


def test_unless_workflows_outlive_their_tasks(conductor: ConductorStandIn) -> None:
    task = operator(cancel_on_kill=False)
    killed_during(conductor, task, before=False)
    context = context_of(task)
    with pytest.raises(AirflowException, match="was killed while"):
        task.execute(context)
    assert conductor.status(conductor.only_workflow) == "RUNNING"
    assert context["ti"].xcoms["workflow_id"] == conductor.only_workflow


def test_a_kill_after_the_start_is_over_terminates_nothing(conductor: ConductorStandIn) -> None:
    task = operator()
    workflow_id = start(task)
    task.on_kill()
    assert conductor.status(workflow_id) == "RUNNING"


@pytest.mark.parametrize(("clear_number", "anew"), [(1, True), (0, False)])
def test_a_clear_after_retries_was_lowered_is_no_retry(
    conductor: ConductorStandIn, store: Store, clear_number: int, anew: bool
) -> None:
    """Try 1 of 3 failed, ``retries`` became 1, and the task was cleared: try 2, with the same ``max_tries``."""

    def tried(task: ConductorStartWorkflowOperator, clear_number: int, try_number: int) -> str:
        context = context_of(task, try_number=try_number) | {"task_state_store": store}
        context["ti"].__class__ = HadTwoRetries
        context["dag_run"].clear_number = clear_number
        task._begin(context)  # type: ignore[arg-type]
        return task._start()

    first = tried(operator(), 0, 1)
    lowered = ConductorStartWorkflowOperator(task_id="start", workflow_name="orders", retries=1)
    second = tried(lowered, clear_number, 2)
    assert (second != first) is anew
    assert conductor.status(first) == ("TERMINATED" if anew else "RUNNING")


class HadTwoRetries(TaskInstanceStandIn):
    max_tries = 2  # type: ignore[assignment]
