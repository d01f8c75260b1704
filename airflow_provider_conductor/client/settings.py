"""The settings of a connection to a Conductor server, checked once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from airflow_provider_conductor.client.errors import ConductorConfigError
from airflow_provider_conductor.client.extra import ExtraField, read_extra
from airflow_provider_conductor.client.hiding import header_secrets, is_secret_header, url_secrets
from airflow_provider_conductor.client.plain import is_sdk_configuration


def _extra(kind: str, default: Any, title: str, description: str, **options: Any) -> Any:
    """A setting that is also a key of a connection's extra; ``default`` is what the connection form shows."""
    metadata = {"kind": kind, "default": default, "title": title, "description": description}
    if kind == "headers":
        return field(default_factory=dict, metadata=metadata, repr=False)
    return field(default=() if kind == "hosts" else default, metadata=metadata, **options)


@dataclass(frozen=True, slots=True)
class ConductorSettings:
    """Address, key and options of a connection to a server.

    Args:
        api_url: address of the API, e.g. ``https://conductor.example.com/api``.
        key_id, key_secret: a key of a server with authentication; both empty for an open one.
        read_timeout: seconds, also for the complete answer.
        max_attempts: how often a request that is safe to repeat is sent, the first time included.
        payload_hosts: ``host``, ``host:port``, ``*.domain``, or one of these after ``http://``.

    All others mean what they mean in a connection's extra.

    Raises:
        ConductorConfigError: a setting that cannot be used, by name.
    """

    api_url: str
    key_id: str = ""
    key_secret: str = field(default="", repr=False)
    verify_ssl: bool = _extra("flag", True, "Verify TLS", "Check the server's certificate and host name.")
    ca_bundle: str | None = _extra("text", None, "CA bundle", "Path of a PEM file or folder with the CAs to trust.")
    client_cert: str | None = _extra(
        "text", None, "Client certificate", "Path of a PEM file with a client certificate."
    )
    client_key: str | None = _extra(
        "text", None, "Client key", "Path of the private key, if it is not in the certificate file."
    )
    proxy: str | None = _extra(
        "text", None, "Proxy", "URL of an HTTP proxy; if unset, the usual environment variables apply.", repr=False
    )
    headers: Mapping[str, str] = _extra("headers", None, "Headers", "JSON object of headers sent with every request.")
    secret_headers: Mapping[str, str] = _extra(
        "headers",
        None,
        "Secret headers",
        "The same for headers with a key or token, which Airflow's REST API hides.",
    )
    identity_prefix: str | None = _extra(
        "text", None, "Identity prefix", "Name of this Airflow, if several share one Conductor."
    )
    connect_timeout: float = _extra("number", 10.0, "Connect timeout", "Seconds to wait for a connection.")
    read_timeout: float = _extra("number", 60.0, "Read timeout", "Seconds to wait for an answer.")
    ui_url: str | None = _extra(
        "text", None, "UI address", "Base of links to Conductor's UI, if it is not the server's own address."
    )
    max_requests_per_second: float | None = _extra(
        "rate",
        None,
        "Max requests per second",
        "Limit for each process, including a triggerer with all its waits; if unset, no limit.",
    )
    completion_stream: bool = _extra(
        "flag",
        False,
        "Completion stream",
        "Learn of ended workflows from the server's event stream, if it has one, in addition to polling.",
    )
    payload_hosts: tuple[str, ...] = _extra(
        "hosts",
        None,
        "Payload hosts",
        "The only hosts to read stored outputs from, comma-separated; if unset, all but this machine and network.",
    )
    triggerer_reasons: bool = _extra(
        "flag",
        False,
        "Reasons in the triggerer",
        "Write workers' failure reasons into the triggerer's logs and events too, where Airflow masks few secrets.",
    )
    max_attempts: int = _extra("count", 5, "Max attempts", "How often a request that is safe to repeat is sent.")

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

    def workflow_url(self, workflow_id: str, task_ref: str = "") -> str:
        """The page of an execution in Conductor's UI; with the task selected, where that UI can (its ui-next)."""
        page = f"{self.ui_base}/execution/{quote(workflow_id, safe='')}"
        return f"{page}?taskReferenceName={quote(task_ref, safe='')}" if task_ref else page

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
            **read_extra(extra or {}, EXTRA_FIELDS),
        )

    @classmethod
    def of(cls, where: ConductorSettings | str | Any) -> ConductorSettings:
        """Settings as they are, or of an API address, or of a ``Configuration`` of the Python SDK.

        A ``Configuration`` is read by its attributes, without importing the SDK. The SDK itself honours only the first
        two of these:

        ======================================  =================================================
        ``host``                                ``api_url``
        ``authentication_settings``             ``key_id``, ``key_secret``
        ``verify_ssl``, ``ssl_ca_cert``         ``verify_ssl``, ``ca_bundle``
        ``cert_file``, ``key_file``             ``client_cert``, ``client_key``
        ``proxy``                               ``proxy``
        ======================================  =================================================

        Raises:
            ConductorConfigError: none of these, a setting that cannot be used, or a ``Configuration`` with an HTTP
                client of its own, which cannot be read.
        """
        if isinstance(where, ConductorSettings):
            return where
        if isinstance(where, str):
            return cls(where)
        if not is_sdk_configuration(where):
            raise ConductorConfigError(
                f"cannot make a connection of a {type(where).__name__}: give settings, the API's address, "
                "or a Configuration of Conductor's Python SDK"
            )
        for name in ("http_connection", "assert_hostname"):
            if getattr(where, name, None) is not None:
                raise ConductorConfigError(
                    f"the SDK's Configuration has a {name}, which cannot be adopted: "
                    "use a connection of type conductor, with verify_ssl, ca_bundle, proxy or headers"
                )
        key = where.authentication_settings
        return cls(
            api_url=where.host,
            key_id=(key and key.key_id) or "",
            key_secret=(key and key.key_secret) or "",
            verify_ssl=getattr(where, "verify_ssl", True) is not False,
            ca_bundle=getattr(where, "ssl_ca_cert", None) or None,
            client_cert=getattr(where, "cert_file", None) or None,
            client_key=getattr(where, "key_file", None) or None,
            proxy=getattr(where, "proxy", None) or None,
        )


EXTRA_FIELDS = tuple(ExtraField(item.name, **item.metadata) for item in fields(ConductorSettings) if item.metadata)
"""The keys of a connection's extra; the connection form, the docs and the check of unknown keys are made from them."""


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
