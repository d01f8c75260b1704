"""The asyncio client, on aiohttp: what triggers wait with."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
from multidict import CIMultiDictProxy
from tenacity import AsyncRetrying
from yarl import URL

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.body import BodyTooLargeError, BrokenBodyError
from airflow_provider_conductor.client.errors import ConductorRequestError, ConductorTimeoutError
from airflow_provider_conductor.client.flow import Answer, Call, Flow, Now, Sleep, Steps, steady
from airflow_provider_conductor.client.flows import Capabilities
from airflow_provider_conductor.client.large_json import LARGE, loads_in_steps
from airflow_provider_conductor.client.methods import AsyncMethods
from airflow_provider_conductor.client.retry import Pace, policy
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.client.tls import tls_context
from airflow_provider_conductor.client.wire import Exchange, TransportFailure

__all__ = ["AsyncConductorClient"]

T = TypeVar("T")

POOL = 24
"""Connections of a client's requests: eight each for the shared poller, for waits' own polls, and for their last."""

SILENCE = 45.0
"""Seconds without a byte after which an event stream is dead: the server's heartbeat comes every 15 s."""

ANSWER_LIMIT = 65_536
"""Bytes read of an answer that is no stream."""

PIECE = 8_192
"""Bytes of a body that are taken at once; compressed, 8 MB."""

PAUSE_AFTER = 1_000_000
"""Bytes of a body after which the event loop gets its turn."""


class AsyncConductorClient(AsyncMethods):
    """One pooled session with one Conductor server, inside one event loop.

    Args:
        settings: where the server is, or just its API address, or a ``Configuration`` of the Python SDK.
        sleep, clock, monotonic: replaced by tests; seconds, seconds since the epoch, seconds on a monotonic clock.

    An async context manager; :meth:`close` gives the sockets back.
    """

    def __init__(
        self,
        settings: ConductorSettings | str | Any,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = ConductorSettings.of(settings)
        self.capabilities = Capabilities()
        self._exchange = Exchange(self.settings)
        self._tokens = self._exchange.tokens
        self._token_lock = asyncio.Lock()
        self._pace = Pace(self.settings.max_requests_per_second)
        self._sleep = sleep
        self._clock = clock
        self._monotonic = monotonic
        self._session: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None
        self._tls_context: ssl.SSLContext | bool | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings.api_url!r})"

    async def __aenter__(self) -> AsyncConductorClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        for session in (self._session, self._streams):
            if session is not None:
                await session.close()
        self._session = self._streams = None

    async def send(self, call: Call[T]) -> T:
        """Send one call, repeating it where that is allowed and can help.

        Raises:
            ConductorRequestError: see :mod:`airflow_provider_conductor.client.errors`.
        """
        retrying = AsyncRetrying(sleep=self._sleep, **policy(1 if call.once else self.settings.max_attempts))
        try:
            # The token's request, and others' that stand in its way, are within the caller's time, too.
            async with asyncio.timeout(call.within):
                async for attempt in retrying:
                    with attempt:
                        token = await self._token()
                        try:
                            return await self._send_once(call, token)
                        except ConductorRequestError as error:
                            if not (call.authenticated and self._tokens.can_renew(error)):
                                raise
                            renewed = await self._token(refused=token)
                            if not renewed:
                                raise
                        return await self._send_once(call, renewed)
        except TimeoutError as error:
            raise self._exchange.no_answer(call, TransportFailure.TIMEOUT) from error
        raise AssertionError("the attempts end with a value or an error")

    async def run(self, flow: Flow[T]) -> T:
        """Drive a flow to its end and return its result; cancelled, the flow is closed."""
        now = steady(self._clock, self._monotonic)
        for step in (steps := Steps(flow)):
            with steps:
                if isinstance(step, Sleep):
                    await self._sleep(step.seconds)
                else:
                    steps.reply = now() if isinstance(step, Now) else await self.send(step)
        return steps.result

    async def listen(self, workflow_id: str) -> AsyncGenerator[str, None]:
        """The kinds of events in the server's stream of this workflow (``done``, ``error`` …), "" when it opens.

        It continues until the server ends it. Servers before 3.32 have no such stream.

        Raises:
            ConductorMissingRouteError, ConductorNotFoundError: no such endpoint; no such workflow.
            ConductorTimeoutError: nothing for :data:`SILENCE`, not even the server's heartbeat.
            ConductorRequestError: any other failure; nothing is repeated.
        """
        call = endpoints.event_stream(workflow_id)
        token = await self._token()
        session = self._open_streams()
        headers = self._exchange.headers(call, token) | {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        try:
            async with session.get(
                URL(self._exchange.url(call), encoded=True),
                headers=headers,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self.settings.connect_timeout, sock_read=SILENCE
                ),
                allow_redirects=False,
                proxy=self._exchange.proxy,
            ) as response:
                if response.status != 200 or response.content_type != "text/event-stream":
                    content = await response.content.read(ANSWER_LIMIT)
                    answer = Answer(response.status, _lowered(response.headers), content)
                    self._exchange.value(call, answer, self._monotonic())
                yield ""
                async for line in response.content:
                    if line.startswith(b"event:"):
                        yield line[6:].decode(errors="replace").strip()
        except aiohttp.SocketTimeoutError as error:
            raise self._exchange.failed(call, ConductorTimeoutError, f"nothing came for {SILENCE:g} s") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._exchange.no_answer(call, *_failure(error)) from self._exchange.cause(error)

    async def _token(self, *, refused: str | None = None) -> str:
        async with self._token_lock:
            wanted = self._tokens.wanted(self._clock(), refused=refused)
            if wanted is not None:
                try:
                    self._tokens.accept(await self._send_once(wanted), self._clock())
                except ConductorRequestError as error:
                    self._tokens.refused(error)
            return self._tokens.token

    async def _send_once(self, call: Call[T], token: str = "") -> T:
        """One request, and those that its redirects lead to."""
        exchange, session = self._exchange, self._open_session()
        url, hops, limit = exchange.url(call), 0, exchange.read_timeout(call)
        timeout = aiohttp.ClientTimeout(
            total=limit + self.settings.connect_timeout if call.within is None else limit,
            sock_connect=exchange.connect_timeout(call),
        )
        while True:
            if delay := self._pace.delay(self._monotonic()):
                await self._sleep(delay)
            try:
                async with session.request(
                    call.method,
                    URL(url, encoded=True),
                    data=exchange.content(call),
                    headers=exchange.headers(call, token),
                    timeout=timeout,
                    allow_redirects=False,
                    proxy=exchange.proxy,
                ) as response:
                    content = await self._read(call, response)
            except (BodyTooLargeError, BrokenBodyError) as error:
                raise exchange.bad_body(call, error) from None
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise exchange.no_answer(call, *_failure(error)) from exchange.cause(error)
            answer = Answer(response.status, _lowered(response.headers), content)
            if len(content) >= LARGE and "json" in answer.headers.get("content-type", ""):
                with contextlib.suppress(ValueError, RecursionError):  # raised again where the answer is read
                    answer = replace(answer, read=await asyncio.to_thread(loads_in_steps, content))
            target = exchange.redirected(call, answer, url, hops)
            if target is None:
                return exchange.value(call, answer, self._monotonic())
            url, hops = target, hops + 1

    async def _read(self, call: Call[Any], response: aiohttp.ClientResponse) -> bytes:
        body = self._exchange.body(call, response.status, response.headers.get("Content-Encoding", ""))
        read = 0
        async for chunk in response.content.iter_any():
            for start in range(0, len(chunk), PIECE):
                if not body.feed(chunk[start : start + PIECE]):
                    return body.end()
                if len(body) - read > PAUSE_AFTER:
                    read = len(body)
                    await asyncio.sleep(0)
        return body.end()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self._new_session(POOL)
        return self._session

    def _open_streams(self) -> aiohttp.ClientSession:
        """Streams are many and stay: in the pool of the requests they would leave no room."""
        if self._streams is None:
            self._streams = self._new_session(0)
        return self._streams

    def _new_session(self, limit: int) -> aiohttp.ClientSession:
        if self._tls_context is None:
            self._tls_context = self._tls()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit, ssl=self._tls_context),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        # aiohttp sends GET, PUT and DELETE again by itself after a lost answer, which is not its to decide:
        # a second poll takes a second task. There is no public switch.
        session._retry_connection = False
        return session

    def _tls(self) -> ssl.SSLContext | bool:
        encrypted = self.settings.api_url.startswith("https://")
        return tls_context(self.settings, self._exchange.ca_bundle) if encrypted else True


def _failure(error: Exception) -> tuple[TransportFailure, str]:
    """The kind of failure, and the system's message about it."""
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)) or _is_certificate_alert(error):
        failure = TransportFailure.TLS
    elif isinstance(error, aiohttp.ConnectionTimeoutError):
        failure = TransportFailure.CONNECT_TIMEOUT
    elif isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError)):
        failure = TransportFailure.CONNECT
    elif isinstance(error, (aiohttp.ClientResponseError, ValueError)):
        failure = TransportFailure.NOT_HTTP
    else:
        failure = TransportFailure.TIMEOUT if isinstance(error, TimeoutError) else TransportFailure.BROKEN
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    return failure, getattr(inner, "verify_message", None) or getattr(inner, "strerror", None) or ""


def _is_certificate_alert(error: BaseException) -> bool:
    """With TLS 1.3 a server refuses a certificate after the handshake, with the first bytes it sends."""
    cause = error.__cause__
    return isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or "")


def _lowered(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
