"""The blocking client, on requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.client import HTTPException, IncompleteRead
from types import TracebackType
from typing import Any, TypeVar

import requests
from tenacity import Retrying
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

from airflow_provider_conductor.client.body import BodyTooLargeError, BrokenBodyError
from airflow_provider_conductor.client.bounded import BoundedAdapter
from airflow_provider_conductor.client.errors import ConductorRequestError
from airflow_provider_conductor.client.flow import Answer, Call, Flow, Now, Sleep, Steps, steady
from airflow_provider_conductor.client.flows import Capabilities
from airflow_provider_conductor.client.methods import BlockingMethods
from airflow_provider_conductor.client.retry import Pace, policy
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.client.tls import tls_context
from airflow_provider_conductor.client.wire import Exchange, TransportFailure

__all__ = ["ConductorClient"]

T = TypeVar("T")

CHUNK = 65_536
"""Bytes of a body that are read at once."""


class ConductorClient(BlockingMethods):
    """One pooled session with one Conductor server; safe to share between threads.

    Args:
        settings: where the server is, or just its API address, or a ``Configuration`` of the Python SDK.
        sleep, clock, monotonic: replaced by tests; seconds, seconds since the epoch, seconds on a monotonic clock.

    A context manager; :meth:`close` gives the sockets back.
    """

    def __init__(
        self,
        settings: ConductorSettings | str | Any,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = ConductorSettings.of(settings)
        self.capabilities = Capabilities()
        self._exchange = Exchange(self.settings)
        self._tokens = self._exchange.tokens
        self._pace = Pace(self.settings.max_requests_per_second)
        self._token_lock = threading.Lock()
        self._sleep = sleep
        self._clock = clock
        self._monotonic = monotonic
        self._session = self._new_session()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings.api_url!r})"

    def __enter__(self) -> ConductorClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    def send(self, call: Call[T]) -> T:
        """Send one call, again where that is allowed and can help.

        Raises:
            ConductorRequestError: see :mod:`airflow_provider_conductor.client.errors`.
        """
        for attempt in Retrying(sleep=self._sleep, **policy(1 if call.once else self.settings.max_attempts)):
            with attempt:
                token = self._token(within=call.within)
                try:
                    return self._send_once(call, token)
                except ConductorRequestError as error:
                    if not (call.authenticated and self._tokens.can_renew(error)):
                        raise
                    renewed = self._token(refused=token, within=call.within)
                    if not renewed:
                        raise
                return self._send_once(call, renewed)
        raise AssertionError("the attempts end with a value or an error")

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow to its end and return its result; interrupted, the flow is closed."""
        now = steady(self._clock, self._monotonic)
        for step in (steps := Steps(flow)):
            with steps:
                if isinstance(step, Sleep):
                    self._sleep(step.seconds)
                else:
                    steps.reply = now() if isinstance(step, Now) else self.send(step)
        return steps.result

    def _token(self, *, refused: str | None = None, within: float | None = None) -> str:
        with self._token_lock:
            wanted = self._tokens.wanted(self._clock(), refused=refused)
            if wanted is not None:
                try:
                    self._tokens.accept(self._send_once(replace(wanted, within=within)), self._clock())
                except ConductorRequestError as error:
                    self._tokens.refused(error)
            return self._tokens.token

    def _send_once(self, call: Call[T], token: str = "") -> T:
        """One request, and those that its redirects lead to."""
        exchange = self._exchange
        url, hops = exchange.url(call), 0
        while True:
            if delay := self._pace.delay(self._monotonic()):
                self._sleep(delay)
            try:
                with self._session.request(
                    call.method,
                    url,
                    data=exchange.content(call),
                    headers=exchange.headers(call, token),
                    timeout=(exchange.connect_timeout(call), exchange.read_timeout(call)),
                    stream=True,
                ) as response:
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    body = exchange.body(call, response.status_code, headers.get("content-encoding", ""))
                    for chunk in response.raw.stream(CHUNK, decode_content=False):
                        if not body.feed(chunk):
                            break
                    answer = Answer(response.status_code, headers, body.end())
            except (BodyTooLargeError, BrokenBodyError) as error:
                raise exchange.bad_body(call, error) from None
            except (requests.RequestException, HTTPError, OSError, ValueError) as error:
                causes = _causes(error)
                raise exchange.no_answer(call, _failure(causes), _innermost(causes)) from exchange.cause(error)
            target = exchange.redirected(call, answer, url, hops)
            if target is None:
                return exchange.value(call, answer, self._monotonic())
            url, hops = target, hops + 1

    def _new_session(self) -> requests.Session:
        session = _Session()
        # The environment is read once, in Exchange: requests would do so for each request, and take a
        # password for this host from ~/.netrc.
        session.trust_env = False
        if self._exchange.proxy:
            session.proxies = {"http": self._exchange.proxy, "https": self._exchange.proxy}
        session.verify = self._exchange.ca_bundle if self.settings.verify_ssl else False
        if self.settings.api_url.startswith("https://"):
            # requests reports unusable files only with the first request, and as a broken connection.
            tls_context(self.settings, self._exchange.ca_bundle)
        if self.settings.client_cert:
            key = self.settings.client_key
            session.cert = (self.settings.client_cert, key) if key else self.settings.client_cert
        adapter = BoundedAdapter(pool_connections=2, pool_maxsize=16, max_retries=0)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session


class _Session(requests.Session):
    """Follows no redirect, and does not parse its target: Exchange does."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _causes(error: BaseException) -> list[BaseException]:
    """``error`` and everything it wraps: requests and urllib3 hide the cause in args, reason and __context__."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        item = waiting.pop()
        if isinstance(item, BaseException) and item not in found:
            found.append(item)
            waiting += [getattr(item, "reason", None), item.__cause__, item.__context__, *item.args]
    return found


def _failure(causes: list[BaseException]) -> TransportFailure:
    def among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if among(requests.exceptions.SSLError):
        return TransportFailure.TLS
    if among(NewConnectionError) or any(map(_is_refused_tunnel, causes)):
        return TransportFailure.CONNECT
    if among(requests.ConnectTimeout, ConnectTimeoutError):
        return TransportFailure.CONNECT_TIMEOUT
    if among(requests.ReadTimeout, ReadTimeoutError, TimeoutError):
        return TransportFailure.TIMEOUT
    return TransportFailure.NOT_HTTP if any(map(_is_not_http, causes)) else TransportFailure.BROKEN


def _is_not_http(cause: BaseException) -> bool:
    """A status line or head that cannot be read; http.client has connections that merely broke under it, too."""
    return isinstance(cause, HTTPException) and not isinstance(cause, (ConnectionError, IncompleteRead))


def _is_refused_tunnel(cause: BaseException) -> bool:
    """Whether a proxy refused CONNECT. requests' ProxyError also means a request that was lost behind a proxy."""
    return isinstance(cause, OSError) and str(cause).startswith("Tunnel connection failed")


def _innermost(causes: list[BaseException]) -> str:
    for cause in causes:
        text = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None)
        if isinstance(text, str) and text:
            return text
    return ""
