"""The asyncio client, on aiohttp: what triggers wait with."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
from yarl import URL

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.errors import ConductorTimeoutError
from airflow_provider_conductor.client.flow import UNREAD, Answer, Call, Flow, Now, Sleep, Step, drive_async, steady
from airflow_provider_conductor.client.flows import Capabilities
from airflow_provider_conductor.client.large_json import LARGE, loads_in_steps
from airflow_provider_conductor.client.methods import AsyncMethods
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.client.wire import Exchange, Locked, Transmission, TransportFailure, WireStep

T = TypeVar("T")

POOL = 24
"""Connections of a client's requests. A shared poller sets as many as its limits allow."""

SILENCE = 45.0
"""Seconds without a byte after which an event stream is dead: the server's heartbeat comes every 15 s."""

ANSWER_LIMIT = 65_536
"""Bytes read of an answer that is no stream."""

PIECE = 8_192
"""Bytes of a body that are taken at once; compressed, 8 MB."""

PAUSE_AFTER = 1_000_000
"""Bytes of a body after which the event loop gets its turn."""


class AsyncTransport:
    """One pooled session with one server, inside one event loop: what sends calls and drives flows.

    Args:
        exchange: what makes requests of calls, and values of answers.
        sleep: replaced by tests; seconds.

    Attributes:
        pool: connections of its requests; read when the first one is sent.

    An async context manager; :meth:`close` gives the sockets back.
    """

    def __init__(self, exchange: Exchange, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.settings = exchange.settings
        self.pool = POOL
        self._exchange = exchange
        self._lock = asyncio.Lock()
        self._sleep = sleep
        self._sessions: dict[int, aiohttp.ClientSession] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings.api_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        while self._sessions:
            await self._sessions.popitem()[1].close()

    async def send(self, call: Call[T]) -> T:
        """Send one call, repeating it where that is allowed and can help.

        Raises:
            ConductorRequestError: see :mod:`airflow_provider_conductor.client.errors`.
        """
        try:
            # The token's request, and others' that stand in its way, are within the caller's time, too.
            async with asyncio.timeout(call.within):
                return await drive_async(self._exchange.send(call), self._do)
        except TimeoutError as error:
            raise self._exchange.no_answer(call, TransportFailure.TIMEOUT) from error

    async def run(self, flow: Flow[T]) -> T:
        """Drive a flow to its end and return its result; cancelled, the flow is closed."""
        now = steady(self._exchange.clock, self._exchange.monotonic)

        async def do(step: Step) -> Any:
            return now() if isinstance(step, Now) else await self._do(step)

        return await drive_async(flow, do)

    async def _do(self, step: Step | WireStep) -> Any:
        match step:
            case Call():
                return await self.send(step)
            case Sleep():
                return await self._sleep(step.seconds)
            case Locked():
                async with self._lock:
                    return await drive_async(step.flow, self._do)
            case Transmission():
                return await self._transmit(step)
        raise TypeError(f"not a step: {step!r}")

    async def _transmit(self, sent: Transmission) -> Answer:
        exchange, call, limit = self._exchange, sent.call, self._exchange.read_timeout(sent.call)
        timeout = aiohttp.ClientTimeout(
            total=limit + self.settings.connect_timeout if call.within is None else limit,
            sock_connect=exchange.connect_timeout(call),
        )
        session = self._session(self.pool)
        try:
            async with session.request(
                call.method,
                URL(sent.url, encoded=True),
                data=exchange.content(call),
                headers=exchange.headers(call, sent.token),
                timeout=timeout,
                allow_redirects=False,
                proxy=exchange.proxy,
            ) as response:
                content = await self._read(call, response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise exchange.no_answer(call, *_failure(error)) from exchange.cause(error)
        read = UNREAD
        if len(content) >= LARGE and "json" in response.headers.get("Content-Type", ""):
            with contextlib.suppress(ValueError, RecursionError):  # raised again where the answer is read
                read = await asyncio.to_thread(loads_in_steps, content)
        return _answer(response, content, read)

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

    def _session(self, limit: int) -> aiohttp.ClientSession:
        """The session with a pool of so many connections, 0 for any number."""
        if limit not in self._sessions:
            encrypted = self.settings.api_url.startswith("https://")
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=limit, ssl=self._exchange.tls_context() if encrypted else True),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
            # aiohttp sends GET, PUT and DELETE again by itself after a lost answer, which is not its to decide:
            # a second poll takes a second task. There is no public switch.
            session._retry_connection = False
            self._sessions[limit] = session
        return self._sessions[limit]


class AsyncConductorClient(AsyncTransport, AsyncMethods):
    """The asyncio client of one Conductor server.

    Args:
        settings: where the server is, or just its API address, or a ``Configuration`` of the Python SDK.
        sleep, clock, monotonic: replaced by tests; seconds, seconds since the epoch, seconds on a monotonic clock.

    Attributes:
        pool: connections of its requests; read when the first one is sent.

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
        super().__init__(Exchange(ConductorSettings.of(settings), clock, monotonic), sleep)
        self.capabilities = Capabilities()

    async def listen(self, workflow_id: str) -> AsyncGenerator[str, None]:
        """The kinds of events in the server's stream of this workflow (``done``, ``error`` …), "" when it opens.

        It continues until the server ends it. Servers before 3.32 have no such stream.

        Raises:
            ConductorMissingRouteError, ConductorNotFoundError: no such endpoint; no such workflow.
            ConductorTimeoutError: nothing for :data:`SILENCE`, not even the server's heartbeat.
            ConductorRequestError: any other failure; nothing is repeated.
        """
        call, exchange = endpoints.event_stream(workflow_id), self._exchange
        headers = exchange.headers(call, await drive_async(exchange.token(), self._do))
        try:
            async with self._session(0).get(  # in the pool of the requests, so many that stay would leave no room
                URL(exchange.url(call), encoded=True),
                headers=headers | {"Accept": "text/event-stream", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self.settings.connect_timeout, sock_read=SILENCE
                ),
                allow_redirects=False,
                proxy=exchange.proxy,
            ) as response:
                if response.status != 200 or response.content_type != "text/event-stream":
                    exchange.value(call, _answer(response, await response.content.read(ANSWER_LIMIT)))
                yield ""
                async for line in response.content:
                    if line.startswith(b"event:"):
                        yield line[6:].decode(errors="replace").strip()
        except aiohttp.SocketTimeoutError as error:
            raise exchange.error(call, ConductorTimeoutError, f"nothing came for {SILENCE:g} s") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise exchange.no_answer(call, *_failure(error)) from exchange.cause(error)


def _answer(response: aiohttp.ClientResponse, content: bytes, read: Any = UNREAD) -> Answer:
    return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, content, read)


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
