"""The blocking client, on requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.client import HTTPException, IncompleteRead
from types import TracebackType
from typing import Any, TypeVar

import requests
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

from airflow_provider_conductor.client.bounded import BoundedAdapter
from airflow_provider_conductor.client.flow import Answer, Call, Flow, Sleep, drive
from airflow_provider_conductor.client.flows import Capabilities
from airflow_provider_conductor.client.methods import BlockingMethods
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.client.wire import Exchange, Locked, Transmission, TransportFailure, WireStep

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
        self._exchange = Exchange(self.settings, clock, monotonic)
        self._lock = threading.Lock()
        self._sleep = sleep
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
        return drive(self._exchange.send(call), self._do)

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow to its end and return its result; interrupted, the flow is closed."""
        return drive(self._exchange.run(flow), self._do)

    def _do(self, step: WireStep) -> Any:
        match step:
            case Sleep():
                return self._sleep(step.seconds)
            case Locked():
                with self._lock:
                    return drive(step.flow, self._do)
            case Transmission():
                return self._transmit(step)
        raise TypeError(f"not a step: {step!r}")  # "yield" where "yield from" was meant

    def _transmit(self, sent: Transmission) -> Answer:
        exchange, call = self._exchange, sent.call
        try:
            with self._session.request(
                call.method,
                sent.url,
                data=exchange.content(call),
                headers=exchange.headers(call, sent.token),
                timeout=(exchange.connect_timeout(call), exchange.read_timeout(call)),
                stream=True,
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                body = exchange.body(call, response.status_code, headers.get("content-encoding", ""))
                for chunk in response.raw.stream(CHUNK, decode_content=False):
                    if not body.feed(chunk):
                        break
                return Answer(response.status_code, headers, body.end())
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            causes = _causes(error)
            raise exchange.no_answer(call, _failure(causes), _innermost(causes)) from exchange.cause(error)

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
            self._exchange.tls_context()
        if self.settings.client_cert:
            key = self.settings.client_key
            session.cert = (self.settings.client_cert, key) if key else self.settings.client_cert
        adapter = BoundedAdapter(pool_connections=2, pool_maxsize=16)
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
