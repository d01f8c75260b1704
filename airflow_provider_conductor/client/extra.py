"""The extra of a connection: what it may contain, and how each value is read.

``EXTRA_FIELDS`` is the one table; the connection form, the docs and the check of unknown keys are made from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from airflow_provider_conductor.client.errors import ConductorConfigError

__all__ = ["EXTRA_FIELDS", "ExtraField", "read_extra"]


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


def read_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an extra that are set, each as its field's kind.

    Raises:
        ConductorConfigError: an unknown key, or a value of the wrong kind.
    """
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


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value.strip()


def _flag(value: Any) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[str(value).strip().lower()]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not 0 < float(value) < float("inf"):
        raise ValueError
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(value) or int(value) < 1:
        raise ValueError
    return int(value)


def _headers(value: Any) -> dict[str, str]:
    pairs = json.loads(value) if isinstance(value, str) else value
    if not isinstance(pairs, Mapping) or not all(map(_is_header, pairs, pairs.values())):
        raise ValueError
    return dict(pairs)


def _hosts(value: Any) -> tuple[str, ...]:
    hosts = tuple(filter(None, re.split(r"[\s,]+", value))) if isinstance(value, str) else tuple(value)
    if not all(isinstance(host, str) and re.fullmatch(_HOST, host) for host in hosts):
        raise ValueError
    return tuple(host.lower() for host in hosts)


KINDS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "text": (_text, "a text"),
    "flag": (_flag, "true or false"),
    "number": (_number, "a number of seconds above 0"),
    "rate": (_number, "a number of requests per second above 0"),
    "count": (_count, "a whole number from 1 on"),
    "headers": (_headers, "a JSON object of header names and texts of one line"),
    "hosts": (_hosts, "comma-separated hosts, such as minio.example.com:9000, *.s3.amazonaws.com"),
}
"""How a value of each kind is read, and how an error describes the kind."""


def _extra_value(item: ExtraField, value: Any) -> Any:
    """``value`` as the field's kind; forms and URIs give everything as text."""
    read, wanted = KINDS[item.kind]
    try:
        return read(value)
    except (LookupError, ValueError, TypeError, OverflowError):
        raise ConductorConfigError(f"the connection's extra {item.name!r} must be {wanted}") from None
