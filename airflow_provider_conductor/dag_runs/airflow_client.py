"""Sends calls to Airflow's REST API: the client's transport, with Airflow's addresses, credentials and errors."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from airflow_provider_conductor.client.aio import AsyncTransport
from airflow_provider_conductor.client.auth import TokenKeeper
from airflow_provider_conductor.client.errors import ConductorAuthError, ConductorConfigError, ConductorRequestError
from airflow_provider_conductor.client.flow import Answer, Call
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.client.wire import Exchange, WireFlow
from airflow_provider_conductor.dag_runs.airflow_api import AirflowApi, ApiVersion, fetch_token, version_of

T = TypeVar("T")

PASSING = (429, 502, 503, 504)

AT_ONCE = 4
"""Calls under way. Airflow's API server has 15 connections to its database by default (``[database]
sql_alchemy_pool_size`` and ``max_overflow``). Since 3.2 it also waits for one in its event loop: once all 15 are taken,
none is given back before the wait of 30 s is over (apache/airflow#66493). Other workers, and tasks, share them."""


class AirflowApiError(ConductorRequestError):
    """Airflow, or something in front of it, answered with an error."""


class AirflowRefusedError(AirflowApiError):
    """Airflow refused what was asked, and would refuse it again: no such DAG, a wrong conf."""


class AirflowSettings:
    """Where Airflow's API is, from the fields of a connection of type ``http``.

    Args:
        fields: ``host``, ``schema``, ``port``, ``login`` and ``password`` of the connection.
        extra: its extra: ``token``, a token in place of login and password; ``ui_url``, ``verify_ssl``, ``ca_bundle``,
            ``client_cert``, ``client_key``, ``proxy``, ``headers``, ``connect_timeout``, ``read_timeout`` and
            ``max_attempts`` as in a connection of type ``conductor``.

    Raises:
        ConductorConfigError: no host, an unknown key, a value of the wrong kind.
    """

    def __init__(self, fields: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
        extra = dict(extra)
        self.token = extra.pop("token", "") or ""
        if not isinstance(self.token, str):
            raise ConductorConfigError("token in the extra of Airflow's connection must be a text")
        if self.token:
            extra["secret_headers"] = {**(extra.get("secret_headers") or {}), "Authorization": f"Bearer {self.token}"}
            fields = {**fields, "login": None, "password": None}
        settings = ConductorSettings.from_connection(**fields, extra=extra)
        self.base = settings.api_url.removesuffix("/api")
        self.http = replace(settings, api_url=f"{self.base}/api")

    @property
    def ui_base(self) -> str:
        """Base of links to Airflow's UI."""
        return (self.http.ui_url or self.base).rstrip("/")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log may show."""
        return (*filter(None, (self.token,)), *self.http.secrets)


class AirflowExchange(Exchange):
    """Airflow's addresses, credentials and errors.

    Attributes:
        version: the API's version, as soon as it is known.
    """

    version: ApiVersion | None = None

    def __init__(self, settings: AirflowSettings) -> None:
        super().__init__(settings.http)
        self.tokens = TokenKeeper(settings.http, fetch_token)

    def url(self, call: Call[T]) -> str:
        url = super().url(call)
        base = self.settings.api_url
        return base.removesuffix("/api") + url.removeprefix(base) if call.path.startswith("/auth/") else url

    def token(self, within: float | None = None, *, refused: str | None = None) -> WireFlow[str]:
        if self.version == 2:
            return (yield from super().token(within, refused=refused))
        return ""

    def headers(self, call: Call[T], token: str) -> dict[str, str]:
        headers = super().headers(call, "")
        if token:
            headers["Authorization"] = f"Bearer {token}"
        elif self.version == 1 and self.settings.authenticated:
            login = f"{self.settings.key_id}:{self.settings.key_secret}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        return headers

    def value(self, call: Call[T], answer: Answer) -> T:
        """The answer's value, or the error it means.

        =====================  =============================================  ==========================
        status                 body                                           error
        =====================  =============================================  ==========================
        401                    any                                            ``ConductorAuthError``
        404                    of Airflow, about a DAG, run, task or XCom     ``AirflowRefusedError``
        400, 409, 422          of Airflow                                     ``AirflowRefusedError``
        429, 502, 503, 504     any                                            ``AirflowApiError``, passing
        anything else          any                                            ``AirflowApiError``
        =====================  =============================================  ==========================

        403 is no refusal: 2.11 answers so to a request without credentials, and rights can be granted.
        """
        if answer.status < 400:
            try:
                return call.parse(answer)
            except (ValueError, KeyError, TypeError) as error:
                message = f"the answer is none of Airflow's: {error!r:.200}"
                raise self.error(call, AirflowApiError, message, answer.status, passing=True) from None
        detail = _detail(answer)
        message = detail or answer.content.decode(errors="replace")[:200]
        kind: type[ConductorRequestError] = AirflowApiError
        if answer.status == 401:
            kind = ConductorAuthError
        elif detail and (
            answer.status in (400, 409, 422)
            or (answer.status == 404 and re.search(r"dag|task|xcom", detail, re.IGNORECASE))
        ):
            kind = AirflowRefusedError
        passing = answer.status in PASSING
        raise self.error(
            call, kind, message, answer.status, passing=passing, fate_unknown=False, retry_after=answer.retry_after
        )


class AirflowClient(AsyncTransport):
    """The asyncio client of one Airflow's REST API. Has at most :data:`AT_ONCE` calls under way, others wait.

    Attributes:
        ui_base: base of links to Airflow's UI.
    """

    def __init__(self, settings: AirflowSettings) -> None:
        self._airflow = AirflowExchange(settings)
        super().__init__(self._airflow)
        self.ui_base = settings.ui_base
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def send(self, call: Call[T]) -> T:
        async with self._turn:
            return await super().send(call)

    async def find_api(self) -> AirflowApi:
        """Find out which version of the API this Airflow has.

        Raises:
            ConductorRequestError: it is unreachable, or has neither.
        """
        try:
            await self.send(version_of(2))
            self._airflow.version = 2
        except AirflowApiError as error:
            if error.status != 404:
                raise
            await self.send(version_of(1))
            self._airflow.version = 1
        return AirflowApi(self._airflow.version)


def _detail(answer: Answer) -> str:
    """Airflow's own message about an error; "" where the answer is not Airflow's."""
    try:
        value = answer.json()
    except ValueError:
        return ""
    detail = value.get("detail") or value.get("title") if isinstance(value, dict) else ""
    return detail if isinstance(detail, str) else json.dumps(detail)[:1000]
