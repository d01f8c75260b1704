"""Which error an answer with an error status means."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

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

__all__ = ["error_for_answer", "is_conductors"]

EXCERPT_FROM = 2_000
"""Bytes of a gateway's page in which its title is looked for."""

EXCERPT_LIMIT = 100
"""Characters of a gateway's page that a message quotes."""


GATEWAY_STATUSES = frozenset({408, 425})
"""Client errors by number only: a gateway timed out, and the same request may succeed."""

PASSING_STATUSES = frozenset({502, 503, 504})
"""Statuses of gateways in front of an unreachable or overloaded server."""


REFUSAL_STATUSES = frozenset({400, 411, 413, 414, 415, 422, 431})
"""Client errors about the request itself, final whichever server answers them: too large, not well-formed."""

DEFINITION_WORDS = ("workflow defined", "workflow definition", "workflow found by name")
"""Phrases by which servers (3.13 to 3.32) report that a definition, not an execution, does not exist."""

NO_ROUTE = re.compile(r"No static resource|Request method '\w+' (is )?not supported")
"""Messages by which servers report that they lack an endpoint: 3.32 with 404 and 405; 3.13 has none for the first, and
answers 500 for the second (seen on 3.13.8 and 3.32.2)."""


def error_for_answer(
    *,
    method: str,
    path: str,
    server: str,
    status: int,
    content: bytes,
    safe_to_repeat: bool,
    retry_after: float | None = None,
    hide: Callable[[str], str] = str,
) -> ConductorRequestError:
    """Find out what an error status means. The body decides before the status does.

    =====================================================  ==================================  ==========
    answer                                                 error                               repeatable
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
    429                                                    ConductorTooManyRequestsError       if safe
    5xx with retryable: true                               ConductorServerError                if safe
    408, 425, 502-504 without ``retryable``                ConductorServerError                if safe
    5xx else                                               ConductorServerError                no
    4xx else, Conductor's own                              ConductorBadRequestError            no
    4xx else, of anybody else                              NotConductorError                   if safe
    =====================================================  ==================================  ==========

    The fate of a call that is not safe to repeat is unknown after any 5xx that does not say ``retryable: false``, and
    after a NotConductorError: a gateway may have given up on a server that is still working on it.

    Args:
        hide: removes secrets from a text.
    """
    body = _json_object(content)
    own = is_conductors(body)
    message, retryable = _message(body), body.get("retryable") if own else None
    kind: type[ConductorRequestError]
    repeatable = fate_unknown = False
    if status == 429:
        kind, repeatable = ConductorTooManyRequestsError, safe_to_repeat
    elif own and (NO_ROUTE.match(message) or status == 405 or (status == 404 and not message)):
        kind = ConductorMissingRouteError
        message = "this server has no such endpoint"
    elif own and status in (401, 403):
        kind = ConductorAuthError
    elif own and status == 404:
        lowered = message.lower()
        if "still running" in lowered:
            kind = ConductorConflictError
        elif any(words in lowered for words in DEFINITION_WORDS):
            kind = ConductorDefinitionNotFoundError
        else:
            kind = ConductorNotFoundError
    elif own and status == 409:
        kind = ConductorConflictError
    elif status >= 500 or status in GATEWAY_STATUSES:
        kind = ConductorServerError
        passing = retryable is True or (retryable is None and status in (PASSING_STATUSES | GATEWAY_STATUSES))
        repeatable = passing and safe_to_repeat
        fate_unknown = retryable is not False and not safe_to_repeat
    elif own or status in REFUSAL_STATUSES:
        kind = ConductorBadRequestError
    else:
        kind, repeatable, fate_unknown = NotConductorError, safe_to_repeat, not safe_to_repeat
        message = _gateway_message(status, message or _excerpt(content))
    return kind(
        hide(message or "no message"),
        method=method,
        path=path,
        server=server,
        status=status,
        repeatable=repeatable,
        fate_unknown=fate_unknown,
        retry_after=retry_after,
    )


def is_conductors(body: dict[str, Any]) -> bool:
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
