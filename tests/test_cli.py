"""The worker's command: in Airflow's command line where providers have a place there, and as a console script."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from airflow.providers_manager import ProvidersManager

from airflow_provider_conductor import cli
from airflow_provider_conductor.client import ConductorConfigError
from airflow_provider_conductor.dag_runs.worker_spec import WorkerSpec
from airflow_provider_conductor.provider_info import get_provider_info

AIRFLOW = {"conn_type": "http", "host": "http://airflow.example.com", "port": 8080}


def connection(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_DEFAULT", json.dumps({**AIRFLOW, **fields}))


def test_both_commands_have_the_same_options() -> None:
    (group,) = cli.conductor_commands()
    (worker,) = group.subcommands
    assert (group.name, worker.name) == ("conductor", "worker")
    given = vars(cli.parser().parse_args(["worker"]))
    assert {arg.flags[0].lstrip("-").replace("-", "_"): arg.kwargs["default"] for arg in worker.args} == given
    assert WorkerSpec(**{item.name: given[item.name] for item in fields(WorkerSpec)}) == WorkerSpec()


@pytest.mark.airflow_versions(since="3.2")
def test_airflow_finds_the_command() -> None:
    assert get_provider_info()["cli"] == ["airflow_provider_conductor.cli.conductor_commands"]
    assert cli.conductor_commands in ProvidersManager().cli_command_functions


@pytest.mark.parametrize("option", ["--concurrency=0", "--max-active-runs=-1", "--poll-interval=nan"])
def test_numbers_have_to_be_numbers(option: str, conductor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch)
    with pytest.raises(SystemExit, match="must be a number over 0"):
        cli.main(["worker", option])


def test_a_connection_that_cannot_be_used_is_named(conductor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, extra={"timeout": 7})
    with pytest.raises(SystemExit, match=r"^connection airflow_default: .*timeout"):
        cli.main(["worker"])


def test_login_and_password_are_a_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, login="conductor", password="of-airflow", extra={"ui_url": "https://ui.example.com/"})
    settings = cli.airflow_settings("airflow_default")
    assert (settings.base, settings.ui_base) == ("http://airflow.example.com:8080", "https://ui.example.com")
    assert (settings.http.key_id, settings.http.key_secret) == ("conductor", "of-airflow")
    assert "of-airflow" in settings.secrets


def test_a_token_comes_before_login_and_password(monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, login="conductor", password="of-airflow", extra={"token": "jwt-of-airflow"})
    settings = cli.airflow_settings("airflow_default")
    assert not settings.http.authenticated
    assert settings.http.all_headers == {"Authorization": "Bearer jwt-of-airflow"}
    assert "jwt-of-airflow" in settings.secrets
    assert "jwt-of-airflow" not in repr(settings.http)


def test_an_address_may_have_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, host="https://gate.example.com/airflow", port=None)
    settings = cli.airflow_settings("airflow_default")
    assert settings.http.api_url == "https://gate.example.com/airflow/api"


def test_a_token_has_to_be_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, extra={"token": 7})
    with pytest.raises(ConductorConfigError, match="must be a text"):
        cli.airflow_settings("airflow_default")
