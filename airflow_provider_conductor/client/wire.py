"""Requests and answers as HTTP has them, without I/O: shared by both transports."""

from __future__ import annotations

import json
import os
import traceback
from enum import Enum
from typing import TypeVar
from urllib.parse import quote, urlencode

from airflow_provider_conductor import __version__
from airflow_provider_conductor.client.addresses import redirect_target
from airflow_provider_conductor.client.auth import TokenKeeper
from airflow_provider_conductor.client.body import (
    ACCEPTED,
    Body,
    BodyTooLargeError,
    BrokenBodyError,
    UnknownEncodingError,
)
from airflow_provider_conductor.client.cautions import log_cautions
from airflow_provider_conductor.client.error_answers import error_for_answer
from airflow_provider_conductor.client.errors import (
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
from airflow_provider_conductor.client.flow import Answer, Call
from airflow_provider_conductor.client.hiding import hide, url_secrets
from airflow_provider_conductor.client.proxies import environment_proxy
from airflow_provider_conductor.client.settings import ConductorSettings

__all__ = ["Exchange", "TransportFailure"]

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
    """How a transport may fail: the error that it means, and its message."""

    TLS = (ConductorTlsError, "the TLS handshake failed")
    CONNECT = (ConductorUnreachableError, "cannot connect")
    CONNECT_TIMEOUT = (ConductorUnreachableError, "no connection within {connect_timeout:g} s")
    TIMEOUT = (ConductorTimeoutError, "no answer within {read_timeout:g} s")
    NOT_HTTP = (NotConductorError, "the answer is not HTTP")
    BROKEN = (ConductorConnectionLostError, "the connection broke before the answer was complete")


class Exchange:
    """Writes requests for one server and reads its answers.

    Attributes:
        server: scheme, host and port, for messages.
        tokens: the token of this connection.
        proxy: URL of the proxy to use, from the settings or the environment, or None.
        ca_bundle: path of the CAs to trust, from the settings or the environment, or True for the usual ones.
    """

    def __init__(self, settings: ConductorSettings) -> None:
        self.settings = settings
        self.server = server_of(settings.api_url)
        self.tokens = TokenKeeper(settings)
        self.proxy = settings.proxy or environment_proxy(settings.api_url)
        self._proxy_secrets = url_secrets(self.proxy)
        log_cautions(settings)
        self._missing_since: dict[str, float | None] = {}
        """Routes that have answered: None, or since when they answer as if they were not there."""
        self.ca_bundle: str | bool = (
            settings.ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        )

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

    def redirected(self, call: Call[T], answer: Answer, url: str, hops: int) -> str | None:
        """The address to follow after this answer from ``url``, or None if it is no redirect.

        Raises:
            NotConductorError: the redirect leaves the API, or the call is not a plain read: a POST would be
                turned into a GET, and the token would be sent to another server.
        """
        if answer.status not in (301, 302, 303, 307, 308):
            return None
        target = redirect_target(self.settings.api_url, url, answer.headers.get("location", ""))
        if call.method != "GET" or not target.within_api or hops >= MAX_REDIRECTS:
            raise self._not_conductor(
                call,
                f"redirected to {target.shown}, which is not followed; if that is the API's address, put it into the "
                "connection",
                answer.status,
                repeatable=hops < MAX_REDIRECTS,
                carried_out=False,
            )
        return target.url

    def body(self, call: Call[T], status: int, encoding: str) -> Body:
        """What takes the body of an answer: up to the call's limit, or the beginning of an error's.

        Raises:
            NotConductorError: a compression that was not asked for.
        """
        try:
            if status >= 400:
                return Body(encoding, MAX_ERROR_BYTES, cut=True)
            return Body(encoding, call.max_bytes)
        except UnknownEncodingError:
            raise self.failed(
                call, NotConductorError, f"the answer is compressed by {encoding[:20]!r}, and gzip was asked for"
            ) from None

    def bad_body(self, call: Call[T], error: BodyTooLargeError | BrokenBodyError) -> ConductorRequestError:
        """The error for a body that could not be taken."""
        if isinstance(error, BodyTooLargeError):
            return self._not_conductor(
                call, f"the answer has more than {call.max_bytes:,} bytes, which is the limit", 200
            )
        return self.failed(call, ConductorConnectionLostError, "the compressed answer cannot be read", str(error))

    def value(self, call: Call[T], answer: Answer, now: float) -> T:
        """The answer's value, or the error it means.

        Raises:
            ConductorAnswerError: an error of Conductor's.
            NotConductorError: an error of something in front of Conductor, or an answer that Conductor does not give.
        """
        if answer.status >= 400:
            raise self._error(call, answer, now)
        try:
            value = call.parse(answer)
        except MemoryError:
            raise
        except Exception as error:  # whatever it is, it concerns this answer alone
            kind = answer.headers.get("content-type", "no content type")
            html = answer.content.lstrip()[:1] == b"<"
            size = f"{len(answer.content)} bytes, {kind}"
            raise self._not_conductor(
                call,
                f"the answer is not a valid Conductor answer: {_words(error)} ({size})",
                answer.status,
                repeatable=html,  # a gateway's page, which may be temporary
            ) from None
        self._missing_since[call.route] = None
        return value

    def _error(self, call: Call[T], answer: Answer, now: float) -> ConductorRequestError:
        error = error_for_answer(
            method=call.method,
            path=call.path,
            server=self.server,
            status=answer.status,
            content=answer.content,
            safe_to_repeat=call.safe_to_repeat,
            retry_after=answer.retry_after,
            hide=self.hide,
        )
        if not isinstance(error, ConductorMissingRouteError):
            if isinstance(error, (ConductorNotFoundError, ConductorConflictError)):
                self._missing_since[call.route] = None
            return error
        if call.route not in self._missing_since:
            return error
        # It has answered before, so this may be another server behind a load balancer, or no Conductor at all. After a
        # while it is accepted: the server may have been replaced by an older one.
        since = self._missing_since[call.route] or now
        self._missing_since[call.route] = since
        if now - since >= BELIEVED_AFTER:
            del self._missing_since[call.route]
            return error
        return self._not_conductor(
            call, "answered as if it had no such endpoint, which has answered before", answer.status, repeatable=True
        )

    def _not_conductor(
        self, call: Call[T], message: str, status: int, *, repeatable: bool = False, carried_out: bool = True
    ) -> NotConductorError:
        """The error for an answer that Conductor does not give; ``carried_out``: the request may have been."""
        return NotConductorError(
            self.hide(message),
            method=call.method,
            path=call.path,
            server=self.server,
            status=status,
            repeatable=repeatable and call.safe_to_repeat,
            fate_unknown=carried_out and not call.safe_to_repeat,
        )

    def no_answer(self, call: Call[T], failure: TransportFailure, detail: str = "") -> ConductorRequestError:
        """The error for a transport's failure."""
        kind, message = failure.value
        limits = {"connect_timeout": self.connect_timeout(call), "read_timeout": self.read_timeout(call)}
        return self.failed(call, kind, message.format_map(limits), detail)

    def failed(
        self, call: Call[T], kind: type[ConductorRequestError], what: str, detail: str = ""
    ) -> ConductorRequestError:
        """The error for a request that got no answer; ``detail`` is the system's message."""
        nothing_sent = issubclass(kind, ConductorUnreachableError)
        return kind(
            self.hide(f"{what} ({detail})" if detail else what),
            method=call.method,
            path=call.path,
            server=self.server,
            repeatable=kind not in (ConductorTlsError, NotConductorError) and (nothing_sent or call.safe_to_repeat),
            fate_unknown=not (nothing_sent or call.safe_to_repeat),
        )

    def hide(self, text: str) -> str:
        """``text`` with ``***`` in place of every secret of the connection."""
        return hide(text, (*self.settings.secrets, *self._proxy_secrets, *self.tokens.secrets))

    def cause(self, error: BaseException) -> BaseException | None:
        """``error`` as the cause of ours, or None where its text, or its own causes', holds a secret."""
        text = "".join(traceback.format_exception(error))
        return error if self.hide(text) == text else None


def _words(error: Exception) -> str:
    return "it is nested too deeply for Python" if isinstance(error, RecursionError) else str(error) or repr(error)
