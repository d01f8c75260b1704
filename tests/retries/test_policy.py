"""Which failures are retried, and when: the decision table, and errors as the operators raise them."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, RetryAction, RetryDecision

from airflow_provider_conductor.exceptions import (
    ConductorAuthError,
    ConductorBatchFailedError,
    ConductorTimeoutError,
    ConductorWorkflowFailedError,
    ConductorWorkflowTimeoutError,
)
from airflow_provider_conductor.operators import ConductorExecuteWorkflowOperator
from airflow_provider_conductor.polling.root_cause import Cause, Failure
from airflow_provider_conductor.retries import DEFAULT_RULES, ConductorRetryPolicy, causes_of
from airflow_provider_conductor.testing import ConductorStandIn, Script
from tests.operators.airflow_standin import context_of, deferred, first_event

LOST = ConductorTimeoutError("lost", method="GET", path="/")
REFUSED = ConductorAuthError("refused", method="GET", path="/", status=401)
PACK = {"taskId": "7", "referenceTaskName": "pack", "taskType": "pack", "taskDefName": "pack", "status": "SCHEDULED"}


def failed(cause: Cause | None, status: str = "FAILED") -> ConductorWorkflowFailedError:
    return ConductorWorkflowFailedError("failed", Failure(workflow_id="1", status=status, cause=cause))


def timed_out(waits_for: str) -> ConductorWorkflowTimeoutError:
    return ConductorWorkflowTimeoutError("timeout", waits_for=waits_for)


@pytest.mark.parametrize(
    ("error", "action", "delay"),
    [
        (failed(Cause.NOT_POLLED), RetryAction.RETRY, timedelta(minutes=15)),
        (timed_out("no worker"), RetryAction.RETRY, timedelta(minutes=15)),
        (timed_out("working"), RetryAction.RETRY, None),
        (timed_out(""), RetryAction.RETRY, None),
        (failed(Cause.TERMINATE_TASK), RetryAction.FAIL, None),
        (failed(Cause.TASK_FAILED), RetryAction.DEFAULT, None),
        (failed(Cause.TASK_TIMED_OUT, "TIMED_OUT"), RetryAction.DEFAULT, None),
        (failed(None), RetryAction.DEFAULT, None),
        (ConductorBatchFailedError("2 failed"), RetryAction.DEFAULT, None),
        (LOST, RetryAction.DEFAULT, None),
        (ValueError("a defect of the DAG"), RetryAction.DEFAULT, None),
    ],
)
def test_the_default_rules(error: Exception, action: RetryAction, delay: timedelta | None) -> None:
    decision = ConductorRetryPolicy().evaluate(error, 1, 3)
    assert (decision.action, decision.retry_delay) == (action, delay)


@pytest.mark.parametrize(
    ("cause", "error"),
    [
        ("task failed", failed(Cause.TASK_FAILED)),
        ("TIMED_OUT", failed(Cause.WORKFLOW_TIMED_OUT, "TIMED_OUT")),
        ("waiting for a person", timed_out("waiting for a person")),
        ("ConductorAuthError", REFUSED),
        ("ConductorAnswerError", REFUSED),
        ("ConductorError", LOST),
    ],
)
def test_a_rule_of_the_users_own(cause: str, error: Exception) -> None:
    policy = ConductorRetryPolicy({cause: RetryDecision.fail("ours")})
    assert policy.evaluate(error, 1, 3).reason == "ours"
    assert policy.evaluate(timed_out("no worker"), 1, 3) == DEFAULT_RULES["no worker"]


def test_the_most_exact_cause_decides() -> None:
    rules = {"ConductorError": RetryDecision.fail("any"), "ConductorTimeoutError": RetryDecision.retry(reason="slow")}
    policy = ConductorRetryPolicy(rules)
    assert [policy.evaluate(error, 1, 3).reason for error in (LOST, REFUSED)] == ["slow", "any"]


def test_a_rule_replaces_a_default_one() -> None:
    policy = ConductorRetryPolicy({"no worker": RetryDecision.retry(timedelta(hours=1))})
    assert policy.evaluate(timed_out("no worker"), 1, 3).retry_delay == timedelta(hours=1)


def test_a_rule_for_no_cause_is_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match="no error has the cause 'no workers'; did you mean 'no worker'"):
        ConductorRetryPolicy({"no workers": RetryDecision.fail()})


@pytest.mark.parametrize("cause", ["COMPLETED", "ended", "RUNNING", "xyz"])
def test_what_is_no_cause_of_an_error_has_no_rule(cause: str) -> None:
    with pytest.raises(ValueError, match="no error has the cause"):
        ConductorRetryPolicy({cause: RetryDecision.fail()})


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_wait_without_a_worker_is_retried_later(conductor: ConductorStandIn, deferrable: bool) -> None:
    """The cause crosses from the triggerer to the worker."""
    conductor.script("orders", lambda given: Script(None, tasks=[PACK]))
    task = ConductorExecuteWorkflowOperator(
        task_id="ship", workflow_name="orders", deferrable=deferrable, timeout=13, poll_interval=1
    )
    context = context_of(task)
    run = partial(task.execute, context)
    if deferrable:
        deferral = deferred(task, context)
        kwargs = {**(deferral.kwargs or {}), "event": first_event(deferral.trigger)}
        run = partial(task.resume_execution, "execute_complete", kwargs, context)
    with pytest.raises(ConductorWorkflowTimeoutError) as raised:
        run()
    assert raised.value.waits_for == "no worker"
    assert ConductorRetryPolicy().evaluate(raised.value, 1, 3).retry_delay == timedelta(minutes=15)
    assert list(causes_of(pickle.loads(pickle.dumps(raised.value)))) == list(causes_of(raised.value))


def test_airflow_takes_the_policy_of_an_operator() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("shop", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
        ConductorExecuteWorkflowOperator(
            task_id="ship", workflow_name="orders", retries=3, retry_policy=ConductorRetryPolicy()
        )
    stored: dict[str, Any] = DagSerialization.to_dict(dag)
    assert DagSerialization.from_dict(stored).task_dict["ship"].has_retry_policy
