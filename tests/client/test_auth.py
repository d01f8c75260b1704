"""The token: fetched once, shared, refreshed in time, and never left out of a request that needs it."""

from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import pytest

from airflow_provider_conductor.client import (
    ConductorAuthError,
    ConductorConnectionLostError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorServerError,
    NotConductorError,
    endpoints,
)
from airflow_provider_conductor.client.wire import Transmission
from tests.client import fault_server as faults
from tests.client.fault_server import Behaviour, Exchange, FaultServer
from tests.client.transports import Clock, Meet

KEY = {"key_id": "id", "key_secret": "s3cr3t-k3y"}
READ = endpoints.get_workflow("w1")
START = endpoints.start_workflow({"name": "orders"})
REFUSED = faults.orkes_token_refused()


def jwt(expires_at: float) -> str:
    payload = base64.urlsafe_b64encode(json.dumps({"exp": expires_at}).encode()).decode().rstrip("=")
    return f"e30.{payload}.sig"


def tokens_sent(server: FaultServer, path: str = "/workflow/w1") -> list[str | None]:
    return [request.headers.get("x-authorization") for request in server.sent_to(path)]


def test_without_credentials_no_token_is_asked_for_and_none_is_sent(meet: Meet) -> None:
    client, server = meet(faults.workflow())
    client.send(READ)
    assert server.sent_to("/token") == []
    assert tokens_sent(server) == [None]


def test_the_key_is_traded_once_and_the_token_goes_with_every_request(meet: Meet) -> None:
    client, server = meet(faults.by_path(token=faults.token("t1")), **KEY)
    for _ in range(3):
        client.send(READ)
    (request,) = server.sent_to("/token")
    assert request.json() == {"keyId": "id", "keySecret": "s3cr3t-k3y"}
    assert "x-authorization" not in request.headers
    assert tokens_sent(server) == ["t1", "t1", "t1"]


def slowly(behaviour: Behaviour) -> Behaviour:
    def play(exchange: Exchange) -> None:
        time.sleep(0.2)
        behaviour(exchange)

    return play


def test_many_callers_at_once_make_one_token_request(meet: Meet) -> None:
    client, server = meet(faults.by_path(token=slowly(faults.token("t1"))), **KEY)
    with ThreadPoolExecutor(12) as callers:
        list(callers.map(lambda _: client.send(READ), range(24)))
    assert len(server.sent_to("/token")) == 1
    assert tokens_sent(server) == ["t1"] * 24


def test_many_callers_whose_token_is_refused_at_once_refresh_it_once(meet: Meet) -> None:
    together = threading.Barrier(8)

    def only_t2(exchange: Exchange) -> None:
        if exchange.request.headers["x-authorization"] == "t1":
            together.wait(60)
            REFUSED(exchange)
        else:
            faults.workflow()(exchange)

    client, server = meet(faults.by_path(token=faults.token("t1", "t2"), rest=only_t2), **KEY)
    with ThreadPoolExecutor(8) as callers:
        list(callers.map(lambda _: client.send(READ), range(8)))
    assert len(server.sent_to("/token")) == 2
    assert sorted(map(str, tokens_sent(server))) == ["t1"] * 8 + ["t2"] * 8


@pytest.mark.parametrize(("life", "early"), [(3600, 60), (300, 30), (10, 1)])
def test_a_token_is_refreshed_before_it_expires(meet: Meet, clock: Clock, life: int, early: int) -> None:
    first, second = jwt(clock.now + life), jwt(clock.now + 2 * life)
    client, server = meet(faults.by_path(token=faults.in_turn(faults.token(first), faults.token(second))), **KEY)
    client.send(READ)
    clock.now += life - early - 0.5
    client.send(READ)
    clock.now += 1
    client.send(READ)
    assert tokens_sent(server) == [first, first, second]


@pytest.mark.parametrize("ahead", [240, 301, 3600])
@pytest.mark.parametrize("dated", [True, False])
def test_a_clock_ahead_of_the_servers_fetches_no_token_for_each_request(
    meet: Meet, clock: Clock, ahead: int, dated: bool
) -> None:
    servers_now = clock.now
    clock.now += ahead
    date = {"date": formatdate(servers_now, usegmt=True)} if dated else {}
    token = faults.json_answer({"token": jwt(servers_now + 300)}, **date)
    client, server = meet(faults.by_path(token=token), **KEY)
    for _ in range(20):
        client.send(READ)
        clock.now += 1
    assert len(server.sent_to("/token")) == 1


def test_a_token_that_names_no_expiry_is_used_for_45_minutes(meet: Meet, clock: Clock) -> None:
    client, server = meet(faults.by_path(token=faults.token("t1", "t2")), **KEY)
    for _ in range(4):
        client.send(READ)
        clock.now += 20 * 60
    assert tokens_sent(server) == ["t1", "t1", "t1", "t2"]


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_token_is_refreshed_once_and_the_request_sent_again(meet: Meet, code: int) -> None:
    client, server = meet(
        faults.by_path(
            token=faults.token("t1", "t2"),
            rest=faults.in_turn(faults.orkes_token_refused(code), faults.text("w1")),
        ),
        **KEY,
    )
    assert client.send(START) == "w1"
    assert tokens_sent(server, "/workflow") == ["t1", "t2"]


def test_a_request_refused_with_a_fresh_token_too_is_raised(meet: Meet) -> None:
    client, server = meet(faults.by_path(token=faults.token("t1"), rest=faults.error(403, "not yours")), **KEY)
    with pytest.raises(ConductorAuthError, match=r"GET /workflow/w1 .* 403 not yours"):
        client.send(READ)
    assert len(server.sent_to("/token")) == 2
    assert len(server.sent_to("/workflow/w1")) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (faults.error(401, "bad key"), ConductorAuthError),
        (faults.status(403, b""), NotConductorError),
        (faults.error(404, "no such application"), ConductorNotFoundError),
        (faults.status(500, {"message": "boom"}), ConductorServerError),
        (faults.html(200), NotConductorError),
        (faults.json_answer({"token": ""}), NotConductorError),
        (faults.json_answer([]), NotConductorError),
        (faults.status(307, location="/api/v2/token"), NotConductorError),
        (faults.drop, ConductorConnectionLostError),
    ],
)
def test_without_a_token_nothing_is_sent(meet: Meet, answer: Behaviour, kind: type) -> None:
    client, server = meet(faults.by_path(token=answer), max_attempts=2, **KEY)
    with pytest.raises(kind, match="/token") as caught:
        client.send(READ)
    assert type(caught.value) is kind
    assert len(server.requests) == len(server.sent_to("/token"))


def test_a_refused_key_is_an_auth_error_and_not_sent_again(meet: Meet) -> None:
    client, server = meet(faults.error(401, "bad key"), **KEY)
    with pytest.raises(ConductorAuthError, match="key id or key secret was refused") as caught:
        client.send(READ)
    assert "s3cr3t-k3y" not in repr(caught.value) + str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("missing", [faults.no_route, faults.error(404, "No static resource api/token.")])
def test_a_server_without_a_token_endpoint_is_open_and_gets_the_key_once(meet: Meet, missing: Behaviour) -> None:
    client, server = meet(faults.by_path(token=missing), **KEY)
    client.send(READ)
    client.send(READ)
    assert len(server.sent_to("/token")) == 1
    assert tokens_sent(server) == [None, None]


@pytest.mark.parametrize("fault", [faults.drop, faults.status(503), faults.status(429)])
def test_a_start_waits_for_its_token_though_the_first_request_for_it_is_lost(meet: Meet, fault: Behaviour) -> None:
    client, server = meet(
        faults.by_path(token=faults.in_turn(fault, faults.token("t1")), rest=faults.text("w1")), **KEY
    )
    assert client.send(START) == "w1"
    assert tokens_sent(server, "/workflow") == ["t1"]


def test_a_start_lost_with_a_good_token_is_not_sent_again(meet: Meet) -> None:
    client, server = meet(faults.by_path(token=faults.token("t1"), rest=faults.drop), **KEY)
    with pytest.raises(ConductorConnectionLostError) as caught:
        client.send(START)
    assert caught.value.fate_unknown
    assert len(server.sent_to("/workflow")) == 1


def test_a_request_under_way_keeps_its_token_when_another_callers_key_is_refused(meet: Meet) -> None:
    opened: list[Any] = []

    def refused_meanwhile(exchange: Exchange) -> None:
        opened[0].client._exchange.tokens._token = ""
        faults.status(307, location="/api/there")(exchange)

    client, server = meet(
        faults.by_path(token=faults.token("t1"), workflow=refused_meanwhile, there=faults.workflow()), **KEY
    )
    opened.append(client)
    opened[0].send(READ)
    assert tokens_sent(server, "/there") == ["t1"]


def test_the_token_is_not_shown_in_a_repr_or_an_error(meet: Meet) -> None:
    client, _ = meet(faults.by_path(token=faults.token("t0k3n"), rest=faults.status(500, {"message": "boom"})), **KEY)
    with pytest.raises(ConductorRequestError) as caught:
        client.send(READ)
    sent = Transmission(READ, "https://conductor/api", "t0k3n")
    assert "t0k3n" not in f"{caught.value!r}{caught.value}{client.client!r}{client.client._exchange.tokens!r}{sent!r}"
