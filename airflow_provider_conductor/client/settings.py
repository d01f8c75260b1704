"""The settings of a connection to a Conductor server, checked once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from airflow_provider_conductor.client.errors import ConductorConfigError
from airflow_provider_conductor.client.extra import read_extra
from airflow_provider_conductor.client.hiding import header_secrets, is_secret_header, url_secrets
from airflow_provider_conductor.client.plain import is_sdk_configuration

__all__ = ["ConductorSettings"]


@dataclass(frozen=True, slots=True)
class ConductorSettings:
    """Address, key and options of a connection to a server.

    Args:
        api_url: address of the API, e.g. ``https://conductor.example.com/api``.
        key_id, key_secret: a key of a server with authentication; both empty for an open one.
        connect_timeout, read_timeout: seconds; ``read_timeout`` is also the limit for the complete answer.
        max_attempts: how often a request that is safe to repeat is sent, the first time included.
        max_requests_per_second: limit for each client; None for no limit.
        completion_stream: learn of ended workflows from the server's event stream, in addition to polling.
        triggerer_reasons: write workers' failure reasons into the triggerer's logs and events, too.
        secret_headers: sent like ``headers``; their values are kept out of logs and messages.
        payload_hosts: the only hosts that stored outputs are read from: ``host``, ``host:port``, ``*.domain``, or one
            of these after ``http://``; empty for any but this machine and its network.

    Raises:
        ConductorConfigError: a setting that cannot be used, by name.
    """

    api_url: str
    key_id: str = ""
    key_secret: str = field(default="", repr=False)
    verify_ssl: bool = True
    ca_bundle: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    identity_prefix: str | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    ui_url: str | None = None
    max_attempts: int = 5
    max_requests_per_second: float | None = None
    completion_stream: bool = False
    triggerer_reasons: bool = False
    payload_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_url", _api_url(self.api_url))
        if bool(self.key_id) != bool(self.key_secret):
            there, missing = ("login", "password") if self.key_id else ("password", "login")
            raise ConductorConfigError(
                f"the connection has a {there} but no {missing}: give key id (login) and key secret (password), "
                "or neither for a server without authentication"
            )
        for name in ("ca_bundle", "client_cert", "client_key"):
            path = getattr(self, name)
            if path and not os.path.exists(path):
                raise ConductorConfigError(f"{name}: the file {path!r} does not exist on this machine")
        if self.client_key and not self.client_cert:
            raise ConductorConfigError("client_key is set without client_cert")
        for name in ("ui_url", "proxy"):
            url = getattr(self, name)
            if url and urlsplit(url).scheme not in ("http", "https"):
                raise ConductorConfigError(f"{name} must begin with http:// or https://")

    @property
    def authenticated(self) -> bool:
        return bool(self.key_id)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may show: the key secret, secret headers, the proxy's password."""
        shown = {name: value for name, value in self.headers.items() if is_secret_header(name)}
        headers = {**shown, **self.secret_headers}
        return (*filter(None, (self.key_secret,)), *header_secrets(headers), *url_secrets(self.proxy))

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers that are sent with every request."""
        return {**self.headers, **self.secret_headers}

    @property
    def ui_base(self) -> str:
        """Base of links to the UI: ``ui_url``, or the API's address without its ``/api``."""
        return (self.ui_url or self.api_url.removesuffix("/api")).rstrip("/")

    def workflow_url(self, workflow_id: str) -> str:
        """The page of an execution in Conductor's UI."""
        return f"{self.ui_base}/execution/{quote(workflow_id, safe='')}"

    def definition_url(self, name: str, version: int) -> str:
        """The page of a workflow definition in Conductor's UI."""
        return f"{self.ui_base}/workflowDef/{quote(name, safe='')}/{version}"

    @classmethod
    def from_connection(
        cls,
        *,
        host: str | None,
        schema: str | None = None,
        port: int | None = None,
        login: str | None = None,
        password: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> ConductorSettings:
        """Read the fields of an Airflow connection.

        ============================================  ====================================
        host, schema, port                            API address
        ============================================  ====================================
        ``conductor``, None, 8080                     ``http://conductor:8080/api``
        ``conductor.example.com``, ``https``, None    ``https://conductor.example.com/api``
        ``conductor.example.com``, None, 443          ``https://conductor.example.com/api``
        ``https://x.orkesconductor.io``, -, -         ``https://x.orkesconductor.io/api``
        ``https://gate.example.com/c/api``, -, -      as it is
        ============================================  ====================================

        Raises:
            ConductorConfigError: no host, an unknown key in the extra, a value of the wrong kind.
        """
        return cls(
            api_url=_url_from_parts((host or "").strip(), (schema or "").strip(), port),
            key_id=login or "",
            key_secret=password or "",
            **read_extra(extra or {}),
        )

    @classmethod
    def of(cls, where: ConductorSettings | str | Any) -> ConductorSettings:
        """Settings as they are, or of an API address, or of a ``Configuration`` of the Python SDK.

        Raises:
            ConductorConfigError: none of these, or a setting that cannot be used.
        """
        if isinstance(where, ConductorSettings):
            return where
        if isinstance(where, str):
            return cls(where)
        return cls.from_sdk(where)

    @classmethod
    def from_sdk(cls, configuration: Any) -> ConductorSettings:
        """Read a ``Configuration`` of the Python SDK by its attributes, without importing the SDK.

        ======================================  =================================================
        ``host``                                ``api_url``
        ``authentication_settings``             ``key_id``, ``key_secret``
        ``verify_ssl``, ``ssl_ca_cert``         ``verify_ssl``, ``ca_bundle``
        ``cert_file``, ``key_file``             ``client_cert``, ``client_key``
        ``proxy``                               ``proxy``
        ======================================  =================================================

        The SDK itself reads only the first two; the others are honoured here.

        Raises:
            ConductorConfigError: no ``Configuration``, or one with an HTTP client of its own, which cannot be read.
        """
        if not is_sdk_configuration(configuration):
            raise ConductorConfigError(
                f"cannot make a connection of a {type(configuration).__name__}: give settings, the API's address, "
                "or a Configuration of Conductor's Python SDK"
            )
        for name in ("http_connection", "assert_hostname"):
            if getattr(configuration, name, None) is not None:
                raise ConductorConfigError(
                    f"the SDK's Configuration has a {name}, which cannot be adopted: "
                    "use a connection of type conductor, with verify_ssl, ca_bundle, proxy or headers"
                )
        key = configuration.authentication_settings
        return cls(
            api_url=configuration.host,
            key_id=(key and key.key_id) or "",
            key_secret=(key and key.key_secret) or "",
            verify_ssl=getattr(configuration, "verify_ssl", True) is not False,
            ca_bundle=getattr(configuration, "ssl_ca_cert", None) or None,
            client_cert=getattr(configuration, "cert_file", None) or None,
            client_key=getattr(configuration, "key_file", None) or None,
            proxy=getattr(configuration, "proxy", None) or None,
        )


def _url_from_parts(host: str, schema: str, port: int | None) -> str:
    if not host:
        raise ConductorConfigError("the connection has no host: give the server's host name, or its whole URL")
    if "%3A%2F%2F" in host.upper():  # a whole URL inside a connection URI arrives quoted on some versions
        host = unquote(host)
    if "://" in host:
        parts = _split(host)
        if port and not parts.port and parts.hostname and not parts.username:
            return parts._replace(netloc=f"{parts.netloc}:{port}").geturl()
        return host
    if not schema:
        schema = "https" if port == 443 else "http"
    if schema not in ("http", "https"):
        raise ConductorConfigError(f"the connection's schema must be http or https, not {schema!r}")
    name, slash, path = host.partition("/")
    if name.count(":") > 1 and not name.startswith("["):
        name = f"[{name}]"
    default = {"http": 80, "https": 443}[schema]
    where = name if port in (None, default) or ":" in name.rpartition("]")[2] else f"{name}:{port}"
    return f"{schema}://{where}{slash}{path}"


def _api_url(url: str) -> str:
    """A whole API address without a trailing slash; ``/api`` is added where there is no path."""
    parts = _split(url.strip())
    if parts.scheme not in ("http", "https") or not _is_host(parts.hostname) or parts.port == 0:
        raise ConductorConfigError("the server's address must look like https://conductor.example.com:8080/api")
    if parts.username or parts.password:
        raise ConductorConfigError(
            "the server's address must not hold a user or password: put the key id into login, the secret into password"
        )
    if parts.query or parts.fragment:
        raise ConductorConfigError("the server's address must not have a query or fragment (? or #)")
    return parts._replace(path=parts.path.rstrip("/") or "/api").geturl()


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is what finds a wrong one
    except ValueError:
        # urlsplit's own message quotes the address, which may contain a password.
        raise ConductorConfigError("the server's address cannot be read: is its host or port misspelt?") from None
    return parts


def _is_host(name: str | None) -> bool:
    """Whether a resolver takes it: no empty and no overlong part."""
    try:
        return bool(name and name.encode("idna"))
    except UnicodeError:
        return False
