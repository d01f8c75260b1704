"""What of a connection is secret, and where it must not be."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

import pytest

from airflow_provider_conductor.client import ConductorRequestError, ConductorSettings, cautions, endpoints
from airflow_provider_conductor.client.hiding import hide, is_secret_header, url_secrets
from airflow_provider_conductor.client.wire import Exchange
from tests.client import fault_server as faults
from tests.client.fault_server import Exchange as Served
from tests.client.transports import Connect, Meet, Serve

READ = endpoints.get_workflow("w1")
SECRETS = {
    "key_id": "the-id",
    "key_secret": "s3cr3t/k3y",
    "headers": {"Authorization": "Bearer b34rer", "X-Team": "execution"},
    "secret_headers": {"X-Gate": "g4te-opener"},
}
HIDDEN = ("s3cr3t/k3y", "s3cr3t%2Fk3y", "b34rer", "g4te-opener", "t0k3n")


def echo(code: int) -> faults.Behaviour:
    """Repeats all it was sent, as debugging servers and careless gateways do."""

    def play(exchange: Served) -> None:
        sent = f"{dict(exchange.request.headers)} {exchange.request.body.decode()} s3cr3t%2Fk3y s3cr3t/k3y"
        faults.error(code, f"execution failed for {sent}")(exchange)

    return play


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 429, 500, 503])
@pytest.mark.parametrize("at", ["token", "workflow"])
def test_what_a_server_repeats_of_our_secrets_is_hidden(meet: Meet, code: int, at: str) -> None:
    client, _ = meet(
        faults.by_path(**({"token": faults.token("t0k3n"), "rest": echo(code)} | {at: echo(code)})),
        max_attempts=1,
        **SECRETS,
    )
    with pytest.raises(ConductorRequestError, match="execution failed") as caught:
        client.send(READ)
    texts = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(vars(caught.value))
    assert not [secret for secret in HIDDEN if secret in texts]
    assert "***" in texts


@pytest.mark.parametrize(
    "answer",
    [
        faults.status(404, b"no such page for Bearer b34rer"),
        faults.text("<b34rer>"),
        faults.status(302, location="/elsewhere/b34rer"),
        faults.status(200, b"", content_encoding="b34rer"),
    ],
)
def test_what_a_gateway_repeats_is_hidden_too(meet: Meet, answer: faults.Behaviour) -> None:
    settings = {"headers": SECRETS["headers"], "max_attempts": 1}
    with pytest.raises(ConductorRequestError) as caught:
        meet(answer, **settings)[0].send(endpoints.start_workflow({"name": "orders"}))
    assert "b34rer" not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)


@pytest.mark.parametrize("from_environment", [True, False])
@pytest.mark.parametrize("behaviour", [faults.drop, faults.status(407, b"denied p4ss/w0rd"), faults.garbage, None])
def test_a_proxys_password_is_in_no_traceback(
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    from_environment: bool,
    behaviour: faults.Behaviour | None,
) -> None:
    proxy = serve(behaviour or faults.drop, down=behaviour is None)
    url = f"http://user:p4ss%2Fw0rd@127.0.0.1:{proxy.port}"
    if from_environment:
        monkeypatch.setenv("http_proxy", url)
    client = connect("http://conductor.invalid/api", max_attempts=1, **({} if from_environment else {"proxy": url}))
    with pytest.raises(ConductorRequestError) as caught:
        client.send(READ)
    texts = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(client.client.settings)
    assert not [secret for secret in url_secrets(url) if secret in texts]


@pytest.mark.parametrize(
    "name",
    ["Authorization", "authorization", "Proxy-Authorization", "X-API-Key", "X-Auth-Token", "Cookie", "My-Secret",
     "CF-Access-Client-Secret", "X-Password", "Ocp-Apim-Subscription-Key"],
)  # fmt: skip
def test_headers_that_carry_a_secret_are_known_by_their_name(name: str) -> None:
    assert is_secret_header(name)
    others = ["X-Team", "X-Request-Source", "Accept-Language", "X-Tenant", "X-Environment"]
    assert not any(map(is_secret_header, others))


def test_an_ordinary_header_hides_nothing() -> None:
    exchange = Exchange(ConductorSettings("http://localhost", headers={"X-Team": "execution"}))
    assert exchange.hide("the execution failed") == "the execution failed"


def test_the_longer_secret_is_hidden_first_and_very_short_ones_are_not() -> None:
    assert hide("abcd abcdef ab", ["abcd", "abcdef", "ab"]) == "*** *** ab"


def test_no_secret_shows_in_what_an_exchange_or_its_settings_print() -> None:
    settings = ConductorSettings("http://localhost", proxy="http://u:p4ssw0rd@proxy", **SECRETS)
    exchange = Exchange(settings)
    shown = f"{settings!r}{settings}{pickle.loads(pickle.dumps(settings))!r}{exchange!r}{exchange.tokens!r}"
    assert not [secret for secret in (*HIDDEN, "p4ssw0rd") if secret in shown]


# Cautions


@pytest.fixture
def nothing_logged_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cautions, "_logged", set())


@pytest.mark.usefixtures("nothing_logged_yet")
@pytest.mark.parametrize(
    ("url", "settings", "words"),
    [
        ("https://conductor.example.com", {"verify_ssl": False}, ["verify_ssl is off"]),
        ("http://conductor.example.com", {"key_id": "k", "key_secret": "secret"}, ["the key and all data are sent"]),
        ("http://10.1.2.3", {"secret_headers": {"X-Gate": "open"}}, ["X-Gate and all data are sent"]),
        ("https://c.example.com", {"headers": {"Authorization": "Bearer x"}}, ["move it to secret_headers"]),
        ("https://c.example.com", {"headers": {"X-Team": "x"}, "secret_headers": {"X-Gate": "y"}}, []),
        ("http://localhost:8080", {"key_id": "k", "key_secret": "secret"}, []),
        ("http://127.0.0.1:8080", {"key_id": "k", "key_secret": "secret"}, []),
        ("http://[::1]:8080", {"key_id": "k", "key_secret": "secret", "verify_ssl": False}, []),
        ("http://conductor.example.com", {}, []),
    ],
)
def test_what_is_risky_is_logged_once(
    url: str, settings: dict[str, Any], words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        Exchange(ConductorSettings(url, **settings))
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))
