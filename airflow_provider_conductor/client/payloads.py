"""Fetching an output that the server keeps in its external payload storage (S3, Azure, Postgres …)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.utils import get_environ_proxies
from tenacity import Retrying
from urllib3.exceptions import HTTPError

from airflow_provider_conductor.client.bounded import BoundedAdapter
from airflow_provider_conductor.client.endpoints import get_external_storage_location
from airflow_provider_conductor.client.errors import (
    ConductorAnswerError,
    ConductorAuthError,
    ConductorBadRequest,
    ConductorConnectionLost,
    ConductorError,
    ConductorNotFound,
    ConductorRequestError,
    ConductorServerError,
    MissingRoute,
    NotConductorError,
    server_of,
)
from airflow_provider_conductor.client.exchange import Exchange
from airflow_provider_conductor.client.models import PayloadType
from airflow_provider_conductor.client.retrying import policy
from airflow_provider_conductor.client.sync import ConductorClient

__all__ = ["MAX_PAYLOAD_BYTES", "PayloadNotOffered", "fetch_payload"]

MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
"""Most that is read of one payload; a stock server stores none over 10 MiB."""


class PayloadNotOffered(ConductorError):
    """The server gives no address that this client may read, or one that holds too much."""


def fetch_payload(
    client: ConductorClient,
    path: str,
    payload_type: PayloadType,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Read the payload that the server keeps at ``path`` of its storage.

    The address is the server's, signed and good for seconds, so it is asked for anew with each attempt and never
    shown. It is another host's: neither the connection's token nor its headers or client certificate go there.

    Raises:
        PayloadNotOffered: no address, not one of http or https, or more than ``MAX_PAYLOAD_BYTES`` behind it.
        ConductorRequestError: the server or the storage could not be asked, or refused.
    """

    def attempt() -> dict[str, Any]:
        try:
            uri = client.send(get_external_storage_location(path, payload_type))
        except MissingRoute as error:
            raise PayloadNotOffered(str(error)) from error
        if not uri:
            raise PayloadNotOffered("this server's storage gives no address to read it from")
        if urlsplit(uri).scheme not in ("http", "https"):
            raise PayloadNotOffered(f"this server gives an address of {urlsplit(uri).scheme or 'no scheme'}, not http")
        return _read(_download(client, uri, path), path)

    return Retrying(sleep=sleep, **policy(client.settings.max_attempts))(attempt)


def _download(client: ConductorClient, uri: str, path: str) -> bytes:
    settings = client.settings
    with requests.Session() as session:
        session.trust_env = False  # a password for this host in ~/.netrc is none of its business
        adapter = BoundedAdapter(max_retries=0)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else get_environ_proxies(uri)
        content = bytearray()
        try:
            with session.get(
                uri,
                headers={"Accept": "application/json"},
                timeout=(settings.connect_timeout, settings.read_timeout),
                allow_redirects=False,
                proxies=proxies,
                verify=Exchange(settings).ca_bundle if settings.verify_ssl else False,
                stream=True,
            ) as response:
                if response.status_code != 200:
                    raise _refused(response.status_code, uri, path)
                for chunk in response.iter_content(65_536):
                    content += chunk
                    if len(content) > MAX_PAYLOAD_BYTES:
                        raise PayloadNotOffered(f"it has over {MAX_PAYLOAD_BYTES:,} bytes")
        except (requests.RequestException, HTTPError, OSError) as error:
            # From None: these errors print the whole address with its signature.
            raise _error(
                ConductorConnectionLost, f"the download broke off ({type(error).__name__})", uri, path
            ) from None
    return bytes(content)


def _refused(status: int, uri: str, path: str) -> ConductorRequestError:
    kind: type[ConductorAnswerError]
    if status >= 500 or status in (408, 429):
        kind = ConductorServerError
    elif status in (401, 403):
        kind = ConductorAuthError
    elif status == 404:
        kind = ConductorNotFound
    elif status >= 400:
        kind = ConductorBadRequest
    else:
        return _error(NotConductorError, "the storage's answer is no payload", uri, path, status)
    return _error(kind, "from the payload storage", uri, path, status)


def _error(
    kind: type[ConductorRequestError], message: str, uri: str, path: str, status: int | None = None
) -> ConductorRequestError:
    repeatable = issubclass(kind, (ConductorConnectionLost, ConductorServerError))
    return kind(message, method="GET", path=path, server=server_of(uri), status=status, repeatable=repeatable)


def _read(content: bytes, path: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise NotConductorError(f"what the storage keeps at {path} is no JSON object ({len(content)} bytes)")
    return value
