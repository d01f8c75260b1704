"""What a request looks like on the wire and what its answer means, without I/O: shared by both transports."""

from __future__ import annotations

import json
import os
from typing import TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_provider_conductor import __version__
from airflow_provider_conductor.client.call import Answer, Call
from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorRequestError,
    ConductorTlsError,
    ConductorUnreachable,
    NotConductorError,
    error_for_answer,
    server_of,
)
from airflow_provider_conductor.client.settings import ConductorSettings

__all__ = ["Exchange"]

T = TypeVar("T")

TOKEN_HEADER = "X-Authorization"

MAX_REDIRECTS = 3
"""Hops followed for a read on the same server; more is a loop."""

HOLD_MARGIN = 5.0
"""Seconds the read time-out of a held request is longer than the hold, at least."""


class Exchange:
    """Writes requests for one server and reads its answers.

    Attributes:
        server: scheme, host and port, for messages.
        proxy: URL of the proxy to use, from the settings or the environment, or None.
        ca_bundle: path of the CAs to trust, from the settings or the environment, or True for the usual ones.
    """

    def __init__(self, settings: ConductorSettings) -> None:
        self.settings = settings
        self.server = server_of(settings.api_url)
        self.proxy = settings.proxy or _environment_proxy(settings.api_url)
        self.ca_bundle: str | bool = (
            settings.ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        )

    def url(self, call: Call[T]) -> str:
        return (
            self.settings.api_url + call.path + (f"?{urlencode(call.params, quote_via=quote)}" if call.params else "")
        )

    def headers(self, call: Call[T], token: str) -> dict[str, str]:
        headers = {
            "Accept": "application/json, text/plain",
            "User-Agent": f"airflow-provider-conductor/{__version__}",
            **self.settings.headers,
        }
        if call.body is not None:
            headers["Content-Type"] = "text/plain; charset=utf-8" if isinstance(call.body, str) else "application/json"
        return headers | {TOKEN_HEADER: token} if token else headers

    def content(self, call: Call[T]) -> bytes | None:
        if call.body is None:
            return None
        return call.body.encode() if isinstance(call.body, str) else json.dumps(call.body).encode()

    def read_timeout(self, call: Call[T]) -> float:
        """Seconds for the whole answer; longer than the hold the call asks for, and no more than its caller has."""
        limit = max(self.settings.read_timeout, call.hold + HOLD_MARGIN) if call.hold else self.settings.read_timeout
        return limit if call.within is None else min(limit, call.within)

    def connect_timeout(self, call: Call[T]) -> float:
        """Seconds for a connection."""
        limit = self.settings.connect_timeout
        return limit if call.within is None else min(limit, call.within)

    def redirected(self, call: Call[T], answer: Answer, url: str, hops: int) -> str | None:
        """Where to read on after ``url`` gave this answer, or None for one that is no redirect.

        Raises:
            NotConductorError: the redirect leaves the server, or the call is not a plain read: a POST would be
                turned into a GET, and the token would be shown to a stranger.
        """
        if answer.status not in (301, 302, 303, 307, 308):
            return None
        try:
            target = urljoin(url, answer.headers.get("location", ""))
            server = server_of(target)
        except ValueError:
            target = server = "an address that cannot be read"
        if call.method != "GET" or server != self.server or hops >= MAX_REDIRECTS:
            raise NotConductorError(
                f"redirected to {server}{urlsplit(target).path if server != target else ''}, which is not followed; "
                "if that is the API's address, put it into the connection",
                method=call.method,
                path=call.path,
                server=self.server,
                status=answer.status,
            )
        return target

    def value(self, call: Call[T], answer: Answer) -> T:
        """The answer's value, or the error it means.

        Raises:
            ConductorAnswerError: an error status.
            NotConductorError: a success that is not one Conductor gives.
        """
        if answer.status >= 400:
            raise error_for_answer(
                method=call.method,
                path=call.path,
                server=self.server,
                status=answer.status,
                content=answer.content,
                safe_to_repeat=call.safe_to_repeat,
                retry_after=answer.retry_after,
            )
        try:
            return call.parse(answer)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            kind = answer.headers.get("content-type", "no content type")
            raise NotConductorError(
                f"the answer is not one Conductor gives: {error} ({len(answer.content)} bytes, {kind})",
                method=call.method,
                path=call.path,
                server=self.server,
                status=answer.status,
                fate_unknown=not call.safe_to_repeat,
            ) from None

    def failed(
        self, call: Call[T], kind: type[ConductorRequestError], what: str, detail: str = ""
    ) -> ConductorRequestError:
        """The error for a request that got no answer; ``detail`` is the system's word on it."""
        nothing_sent = issubclass(kind, ConductorUnreachable)
        return kind(
            f"{what} ({detail})" if detail else what,
            method=call.method,
            path=call.path,
            server=self.server,
            repeatable=kind not in (ConductorTlsError, NotConductorError) and (nothing_sent or call.safe_to_repeat),
            fate_unknown=not (nothing_sent or call.safe_to_repeat),
        )

    def token_was_refused(self, call: Call[T], error: Exception, token: str) -> bool:
        """Whether fetching a new token and sending once more can help."""
        return bool(token) and call.authenticated and isinstance(error, ConductorAuthError)


def _environment_proxy(url: str) -> str | None:
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy
