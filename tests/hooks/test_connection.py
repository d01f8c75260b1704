"""The connection: however it is written down, it becomes the same client; what is wrong in it is named."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import trustme
from airflow.models.connection import Connection as StoredConnection
from airflow.providers.common.compat.sdk import redact

from airflow_provider_conductor.client import ConductorAuthError
from airflow_provider_conductor.exceptions import ConductorTaskUnreachableError, ConductorWorkflowTimeoutError
from airflow_provider_conductor.hooks import ConductorHook, conductor as hook_module
from airflow_provider_conductor.testing import ConductorStandIn
from airflow_provider_conductor.testing.server import TOKEN

SECRET = "key-secret-that-nobody-may-see"
HEADER_SECRET = "header-secret-that-nobody-may-see"
PROXY_SECRET = "proxy-secret-that-nobody-may-see"


def connect(monkeypatch: pytest.MonkeyPatch, value: str) -> ConductorHook:
    """The hook of a connection written so in the environment."""
    monkeypatch.setenv("AIRFLOW_CONN_SOME_CONDUCTOR", value)
    return ConductorHook("some_conductor")


# However it is written


@pytest.mark.parametrize(
    "written",
    [
        "conductor://key:secret@conductor.example.com:8443/https?read_timeout=5",
        "conductor://key:secret@https%3A%2F%2Fconductor.example.com%3A8443/?read_timeout=5",
        '{"conn_type": "conductor", "host": "conductor.example.com", "port": 8443, "schema": "https",'
        ' "login": "key", "password": "secret", "extra": {"read_timeout": 5}}',
        '{"conn_type": "conductor", "host": "https://conductor.example.com:8443/api",'
        ' "login": "key", "password": "secret", "extra": "{\\"read_timeout\\": \\"5\\"}"}',
    ],
    ids=["uri", "uri with a url for host", "json", "json with a url for host"],
)
def test_uri_and_json_say_the_same(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    settings = connect(monkeypatch, written).settings
    assert settings.api_url == "https://conductor.example.com:8443/api"
    assert (settings.key_id, settings.key_secret, settings.read_timeout) == ("key", "secret", 5.0)


def test_an_open_server_needs_a_host_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = connect(monkeypatch, "conductor://localhost:8080").settings
    assert settings.api_url == "http://localhost:8080/api"
    assert not settings.authenticated


def test_the_default_connection_is_conductor_default() -> None:
    assert ConductorHook().conductor_conn_id == "conductor_default"


# Clients


def test_the_client_is_made_once(conductor: ConductorStandIn) -> None:
    hook = ConductorHook()
    assert hook.get_conn() is hook.client is hook.client


def test_all_calls_of_a_hook_share_connections(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    connect_plain = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda s, where: (opened.append(where), connect_plain(s, where))[1])
    hook = ConductorHook()
    for _ in range(5):
        hook.client.get_task_defs()
    assert len(conductor.requests) == 5
    assert len(opened) == 1


async def test_a_trigger_looks_the_connection_up_without_blocking_the_loop(
    conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masking a secret asks Airflow's supervisor, and in its event loop must not wait for an answer."""
    uri = conductor.connection_uri(secret_headers={"X-Gate": HEADER_SECRET})
    monkeypatch.setenv("AIRFLOW_CONN_CONDUCTOR_DEFAULT", uri)
    masked_in = []
    monkeypatch.setattr(hook_module, "mask_secret", lambda *_: masked_in.append(threading.current_thread()))
    async with await ConductorHook().async_client() as client:
        assert client.settings.api_url == f"{conductor.url}/api"
    assert masked_in
    assert threading.current_thread() not in masked_in


async def test_each_async_client_is_the_callers_own(conductor: ConductorStandIn) -> None:
    hook = ConductorHook()
    first, second = await asyncio.gather(hook.async_client(), hook.async_client())
    assert first is not second
    await first.close()
    await second.close()


# The test button


def test_a_server_that_answers_passes(conductor: ConductorStandIn) -> None:
    passed, message = ConductorHook().test_connection()
    assert passed
    assert conductor.url in message
    assert [request.method for request in conductor.requests] == ["GET"]


def test_airflows_test_button_reaches_the_hook(conductor: ConductorStandIn) -> None:
    stored = StoredConnection(conn_id="conductor_default", conn_type="conductor")
    passed, message = stored.test_connection()
    assert passed, message
    assert conductor.url in message


def refused(hook: ConductorHook) -> str:
    passed, message = hook.test_connection()
    assert not passed
    return message


@pytest.mark.parametrize("host", ["no-such-host.invalid:8080", "127.0.0.1:1"])
def test_a_wrong_host_or_port_is_told(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    message = refused(connect(monkeypatch, f"conductor://{host}/?max_attempts=1"))
    assert message.startswith("No server there")
    assert host in message


@pytest.fixture
def with_keys() -> Iterator[ConductorStandIn]:
    server = ConductorStandIn(key=("key-id", SECRET))
    yield server
    server.close()


def test_wrong_credentials_are_told(with_keys: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    written = with_keys.connection_uri().replace(SECRET, "another-secret")
    message = refused(connect(monkeypatch, written))
    assert message.startswith("Credentials refused")
    assert "another-secret" not in message
    assert [request.path for request in with_keys.requests] == ["/token"]


@pytest.mark.parametrize(
    "answer",
    [
        (200, "text/html", b"<html>Welcome to our intranet</html>"),
        (404, "text/html", b"<html>Not found</html>"),
        (200, "application/json", b'{"hello": "world"}'),
        (404, "application/json", b'{"message": "Not Found"}'),
    ],
    ids=["a page", "no such page", "other json", "no such json"],
)
def test_a_server_that_is_not_conductor_is_told(conductor: ConductorStandIn, answer: tuple[int, str, bytes]) -> None:
    conductor.instead = lambda request: answer
    assert refused(ConductorHook()).startswith("Not a Conductor API")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def over_tls(authority: trustme.CA) -> Iterator[ConductorStandIn]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = ConductorStandIn(tls=context)
    yield server
    server.close()


@pytest.mark.parametrize("extra", ["none", "ca_bundle", "verify_ssl"])
def test_tls_trouble_is_told_and_the_connection_can_help(
    over_tls: ConductorStandIn, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    with authority.cert_pem.tempfile() as bundle:
        given = {"none": {}, "ca_bundle": {"ca_bundle": bundle}, "verify_ssl": {"verify_ssl": False}}[extra]
        passed, message = connect(monkeypatch, over_tls.connection_uri(**given)).test_connection()
    assert passed == bool(given), message
    if not passed:
        assert message.startswith("TLS")
        assert "ca_bundle" in message


def test_a_connection_that_cannot_be_used_fails_the_test_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "read_timeot" in refused(connect(monkeypatch, "conductor://localhost:8080/?read_timeot=5"))


# Secrets


def test_no_secret_is_logged_or_shown(
    with_keys: ConductorStandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hook = connect(monkeypatch, with_keys.connection_uri(secret_headers={"X-Gate": HEADER_SECRET}))
    hook.client.get_task_defs()
    with_keys.instead = lambda request: (401, "application/json", b'{"message": "go away", "retryable": false}')
    with pytest.raises(ConductorAuthError) as refusal:
        connect(monkeypatch, with_keys.connection_uri(secret_headers={"X-Gate": HEADER_SECRET})).client.get_task_defs()
    told = [caplog.text, repr(hook), repr(hook.client), repr(hook.settings), repr(refusal.value), str(refusal.value)]
    assert "/metadata/taskdefs" in caplog.text
    for text in told:
        for secret in (SECRET, HEADER_SECRET, TOKEN):
            assert secret not in text


@pytest.mark.parametrize("stored", [{"X-Gate": HEADER_SECRET}, json.dumps({"X-Gate": HEADER_SECRET})])
def test_airflow_hides_secret_headers_however_they_are_stored(stored: Any) -> None:
    """Its REST API shows a connection's extra after this, which goes by the names of the keys."""
    assert HEADER_SECRET not in str(redact({"secret_headers": stored}))


def test_secret_headers_are_sent(conductor: ConductorStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = json.dumps({"X-Gate": HEADER_SECRET})
    hook = connect(monkeypatch, conductor.connection_uri(secret_headers=stored, headers={"X-Team": "data"}))
    hook.client.get_task_defs()
    (request,) = conductor.requests
    assert (request.headers["X-Gate"], request.headers["X-Team"]) == (HEADER_SECRET, "data")


def test_secrets_outside_the_password_are_masked_in_task_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    written = (
        '{"conn_type": "conductor", "host": "localhost", "login": "key", "password": "%s", "extra": '
        '{"headers": {"X-Api-Key": "%s", "X-Team": "execution"}, "proxy": "http://user:%s@proxy.example.com:3128"}}'
    )
    hook = connect(monkeypatch, written % (SECRET, HEADER_SECRET, PROXY_SECRET))
    _ = hook.client
    shown = redact(f"{SECRET} and {HEADER_SECRET} and http://user:{PROXY_SECRET}@proxy.example.com:3128")
    for secret in (SECRET, HEADER_SECRET, PROXY_SECRET):
        assert secret not in str(shown)
    assert redact(f"{PROXY_SECRET} of the execution") == "*** of the execution"


# Waiting on the worker

PACK = {"taskId": "1", "referenceTaskName": "pack__1", "taskType": "SIMPLE", "status": "COMPLETED"}


def test_the_workflow_comes_with_its_tasks(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add(tasks=[PACK])
    workflow = ConductorHook().wait_for_workflow(workflow_id, wait_until_task_ref="pack__1")
    assert [task.reference_name for task in workflow.tasks] == ["pack__1"]


def test_a_task_that_never_comes_is_an_error(conductor: ConductorStandIn) -> None:
    workflow_id = conductor.add("COMPLETED", tasks=[PACK])
    with pytest.raises(ConductorTaskUnreachableError, match=r"without a task 'pack' \(its tasks: 'pack__1'") as missed:
        ConductorHook().wait_for_workflow(workflow_id, wait_until_task_ref="pack")
    assert (missed.value.workflow_id, missed.value.task_reference_name) == (workflow_id, "pack")


@pytest.mark.parametrize("limit", [{"timeout": 0.3}, {"stall_timeout": timedelta(seconds=0.3)}])
def test_a_limit_ends_the_wait_and_not_the_workflow(conductor: ConductorStandIn, limit: dict[str, Any]) -> None:
    workflow_id = conductor.add(tasks=[{**PACK, "status": "SCHEDULED"}])
    with pytest.raises(ConductorWorkflowTimeoutError, match="did not end in time") as over:
        ConductorHook().wait_for_workflow(workflow_id, poll_interval=timedelta(seconds=0.1), **limit)
    assert (over.value.workflow_id, over.value.url) == (workflow_id, ConductorHook().workflow_url(workflow_id))
    assert "pack__1" in over.value.reason
    assert conductor.status(workflow_id) == "RUNNING"
