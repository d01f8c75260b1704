"""The settings of a connection to a Conductor server, checked once.

``EXTRA_FIELDS`` is the one table of a connection's extra; the connection form, the docs and the check of unknown
keys are made from it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit

from airflow_provider_conductor.client.errors import ConductorConfigError
from airflow_provider_conductor.client.plain import is_sdk_configuration

__all__ = ["EXTRA_FIELDS", "ConductorSettings", "ExtraField"]


@dataclass(frozen=True, slots=True)
class ExtraField:
    """One key of a connection's extra."""

    name: str
    kind: Literal["text", "flag", "number", "rate", "count", "headers", "hosts"]
    default: Any
    title: str
    description: str


EXTRA_FIELDS: tuple[ExtraField, ...] = (
    ExtraField("verify_ssl", "flag", True, "Verify TLS", "Check the server's certificate and host name."),
    ExtraField("ca_bundle", "text", None, "CA bundle", "Path of a PEM file or folder with the CAs to trust."),
    ExtraField("client_cert", "text", None, "Client certificate", "Path of a PEM file with a client certificate."),
    ExtraField(
        "client_key", "text", None, "Client key", "Path of the private key, if it is not in the certificate file."
    ),
    ExtraField(
        "proxy", "text", None, "Proxy", "URL of an HTTP proxy; if unset, the usual environment variables apply."
    ),
    ExtraField("headers", "headers", None, "Headers", "JSON object of headers sent with every request."),
    ExtraField(
        "secret_headers",
        "headers",
        None,
        "Secret headers",
        "The same for headers with a key or token, which Airflow's REST API hides.",
    ),
    ExtraField(
        "identity_prefix", "text", None, "Identity prefix", "Name of this Airflow, if several share one Conductor."
    ),
    ExtraField("connect_timeout", "number", 10.0, "Connect timeout", "Seconds to wait for a connection."),
    ExtraField("read_timeout", "number", 60.0, "Read timeout", "Seconds to wait for an answer."),
    ExtraField(
        "ui_url", "text", None, "UI address", "Base of links to Conductor's UI, if it is not the server's own address."
    ),
    ExtraField(
        "max_requests_per_second",
        "rate",
        None,
        "Max requests per second",
        "Limit for each process, including a triggerer with all its waits; if unset, no limit.",
    ),
    ExtraField(
        "completion_stream",
        "flag",
        False,
        "Completion stream",
        "Learn of ended workflows from the server's event stream, if it has one, in addition to polling.",
    ),
    ExtraField(
        "payload_hosts",
        "hosts",
        None,
        "Payload hosts",
        "The only hosts to read stored outputs from, comma-separated; if unset, all but this machine and network.",
    ),
    ExtraField(
        "triggerer_reasons",
        "flag",
        False,
        "Reasons in the triggerer",
        "Write workers' failure reasons into the triggerer's logs and events too, where Airflow masks few secrets.",
    ),
    ExtraField("max_attempts", "count", 5, "Max attempts", "How often a request that is safe to repeat is sent."),
)


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
        from airflow_provider_conductor.client.hiding import header_secrets, is_secret_header, url_secrets

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
            **_checked_extra(extra or {}),
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


def _checked_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    known = {item.name: item for item in EXTRA_FIELDS}
    unknown = [key for key in extra if key not in known]
    if unknown:
        close = get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConductorConfigError(
            f"the connection's extra has unknown key(s) {', '.join(map(repr, unknown))}{hint or '.'} "
            f"Known keys: {', '.join(known)}"
        )
    return {key: _extra_value(known[key], value) for key, value in extra.items() if value is not None and value != ""}


def _extra_value(item: ExtraField, value: Any) -> Any:
    """``value`` as the field's kind; forms and URIs give everything as text."""
    try:
        match item.kind:
            case "text":
                if not isinstance(value, str):
                    raise ValueError("a text")
                return value.strip()
            case "flag":
                if isinstance(value, bool):
                    return value
                word = str(value).strip().lower()
                if word not in ("true", "false", "1", "0", "yes", "no"):
                    raise ValueError("true or false")
                return word in ("true", "1", "yes")
            case "number":
                if isinstance(value, bool) or not 0 < float(value) < float("inf"):
                    raise ValueError("a number of seconds above 0")
                return float(value)
            case "rate":
                if isinstance(value, bool) or not 0 < float(value) < float("inf"):
                    raise ValueError
                return float(value)
            case "count":
                if isinstance(value, bool) or float(value) != int(value) or int(value) < 1:
                    raise ValueError("a whole number from 1 on")
                return int(value)
            case "hosts":
                hosts = tuple(filter(None, re.split(r"[\s,]+", value))) if isinstance(value, str) else tuple(value)
                if not all(isinstance(host, str) and re.fullmatch(_HOST, host) for host in hosts):
                    raise ValueError
                return tuple(host.lower() for host in hosts)
            case "headers":
                pairs = json.loads(value) if isinstance(value, str) else value
                if not isinstance(pairs, Mapping) or not all(map(_is_header, pairs, pairs.values())):
                    raise ValueError
                return dict(pairs)
    except (ValueError, TypeError, OverflowError) as error:
        wanted = {
            "number": "a number of seconds above 0",
            "rate": "a number of requests per second above 0",
            "count": "a whole number from 1 on",
            "headers": "a JSON object of header names and texts of one line",
            "hosts": "comma-separated hosts, such as minio.example.com:9000, *.s3.amazonaws.com",
        }.get(item.kind, str(error))
        raise ConductorConfigError(f"the connection's extra {item.name!r} must be {wanted}") from None


_HOST = r"(?:https?://)?(?:\*\.)?(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?"
"""A host of ``payload_hosts``."""


def _is_header(name: Any, value: Any) -> bool:
    """Whether both transports can send it: a token, and printable latin-1 (or tabs) in one line."""
    return (
        isinstance(name, str)
        and isinstance(value, str)
        and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) is not None
        and re.fullmatch(r"[\t\x20-\x7e\xa0-\xff]*", value) is not None
    )
