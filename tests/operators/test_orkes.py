"""What is different on a server with authentication and idempotency keys (Orkes), through the operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorAuthError, ConductorRequestError
from airflow_provider_conductor.exceptions import ConductorWorkflowFailedPermanentlyError
from airflow_provider_conductor.operators import ConductorStartWorkflowOperator
from airflow_provider_conductor.testing import ConductorStandIn, Request, Script
from airflow_provider_conductor.testing.server import no_route
from tests.operators.airflow_standin import context_of, error_of, result
from tests.operators.impatient import both_ways, execute


@pytest.fixture
def orkes(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConductorStandIn]:
    server = ConductorStandIn(key=("id", "s3cr3t-k3y"))
    server.definitions.add("orders")
    server.honours_idempotency = True
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", server.connection_uri())
    yield server
    server.close()


def start(**arguments: Any) -> ConductorStartWorkflowOperator:
    return ConductorStartWorkflowOperator(task_id="start", workflow_name="orders", retries=2, **arguments)


def second_try(task: Any, first: dict[str, Any]) -> dict[str, Any]:
    """The context of the next try in the same dag run."""
    return {**context_of(task, try_number=2), "dag_run": first["dag_run"]}


def tokens_sent(server: ConductorStandIn) -> set[str]:
    return {request.headers.get("X-Authorization", "none") for request in server.requests if request.path != "/token"}


# Tokens


@both_ways
def test_a_token_that_is_withdrawn_in_the_middle_is_replaced(orkes: ConductorStandIn, deferrable: bool) -> None:
    orkes.default_script = Script(after=0.6, output={"total": 42})
    withdrawn: list[str] = []

    def once_it_is_waited_for(request: Request) -> None:
        if request.method == "GET" and orkes.workflows and not withdrawn:
            withdrawn.extend(orkes.tokens)
            orkes.withdraw_tokens()

    orkes.instead = once_it_is_waited_for
    assert result(execute(deferrable=deferrable)) == {"total": 42}
    assert withdrawn
    assert tokens_sent(orkes) > set(withdrawn)
    assert len(orkes.started) == 1


def test_a_token_refused_at_the_start_starts_no_second_workflow(orkes: ConductorStandIn) -> None:
    def before_it_is_started(request: Request) -> None:
        if (request.method, request.path) == ("POST", "/workflow") and len(orkes.started) == 1:
            orkes.withdraw_tokens()

    orkes.instead = before_it_is_started
    task = start()
    assert task.execute(context_of(task)) == orkes.only_workflow
    assert len(orkes.started) == 2  # sent again, with a token that is good


def test_a_permission_that_is_missing_is_told_with_what_was_asked(orkes: ConductorStandIn) -> None:
    refusal = b'{"message": "Access Denied, EXECUTE on orders is missing", "status": 403, "retryable": false}'
    orkes.instead = lambda request: (403, "application/json", refusal) if request.path == "/workflow" else None
    told = error_of(start(), ConductorAuthError, r"POST /workflow .* 403 Access Denied, EXECUTE")
    assert "s3cr3t-k3y" not in str(told)
    assert orkes.workflows == {}


# Idempotency keys


def lose_answers(server: ConductorStandIn, times: int) -> Callable[[Request], tuple[int, str, bytes] | None]:
    """Carry the first starts out, and answer nothing."""
    lost: list[str] = []

    def lose(request: Request) -> tuple[int, str, bytes] | None:
        if (request.method, request.path) == ("POST", "/workflow") and len(lost) < times:
            lost.append(server._start(request.body)[2].decode())
            return 0, "", b""
        if request.path.endswith("/correlated"):  # nor can a look-up help
            return no_route(request)
        return None

    return lose


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch, orkes: ConductorStandIn) -> None:
    """A start of unknown fate is looked for but a moment."""
    monkeypatch.setattr("airflow_provider_conductor.operators.submission.MIN_SEARCH_SECONDS", 0.0)
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", orkes.connection_uri(read_timeout=1))


def lose_the_first_answer(orkes: ConductorStandIn) -> str:
    """Start a task's workflow twice, since the answer to its first try is lost; the id that the second one has."""
    orkes.instead = lose_answers(orkes, 1)
    first = start()
    context = context_of(first)
    with pytest.raises(ConductorRequestError):
        first.execute(context)
    second = start()
    return second.execute(second_try(second, context))


@pytest.mark.usefixtures("no_patience")
def test_a_start_whose_answer_is_lost_is_the_same_workflow_when_it_is_sent_again(orkes: ConductorStandIn) -> None:
    assert lose_the_first_answer(orkes) == orkes.only_workflow
    sent = [(body["idempotencyKey"], body["idempotencyStrategy"]) for body in orkes.started]
    assert len(sent) == 2
    assert len(set(sent)) == 1
    assert sent[0][1] == "RETURN_EXISTING"


@pytest.mark.usefixtures("no_patience")
def test_without_idempotency_keys_it_would_have_been_a_second_one(orkes: ConductorStandIn) -> None:
    """So the test above has seen what the key does."""
    orkes.honours_idempotency = False
    lose_the_first_answer(orkes)
    assert len(orkes.workflows) == 2


def test_a_cleared_task_and_another_dag_run_have_keys_of_their_own(orkes: ConductorStandIn) -> None:
    def key_of(**ti: Any) -> str:
        task = start(cancel_on_kill=False)
        task.execute(context_of(task, **ti))
        return str(orkes.started[-1]["idempotencyKey"])

    keys = [key_of(), key_of(run_id="another"), key_of(map_index=1)]
    assert len(set(keys)) == 3
    assert len(orkes.workflows) == 3


def test_a_workflow_that_somebody_terminated_stays_dead_under_its_key(orkes: ConductorStandIn) -> None:
    first = start()
    workflow_id = first.execute(context_of(first))
    orkes.end(workflow_id, "TERMINATED", reason="not today")
    error_of(start(), ConductorWorkflowFailedPermanentlyError, "not today", try_number=2)
    assert len(orkes.started) == 1


def test_a_deliberate_fresh_start_is_not_taken_for_the_one_before(orkes: ConductorStandIn) -> None:
    orkes.default_script = Script(after=0, status="FAILED", reason="no tea left")
    first = start(retry_from="new")
    context = context_of(first)
    first.execute(context)
    second = start(retry_from="new")
    second.execute(second_try(second, context))
    assert len(orkes.workflows) == 2
    assert len({body["idempotencyKey"] for body in orkes.started}) == 2
