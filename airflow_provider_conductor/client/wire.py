"""One request as a flow, from the call to the answer's value: the same for both transports, which do its steps."""

from __future__ import annotations

import json
import os
import ssl
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

from airflow_provider_conductor import __version__
from airflow_provider_conductor.client.addresses import redirect_target
from airflow_provider_conductor.client.auth import TokenKeeper
from airflow_provider_conductor.client.body import ACCEPTED, Body, BodyError, BrokenBodyError, UnknownEncodingError
from airflow_provider_conductor.client.cautions import log_cautions
from airflow_provider_conductor.client.error_answers import meaning_of
from airflow_provider_conductor.client.errors import (
    ConductorConfigError,
    ConductorConflictError,
    ConductorConnectionLostError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorTimeoutError,
    ConductorTlsError,
    ConductorUnreachableError,
    NotConductorError,
    server_of,
)
from airflow_provider_conductor.client.flow import Answer, Call, Flow, Now, Sleep, Steps, steady
from airflow_provider_conductor.client.hiding import hide, url_secrets
from airflow_provider_conductor.client.proxies import environment_proxy
from airflow_provider_conductor.client.retry import Pace, repeat
from airflow_provider_conductor.client.settings import ConductorSettings

T = TypeVar("T")

TOKEN_HEADER = "X-Authorization"

MAX_REDIRECTS = 3
"""Redirects followed for a read on the same server; more is a loop."""

HOLD_MARGIN = 5.0
"""Seconds the read timeout of a held request is longer than the hold, at least."""

MAX_ERROR_BYTES = 1024 * 1024
"""Bytes of an error's body that are read."""

BELIEVED_AFTER = 300.0
"""Seconds after which an endpoint that has answered before is taken as missing."""


class TransportFailure(Enum):
    """How a transport may fail: the error that it means, its message, and whether it may pass by itself."""

    TLS = (ConductorTlsError, "the TLS handshake failed", False)
    CONNECT = (ConductorUnreachableError, "cannot connect", True)
    CONNECT_TIMEOUT = (ConductorUnreachableError, "no connection within {connect_timeout:g} s", True)
    TIMEOUT = (ConductorTimeoutError, "no answer within {read_timeout:g} s", True)
    NOT_HTTP = (NotConductorError, "the answer is not HTTP", False)
    BROKEN = (ConductorConnectionLostError, "the connection broke before the answer was complete", True)


@dataclass(frozen=True, slots=True)
class Transmission:
    """Asks the transport for the answer to one HTTP request; redirects are not followed."""

    call: Call[Any]
    url: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Locked:
    """Asks the transport to run a flow while no other runs so on this connection."""

    flow: WireFlow[Any]


WireStep: TypeAlias = Transmission | Locked | Sleep
"""What a transport does for an exchange."""

WireFlow: TypeAlias = Generator[WireStep, Any, T]
"""A flow of these steps."""


class Exchange:
    """Sends requests to one server and reads its answers, without I/O.

    Attributes:
        server: scheme, host and port, for messages.
        tokens: the token of this connection.
        proxy: URL of the proxy to use, from the settings or the environment, or None.
        ca_bundle: path of the CAs to trust, from the settings or the environment, or True for the usual ones.
    """

    def __init__(
        self,
        settings: ConductorSettings,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.server = server_of(settings.api_url)
        self.tokens = TokenKeeper(settings)
        self.proxy = settings.proxy or environment_proxy(settings.api_url)
        self.ca_bundle: str | bool = (
            settings.ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        )
        self.clock = clock
        self.monotonic = monotonic
        self._pace = Pace(settings.max_requests_per_second)
        self._missing_since: dict[str, float | None] = {}
        """Routes that have answered: None, or since when they answer as if they were not there."""
        log_cautions(settings)

    def send(self, call: Call[T]) -> WireFlow[T]:
        """Send a call, again where that is allowed and can help, and with a new token where that may help."""

        def attempt() -> WireFlow[T]:
            token = yield from self.token(call.within)
            try:
                return (yield from self._send_once(call, token))
            except ConductorRequestError as error:
                if not (call.authenticated and self.tokens.can_renew(error)):
                    raise
                renewed = yield from self.token(call.within, refused=token)
                if not renewed:
                    raise
            return (yield from self._send_once(call, renewed))

        return repeat(attempt, 1 if call.once else self.settings.max_attempts)

    def run(self, flow: Flow[T]) -> WireFlow[T]:
        """A flow with its calls sent, and its clock read here."""
        now = steady(self.clock, self.monotonic)
        for step in (steps := Steps(flow)):
            with steps:
                if isinstance(step, Call):
                    steps.reply = yield from self.send(step)
                elif isinstance(step, Now):
                    steps.reply = now()
                else:
                    steps.reply = yield step
        return steps.result

    def token(self, within: float | None = None, *, refused: str | None = None) -> WireFlow[str]:
        """The token for the next request; one caller at a time asks for it, and gets it though it changes meanwhile."""
        flow = self.tokens.current(lambda call: self._send_once(replace(call, within=within)), self.clock, refused)
        token: str = yield Locked(flow)
        return token

    def _send_once(self, call: Call[T], token: str = "") -> WireFlow[T]:
        """One request, and those that its redirects lead to."""
        url, hops = self.url(call), 0
        while True:
            if delay := self._pace.delay(self.monotonic()):
                yield Sleep(delay)
            try:
                answer: Answer = yield Transmission(call, url, token)
            except BodyError as error:
                raise self._bad_body(call, error) from None
            target = self._redirected(call, answer, url, hops)
            if target is None:
                return self.value(call, answer)
            url, hops = target, hops + 1

    def tls_context(self) -> ssl.SSLContext:
        """The CAs to trust, and the client certificate.

        Raises:
            ConductorConfigError: a file that is missing or unusable.
        """
        settings, bundle = self.settings, self.ca_bundle
        try:
            if not isinstance(bundle, str):
                context = ssl.create_default_context()
            elif os.path.isdir(bundle):
                context = ssl.create_default_context(capath=bundle)
            else:
                context = ssl.create_default_context(cafile=bundle)
            if not settings.verify_ssl:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if settings.client_cert:
                context.load_cert_chain(settings.client_cert, settings.client_key)
        except (ssl.SSLError, OSError) as error:
            raise ConductorConfigError(f"the TLS files of the connection cannot be used: {error}") from error
        return context

    def url(self, call: Call[T]) -> str:
        # A lone surrogate (in a queue's name, for example) is sent as it is: the server answers that it is unknown.
        query = urlencode(call.params, quote_via=quote, errors="surrogatepass")
        return self.settings.api_url + call.path + (f"?{query}" if query else "")

    def headers(self, call: Call[T], token: str) -> dict[str, str]:
        own = {name: value for name, value in self.settings.all_headers.items() if name.lower() != "accept-encoding"}
        headers = {
            "Accept": "application/json, text/plain",
            "User-Agent": f"airflow-provider-conductor/{__version__}",
            **own,
            "Accept-Encoding": ACCEPTED,
        }
        if call.body is not None:
            headers["Content-Type"] = "text/plain; charset=utf-8" if isinstance(call.body, str) else "application/json"
        return headers | {TOKEN_HEADER: token} if token else headers

    def content(self, call: Call[T]) -> bytes | None:
        if call.body is None:
            return None
        return call.body.encode() if isinstance(call.body, str) else json.dumps(call.body).encode()

    def read_timeout(self, call: Call[T]) -> float:
        """Seconds for the complete answer: longer than the call's hold, and at most what its caller has."""
        limit = max(self.settings.read_timeout, call.hold + HOLD_MARGIN) if call.hold else self.settings.read_timeout
        return limit if call.within is None else min(limit, call.within)

    def connect_timeout(self, call: Call[T]) -> float:
        """Seconds for a connection."""
        limit = self.settings.connect_timeout
        return limit if call.within is None else min(limit, call.within)

    def body(self, call: Call[T], status: int, encoding: str) -> Body:
        """What takes the body of an answer: up to the call's limit, or the beginning of an error's."""
        return Body(encoding, MAX_ERROR_BYTES, cut=True) if status >= 400 else Body(encoding, call.max_bytes)

    def _bad_body(self, call: Call[T], error: BodyError) -> ConductorRequestError:
        if isinstance(error, BrokenBodyError):
            message = f"the compressed answer cannot be read ({error})"
            return self.error(call, ConductorConnectionLostError, message, passing=True)
        if isinstance(error, UnknownEncodingError):
            message = f"the answer is compressed by {str(error)[:20]!r}, and gzip was asked for"
            return self.error(call, NotConductorError, message)
        message = f"the answer has more than {call.max_bytes:,} bytes, which is the limit"
        return self.error(call, NotConductorError, message, 200)

    def no_answer(self, call: Call[T], failure: TransportFailure, detail: str = "") -> ConductorRequestError:
        """The error for a transport's failure; ``detail`` is the system's message."""
        kind, message, passing = failure.value
        message = message.format(connect_timeout=self.connect_timeout(call), read_timeout=self.read_timeout(call))
        return self.error(call, kind, f"{message} ({detail})" if detail else message, passing=passing)

    def _redirected(self, call: Call[T], answer: Answer, url: str, hops: int) -> str | None:
        """The address to follow after this answer from ``url``, or None if it is no redirect.

        Raises:
            NotConductorError: the redirect leaves the API, or the call is not a plain read: a POST would be
                turned into a GET, and the token would be sent to another server.
        """
        if answer.status not in (301, 302, 303, 307, 308):
            return None
        target = redirect_target(self.settings.api_url, url, answer.headers.get("location", ""))
        if call.method != "GET" or not target.url or hops >= MAX_REDIRECTS:
            message = (
                f"redirected to {target.shown}, which is not followed; if that is the API's address, put it into the "
                "connection"
            )
            passing = hops < MAX_REDIRECTS
            raise self.error(call, NotConductorError, message, answer.status, passing=passing, fate_unknown=False)
        return target.url

    def value(self, call: Call[T], answer: Answer) -> T:
        """The answer's value, or the error it means.

        Raises:
            ConductorAnswerError: an error of Conductor's.
            NotConductorError: an error of something in front of Conductor, or an answer that Conductor does not give.
        """
        if answer.status >= 400:
            raise self._error_answer(call, answer)
        try:
            value = call.parse(answer)
        except MemoryError:
            raise
        except Exception as error:  # whatever it is, it concerns this answer alone
            words = str(error) or repr(error)
            if isinstance(error, RecursionError):
                words = "it is nested too deeply for Python"
            size = f"{len(answer.content)} bytes, {answer.headers.get('content-type', 'no content type')}"
            message = f"the answer is not a valid Conductor answer: {words} ({size})"
            html = answer.content.lstrip()[:1] == b"<"  # a gateway's page, which may be temporary
            raise self.error(call, NotConductorError, message, answer.status, passing=html) from None
        self._missing_since[call.route] = None
        return value

    def _error_answer(self, call: Call[T], answer: Answer) -> ConductorRequestError:
        kind, message, passing, fate_unknown = meaning_of(answer.status, answer.content)
        if kind is ConductorMissingRouteError and call.route in self._missing_since:
            # It has answered before, so this may be another server behind a load balancer, or no Conductor at all.
            # After a while it is accepted: the server may have been replaced by an older one.
            now = self.monotonic()
            since = self._missing_since[call.route] or now
            self._missing_since[call.route] = since
            if now - since < BELIEVED_AFTER:
                message = "answered as if it had no such endpoint, which has answered before"
                return self.error(call, NotConductorError, message, answer.status, passing=True)
            del self._missing_since[call.route]
        elif issubclass(kind, (ConductorNotFoundError, ConductorConflictError)):
            self._missing_since[call.route] = None
        return self.error(
            call,
            kind,
            message,
            answer.status,
            passing=passing,
            fate_unknown=fate_unknown,
            retry_after=answer.retry_after,
        )

    def error(
        self,
        call: Call[T],
        kind: type[ConductorRequestError],
        message: str,
        status: int | None = None,
        *,
        passing: bool = False,
        fate_unknown: bool = True,
        retry_after: float | None = None,
    ) -> ConductorRequestError:
        """An error of this call. Whatever was not sent may be sent again, and has no fate.

        Args:
            passing: the same request may succeed a moment later.
            fate_unknown: the server may have carried the request out all the same.
        """
        nothing_sent = issubclass(kind, ConductorUnreachableError)
        return kind(
            self.hide(message),
            method=call.method,
            path=call.path,
            server=self.server,
            status=status,
            repeatable=passing and (nothing_sent or call.safe_to_repeat),
            fate_unknown=fate_unknown and not (nothing_sent or call.safe_to_repeat),
            retry_after=retry_after,
        )

    def hide(self, text: str) -> str:
        """``text`` with ``***`` in place of every secret of the connection."""
        return hide(text, (*self.settings.secrets, *url_secrets(self.proxy), *self.tokens.secrets))

    def cause(self, error: BaseException) -> BaseException | None:
        """``error`` as the cause of ours, or None where its text, or its own causes', holds a secret."""
        text = "".join(traceback.format_exception(error))
        return error if self.hide(text) == text else None
