"""Fetching an output that the server keeps in its external payload storage (S3, Azure, Postgres …)."""

from __future__ import annotations

import json
import socket
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from airflow_provider_conductor.client.addresses import (
    OWN_STORAGE,
    address_of,
    may_connect,
    own_payload_path,
    refusal,
)
from airflow_provider_conductor.client.body import (
    ACCEPTED,
    Body,
    BodyTooLargeError,
    BrokenBodyError,
    UnknownEncodingError,
)
from airflow_provider_conductor.client.bounded import BoundedAdapter
from airflow_provider_conductor.client.endpoints import get_external_storage_location
from airflow_provider_conductor.client.errors import (
    ConductorAnswerError,
    ConductorAuthError,
    ConductorBadRequestError,
    ConductorConnectionLostError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorServerError,
    NotConductorError,
    PayloadNotOfferedError,
    server_of,
)
from airflow_provider_conductor.client.flow import Call, Flow, ask
from airflow_provider_conductor.client.models import PayloadType
from airflow_provider_conductor.client.proxies import environment_proxy
from airflow_provider_conductor.client.retry import repeat
from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.client.sync import ConductorClient
from airflow_provider_conductor.client.wire import Exchange

MAX_PAYLOAD_BYTES = 256 * 1024 * 1024
"""Most that is read of one payload, after decompression; a stock server stores none over 10 MiB."""

MISSING = "Data with this ID does not exist"
"""How the message begins that a server on Postgres answers, with status 200, in a missing payload's place (3.32.2)."""

KINDS: dict[int, type[ConductorAnswerError]] = {
    401: ConductorAuthError,
    403: ConductorAuthError,
    404: ConductorNotFoundError,
}


def fetch_payload(client: ConductorClient, path: str, payload_type: PayloadType) -> dict[str, Any]:
    """Read the payload that the server keeps at ``path`` of its storage.

    The address is the server's, signed and valid for seconds, so it is requested again for each attempt and never
    shown. It is on another host: neither the connection's token nor its headers or client certificate go there. Where
    the server keeps payloads in its own database, the address is below its API, and the client itself reads it.

    Raises:
        PayloadNotOfferedError: no address, not one of http or https, or behind it nothing or more than
            ``MAX_PAYLOAD_BYTES``.
        ConductorRequestError: the server or the storage was unreachable, or refused.
    """

    def attempt() -> Flow[dict[str, Any]]:
        try:
            uri = yield from ask(get_external_storage_location(path, payload_type))
            if own := own_payload_path(uri, client.settings.api_url):
                return _read((yield from _ask_server(own)), path)
        except ConductorMissingRouteError as error:
            raise PayloadNotOfferedError(str(error)) from error
        if not uri:
            raise PayloadNotOfferedError("this server's storage gives no address to read it from")
        refused = refusal(uri, client.settings)
        if refused:
            raise PayloadNotOfferedError(refused)
        return _read(_download(client, uri, path), path)

    return client.run(repeat(attempt, client.settings.max_attempts))


def _ask_server(own_path: str) -> Flow[bytes]:
    """Read a payload that the server hands out itself."""
    call = Call(
        "GET",
        own_path,
        lambda answer: answer.content,
        safe_to_repeat=True,
        once=True,
        max_bytes=MAX_PAYLOAD_BYTES,
        template=OWN_STORAGE,
    )
    try:
        return (yield from ask(call))
    except NotConductorError as error:
        if error.status == 200:  # whatever the content is: there is too much of it
            raise PayloadNotOfferedError(f"it has over {MAX_PAYLOAD_BYTES:,} bytes") from None
        raise


def _download(client: ConductorClient, uri: str, path: str) -> bytes:
    settings = client.settings
    with requests.Session() as session:
        session.trust_env = False  # a password for this host in ~/.netrc is none of its business
        proxy = settings.proxy or environment_proxy(uri)
        # The name may have got another address since it was checked; behind a proxy, which one is not known here.
        adapter = BoundedAdapter() if proxy else BoundedAdapter(lambda found: _check(found, uri, settings))
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        try:
            with session.get(
                uri,
                headers={"Accept": "application/json", "Accept-Encoding": ACCEPTED},
                timeout=(settings.connect_timeout, settings.read_timeout),
                allow_redirects=False,
                proxies={"http": proxy, "https": proxy} if proxy else {},
                verify=Exchange(settings).ca_bundle if settings.verify_ssl else False,
                stream=True,
            ) as response:
                if response.status_code != 200:
                    raise _refused(response.status_code, uri, path)
                body = Body(response.headers.get("Content-Encoding", ""), MAX_PAYLOAD_BYTES)
                for chunk in response.raw.stream(65_536, decode_content=False):
                    body.feed(chunk)
                return body.end()
        except BodyTooLargeError:
            raise PayloadNotOfferedError(f"it has over {MAX_PAYLOAD_BYTES:,} bytes") from None
        except UnknownEncodingError as error:
            raise PayloadNotOfferedError(f"it is compressed by {error}, and gzip was asked for") from None
        except _ForbiddenAddressError:
            raise PayloadNotOfferedError("its address has become one of the worker's own machine or network") from None
        except (BrokenBodyError, requests.RequestException, HTTPError, OSError) as error:
            # From None: these errors print the whole address with its signature.
            raise _error(
                ConductorConnectionLostError, f"the download broke off ({type(error).__name__})", uri, path
            ) from None


class _ForbiddenAddressError(Exception):
    """A connection came to an address that may not be connected to."""


def _check(connection: socket.socket, uri: str, settings: ConductorSettings) -> None:
    address = address_of(str(connection.getpeername()[0]))
    if address is None or not may_connect(address, uri, settings):
        connection.close()
        raise _ForbiddenAddressError


def _refused(status: int, uri: str, path: str) -> ConductorRequestError:
    if status < 400:
        return _error(NotConductorError, "the storage did not answer with a payload", uri, path, status)
    temporary = status >= 500 or status in (408, 429)
    kind = ConductorServerError if temporary else KINDS.get(status, ConductorBadRequestError)
    return _error(kind, "from the payload storage", uri, path, status)


def _error(
    kind: type[ConductorRequestError], message: str, uri: str, path: str, status: int | None = None
) -> ConductorRequestError:
    repeatable = issubclass(kind, (ConductorConnectionLostError, ConductorServerError))
    return kind(message, method="GET", path=path, server=server_of(uri), status=status, repeatable=repeatable)


def _read(content: bytes, path: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise NotConductorError(f"the payload that is stored at {path} is not a JSON object ({len(content)} bytes)")
    if value.keys() == {"Error"} and str(value["Error"]).startswith(MISSING):
        raise PayloadNotOfferedError("the server's storage does not have it, or no longer")
    return value
