"""What a batch puts down in Airflow 3.3's task state store: a retry starts from it, another series does not."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_conductor import _airflow as version_compat
from airflow_provider_conductor.exceptions import ConductorBatchFailedError, ConductorBatchFailedPermanentlyError
from airflow_provider_conductor.operators.batch import CHECKPOINT_KEY
from airflow_provider_conductor.testing import Script
from tests.operators.airflow_standin import TaskInstanceStandIn, context_of, deferred, result, run
from tests.operators.batch_standin import INPUTS, Orders, batch
from tests.submission.test_operator import Store


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(version_compat, "NEVER_EXPIRE", "forever")
    return Store()


def keeping(task: Any, store: Store, **ti: Any) -> dict[str, Any]:
    return context_of(task, **ti) | {"task_state_store": store}


def fail_once(orders: Orders, store: Store, **arguments: Any) -> Any:
    """A first try in which order 1 failed and the others completed; then the server archives order 2's workflow."""
    orders.fail = {1: "no stock"}
    task = batch(retries=2, **arguments)
    with pytest.raises(ConductorBatchFailedError):
        run(task, keeping(task, store))
    orders.fail = {}
    (archived,) = [w for w in orders.conductor.workflows.values() if w["input"] == {"order": 2}]
    del orders.conductor.workflows[archived["workflowId"]]
    return task


def test_a_retry_starts_no_item_that_has_completed_whatever_the_server_knows(orders: Orders, store: Store) -> None:
    task = fail_once(orders, store)
    with pytest.raises(ConductorBatchFailedPermanentlyError, match="the outputs of 1 that completed cannot be read"):
        run(task, keeping(task, store, try_number=2))
    assert len(orders.sent) == 12


def test_where_the_outputs_do_not_matter_one_that_is_gone_fails_nothing(orders: Orders, store: Store) -> None:
    task = fail_once(orders, store, do_xcom_push=False)
    run(task, keeping(task, store, try_number=2))
    assert len(orders.sent) == 12


def test_without_the_store_the_server_is_all_there_is(orders: Orders, store: Store) -> None:
    assert result(fail_once(orders, store), try_number=2)[2] == {"shipped": 2}
    assert orders.sent.count(2) == 2


def test_what_has_failed_is_looked_up_and_run_on(orders: Orders, store: Store) -> None:
    """And what has completed is not even looked up before its output is read."""
    task = fail_once(orders, store, do_xcom_push=False)
    orders.conductor.requests.clear()
    run(task, keeping(task, store, try_number=2))
    first = next(request for request in orders.conductor.requests if request.path.endswith("/correlated"))
    assert {label.split(":")[-2] for label in first.body} == {"i1"}
    assert [request.path.rpartition("/")[2] for request in orders.conductor.requests].count("retry") == 1


@pytest.mark.parametrize("change", ["a clear", "another make", "other inputs"])
def test_what_is_not_of_this_series_is_ignored(
    orders: Orders, store: Store, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    task = fail_once(orders, store)
    again = batch(retries=2)
    match change:
        case "a clear":
            monkeypatch.setattr(TaskInstanceStandIn, "max_tries", property(lambda ti: ti.try_number + 1))
        case "another make":
            store.values[CHECKPOINT_KEY] = {"unheard": "of"}
        case _:
            again = batch(retries=2, workflow_inputs=[{"order": order["order"]} for order in INPUTS[:3]])
    outputs = run(again, keeping(task, store, try_number=2))
    assert outputs[2] == {"shipped": 2}
    assert orders.sent.count(2) == 2
    assert orders.sent.count(0) == (2 if change == "a clear" else 1)


def test_it_is_put_down_when_the_task_is_deferred(orders: Orders, store: Store) -> None:
    orders.never = {3}
    task = batch(deferrable=True, wait_for_seconds=0, retries=2)
    deferred(task, keeping(task, store))
    put_down = store.values[CHECKPOINT_KEY]
    assert put_down["batch"]["active"] == {}
    orders.never = set()
    orders.conductor.requests.clear()
    orders.conductor.plays(started(orders, 3), Script(after=0.1, output={"shipped": 3}))
    assert run(batch(retries=2), keeping(task, store, try_number=2))[3] == {"shipped": 3}
    assert orders.sent == []


def started(orders: Orders, order: int) -> str:
    (found,) = [w["workflowId"] for w in orders.conductor.workflows.values() if w["input"] == {"order": order}]
    return found


def test_it_is_gone_when_the_task_has_succeeded(orders: Orders, store: Store) -> None:
    task = batch()
    run(task, keeping(task, store))
    assert any("batch" in put_down for put_down in store.history)
    assert store.values == {}


def test_a_store_that_cannot_be_written_fails_no_batch(orders: Orders, store: Store) -> None:
    store.broken = True
    task = batch()
    assert run(task, keeping(task, store)) == [{"shipped": number} for number in range(12)]


def test_no_input_is_put_down(orders: Orders, store: Store) -> None:
    orders.fail = {1: "no stock"}
    task = batch(workflow_inputs=[{"order": 1, "note": "x" * 5_000}, {"order": 2}])
    with pytest.raises(ConductorBatchFailedError):
        run(task, keeping(task, store))
    assert store.values[CHECKPOINT_KEY]["batch"]["states"]
    assert "xxx" not in str(store.values)
