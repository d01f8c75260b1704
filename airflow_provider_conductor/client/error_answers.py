"""Which error an answer with an error status means."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorBadRequestError,
    ConductorConflictError,
    ConductorDefinitionNotFoundError,
    ConductorMissingRouteError,
    ConductorNotFoundError,
    ConductorRequestError,
    ConductorServerError,
    ConductorTooManyRequestsError,
    NotConductorError,
)

EXCERPT_FROM = 2_000
"""Bytes of a gateway's page in which its title is looked for."""

EXCERPT_LIMIT = 100
"""Characters of a gateway's page that a message quotes."""

GATEWAY_STATUSES = frozenset({408, 425})
"""Client errors by number only: a gateway timed out, and the same request may succeed."""

PASSING_STATUSES = frozenset({502, 503, 504}) | GATEWAY_STATUSES
"""The same, and those of gateways in front of an unreachable or overloaded server."""

REFUSAL_STATUSES = frozenset({400, 411, 413, 414, 415, 422, 431})
"""Client errors about the request itself, final whichever server answers them: too large, not well-formed."""

DEFINITION_WORDS = ("workflow defined", "workflow definition", "workflow found by name")
"""Phrases by which servers (3.13 to 3.32) report that a definition, not an execution, does not exist."""

NO_ROUTE = re.compile(r"No static resource|Request method '\w+' (is )?not supported")
"""Messages by which servers report that they lack an endpoint: 3.32 with 404 and 405; 3.13 has none for the first, and
answers 500 for the second (seen on 3.13.8 and 3.32.2)."""

DATABASE_TROUBLE = re.compile(
    r"Connection is (not available|closed)|SQLITE_(BUSY|LOCKED)|database is locked"
    # What the drivers of PostgreSQL and MySQL report of the same.
    r"|connection has been closed|terminating connection due to|database system is (starting up|shutting down)"
    r"|I/O error occurred while sending to the backend|Communications link failure"
    r"|deadlock (detected|found)|could not serialize access|Lock wait timeout exceeded"
    # Of Redis.
    r"|Could not get a resource from the pool",
    re.IGNORECASE,
)
"""Messages by which servers report that their database was away, or busy with others: no connection for 30 s, a lock of
SQLite, a restart of PostgreSQL or MariaDB, a deadlock (the first line, "Communications link failure" and "Deadlock
found" were seen on 3.32.2; recorded in ``tests/recorded/database_trouble``). They say ``retryable: false``, but the
trouble passes, and may come in the middle of what was to be done."""


class Meaning(NamedTuple):
    """What an error status means; ``passing`` and ``fate_unknown`` concern a call that is, and is not, safe to repeat.

    Attributes:
        passing: the same request may succeed a moment later.
        fate_unknown: the server may have carried the request out all the same.
    """

    kind: type[ConductorRequestError]
    message: str
    passing: bool = False
    fate_unknown: bool = False


def meaning_of(status: int, content: bytes) -> Meaning:
    """Find out what an error status means. The body decides before the status does.

    =====================================================  ==================================  ==========
    answer                                                 error                               passing
    =====================================================  ==================================  ==========
    in the shape of Conductor's own errors:
    401, 403                                               ConductorAuthError                  no
    404 without a message; "No static resource"; 405       ConductorMissingRouteError          no
    404 "... still running"                                ConductorConflictError              no
    404 that speaks of a definition                        ConductorDefinitionNotFoundError    no
    404 else                                               ConductorNotFoundError              no
    409                                                    ConductorConflictError              no
    of anybody:
    400, 411, 413, 414, 415, 422, 431                      ConductorBadRequestError            no
    429                                                    ConductorTooManyRequestsError       yes
    5xx with retryable: true, or DATABASE_TROUBLE          ConductorServerError                yes
    408, 425, 502-504 without ``retryable``                ConductorServerError                yes
    5xx else                                               ConductorServerError                no
    4xx else, Conductor's own                              ConductorBadRequestError            no
    4xx else, of anybody else                              NotConductorError                   yes
    =====================================================  ==================================  ==========

    The fate of a call is unknown after any 5xx that does not say ``retryable: false``, after trouble with the server's
    database, whatever it says, and after a NotConductorError: a gateway may have given up on a server that is still
    working on it.
    """
    body = _json_object(content)
    own = _is_conductors(body)
    said = _message(body)
    message = said or "no message"
    if status == 429:
        return Meaning(ConductorTooManyRequestsError, message, passing=True)
    if own and (NO_ROUTE.match(said) or status == 405 or (status == 404 and not said)):
        return Meaning(ConductorMissingRouteError, "this server has no such endpoint")
    if own and status in (401, 403):
        return Meaning(ConductorAuthError, message)
    if own and (status == 409 or (status == 404 and "still running" in said.lower())):
        return Meaning(ConductorConflictError, message)
    if own and status == 404:
        of_definition = any(words in said.lower() for words in DEFINITION_WORDS)
        return Meaning(ConductorDefinitionNotFoundError if of_definition else ConductorNotFoundError, message)
    if status >= 500 or status in GATEWAY_STATUSES:
        retryable = (bool(DATABASE_TROUBLE.search(said)) or body.get("retryable")) if own else None
        passing = retryable is True or (retryable is None and status in PASSING_STATUSES)
        return Meaning(ConductorServerError, message, passing, fate_unknown=retryable is not False)
    if own or status in REFUSAL_STATUSES:
        return Meaning(ConductorBadRequestError, message)
    return Meaning(NotConductorError, _gateway_message(status, said or _excerpt(content)), True, True)


def _is_conductors(body: dict[str, Any]) -> bool:
    """Whether an error's JSON is written by Conductor itself, not by something in front of it.

    =============================================================  ====================================================
    ``{"status", "message", "instance", "retryable"}``             Conductor's own errors (3.13.8, 3.32.2, Orkes)
    ``{"timestamp", "status", "error", "path"}``                   Spring's own error: a missing route of 3.13.8
    ``{"timestamp", "message", "error": "INVALID_TOKEN"}``         Orkes about a token
    =============================================================  ====================================================

    Spring's own gateway answers in Spring's shape too, with a ``requestId``.
    """
    if isinstance(body.get("retryable"), bool):
        return True
    if "timestamp" not in body or "requestId" in body:
        return False
    error = body.get("error")
    return ("status" in body and "path" in body) or (
        isinstance(error, str) and re.fullmatch(r"[A-Z]+(_[A-Z]+)*", error) is not None
    )


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _message(body: dict[str, Any]) -> str:
    """The server's ``message`` with its validation errors, or ""."""
    message = body.get("message")
    if not isinstance(message, str):
        message = ""
    invalid = body.get("validationErrors")
    if isinstance(invalid, list) and invalid:
        details = "; ".join(
            f"{item.get('path') or '?'}: {item.get('message') or '?'}" for item in invalid if isinstance(item, dict)
        )
        message = f"{message or 'not valid'} ({details})"
    return message


def _gateway_message(status: int, text: str) -> str:
    message = "answered by something in front of Conductor (a gateway, proxy or firewall), not by Conductor itself"
    if text:
        message += f": {text!r}"
    if status in (401, 403):
        message += "; if it asks for credentials, put them into the connection's headers"
    return message


def _excerpt(content: bytes) -> str:
    """The first words of a page or a plain text."""
    text = content[:EXCERPT_FROM].decode(errors="replace")
    title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
    if title is None and text.lstrip().startswith("<"):
        return "a page of HTML"
    return " ".join((title[1] if title else text).split())[:EXCERPT_LIMIT]
