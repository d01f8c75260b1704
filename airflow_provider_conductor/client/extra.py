"""How the values of a connection's extra are read: forms and URIs give everything as text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from airflow_provider_conductor.client.errors import ConductorConfigError


@dataclass(frozen=True, slots=True)
class ExtraField:
    """One key of a connection's extra; ``kind`` is one of ``KINDS``."""

    name: str
    kind: str
    default: Any
    title: str
    description: str


def read_extra(extra: Mapping[str, Any], fields: Iterable[ExtraField]) -> dict[str, Any]:
    """The values of an extra that are set, each as its field's kind.

    Raises:
        ConductorConfigError: an unknown key, or a value of the wrong kind.
    """
    known = {item.name: item for item in fields}
    unknown = [key for key in extra if key not in known]
    if unknown:
        close = get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConductorConfigError(
            f"the connection's extra has unknown key(s) {', '.join(map(repr, unknown))}{hint or '.'} "
            f"Known keys: {', '.join(known)}"
        )
    values: dict[str, Any] = {}
    for key, value in extra.items():
        if value is None or value == "":
            continue
        read, wanted = KINDS[known[key].kind]
        try:
            values[key] = read(value)
        except (LookupError, ValueError, TypeError, OverflowError):
            raise ConductorConfigError(f"the connection's extra {key!r} must be {wanted}") from None
    return values


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
