"""What can go wrong between this client and a Conductor server.

::

    ConductorError
    ├── ConductorConfigError           the connection's settings cannot be used (ValueError)
    ├── ConductorInputError            an argument is refused before anything is sent (ValueError)
    └── ConductorRequestError          one request failed: .method .path .status .message .repeatable .fate_unknown
        ├── ConductorUnreachableError       nothing was sent: refused, no such host, no route
        │   └── ConductorTlsError      the TLS handshake failed
        ├── ConductorConnectionLostError    sent, and the answer did not arrive whole
        │   └── ConductorTimeoutError       sent, and no answer within the timeout
        ├── NotConductorError          an answer, but not Conductor's: a gateway's, or one that cannot be read
        └── ConductorAnswerError       the server answered with an error
            ├── ConductorBadRequestError    400 and other 4xx
            ├── ConductorAuthError     401, 403
            ├── ConductorNotFoundError      404 about a workflow, task or definition
            │   └── ConductorDefinitionNotFoundError
            ├── ConductorMissingRouteError           404 or 405 about the path itself: this server has no such endpoint
            ├── ConductorConflictError      409, and 404 "still running": the state does not allow it
            ├── ConductorTooManyRequestsError        429
            └── ConductorServerError   5xx

The first line of each message names what was called, where, and what came back.

Only JSON in the shape of Conductor's own errors becomes a ConductorAuthError, ConductorNotFoundError,
ConductorMissingRouteError or ConductorConflictError. The same status from something in front of Conductor (a gateway
that is being reloaded, a firewall) says nothing about Conductor: it is a NotConductorError, which can pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_conductor.client.text import one_line, readable

__all__ = [
    "ConductorAnswerError",
    "ConductorAuthError",
    "ConductorBadRequestError",
    "ConductorConfigError",
    "ConductorConflictError",
    "ConductorConnectionLostError",
    "ConductorDefinitionNotFoundError",
    "ConductorError",
    "ConductorInputError",
    "ConductorMissingRouteError",
    "ConductorNotFoundError",
    "ConductorRequestError",
    "ConductorServerError",
    "ConductorTimeoutError",
    "ConductorTlsError",
    "ConductorTooManyRequestsError",
    "ConductorUnreachableError",
    "NotConductorError",
    "error_for_answer",
]

MESSAGE_LIMIT = 2_000
"""Characters of a server's message that are kept: enough for a validation list, too few for a payload."""

EXCERPT_FROM = 2_000
"""Bytes of a gateway's page in which its title is looked for."""

EXCERPT_LIMIT = 100
"""Characters of a gateway's page that a message quotes."""


class ConductorError(Exception):
    """Anything this package raises about Conductor; what servers and workers wrote into it is made readable."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*(readable(item) if isinstance(item, str) else item for item in args))


class ConductorConfigError(ConductorError, ValueError):
    """The connection's settings cannot be used; the message names the setting."""


class ConductorInputError(ConductorError, ValueError):
    """An argument was refused before anything was sent."""


class ConductorRequestError(ConductorError):
    """One request failed.

    Attributes:
        method: HTTP method.
        path: path below the API's address, quoted, without the query.
        server: scheme, host and port that were asked.
        status: HTTP status, or None where no answer came.
        message: the server's message, or what the transport said.
        repeatable: True when sending the same request again can help and cannot do harm twice.
        fate_unknown: True when the server may have carried the request out all the same.
        retry_after: seconds the server asked to wait, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        path: str = "",
        server: str = "",
        status: int | None = None,
        repeatable: bool = False,
        fate_unknown: bool = False,
        retry_after: float | None = None,
    ) -> None:
        # The server's words are one line; those without a method are ours, and may have several.
        self.message = message = one_line(message, MESSAGE_LIMIT) if method else readable(message)
        self.method = method
        self.path = path
        self.server = server
        self.status = status
        self.repeatable = repeatable
        self.fate_unknown = fate_unknown
        self.retry_after = retry_after
        super().__init__(message)

    def __str__(self) -> str:
        outcome = f"{self.status} {self.message}".strip() if self.status else self.message
        return f"{self.method} {self.path} at {self.server}: {outcome}" if self.method else outcome

    def __reduce__(self) -> tuple[Any, ...]:
        """Airflow carries exceptions between processes; notes added on the way go along."""
        return type(self), (self.message,), self.__dict__


class ConductorUnreachableError(ConductorRequestError):
    """Nothing was sent: connection refused, unknown host, no route, handshake failed."""


class ConductorTlsError(ConductorUnreachableError):
    """The TLS handshake failed: untrusted certificate, wrong host name, client certificate refused."""


class ConductorConnectionLostError(ConductorRequestError):
    """The request went out and the answer did not arrive whole; the server may have carried it out."""


class ConductorTimeoutError(ConductorConnectionLostError):
    """The request went out and no answer came in time; the server may still be working on it."""


class NotConductorError(ConductorRequestError):
    """Something answered, but not as Conductor does (a gateway's page, an empty id, broken JSON, a redirect).

    ``repeatable`` where the answer is that of something in front of Conductor, which may have it back in a moment.
    """

    @property
    def refused(self) -> bool:
        """True when what stands in front of Conductor refuses the request for lack of credentials or rights."""
        return self.status in (401, 403, 407)


class ConductorAnswerError(ConductorRequestError):
    """The server answered with an error status."""


class ConductorBadRequestError(ConductorAnswerError):
    """The server refused the request itself (400, 413, 422 …)."""


class ConductorAuthError(ConductorAnswerError):
    """The server refused the credentials (401) or what they may do (403)."""


class ConductorNotFoundError(ConductorAnswerError):
    """No such workflow, task or definition on this server."""


class ConductorDefinitionNotFoundError(ConductorNotFoundError):
    """No such workflow definition, so nothing can be started under this name and version."""


class ConductorMissingRouteError(ConductorAnswerError):
    """This server says that it has no such endpoint: it is an older version."""


class ConductorConflictError(ConductorAnswerError):
    """The workflow's state does not allow this; nothing was changed."""


class ConductorTooManyRequestsError(ConductorAnswerError):
    """The server (or what stands before it) asks for fewer requests."""


class ConductorServerError(ConductorAnswerError):
    """The server failed; ``repeatable`` follows its own ``retryable`` and the status."""


GATEWAY_STATUSES = frozenset({408, 425})
"""Client errors by number only: a gateway ran out of patience, and the same request may well go through."""

PASSING_STATUSES = frozenset({502, 503, 504})
"""Statuses of gateways in front of a server that is away or overloaded."""


REFUSAL_STATUSES = frozenset({400, 411, 413, 414, 415, 422, 431})
"""Client errors about the request itself, which stand whoever gives them: too large, not well-formed."""

DEFINITION_WORDS = ("workflow defined", "workflow definition", "workflow found by name")
"""How servers (3.13 to 3.32) word it that a definition, not an execution, does not exist."""

NO_ROUTE = re.compile(r"No static resource|Request method '\w+' (is )?not supported")
"""How servers word it that they lack an endpoint: 3.32 with 404 and 405; 3.13 has no words for the first, and gives 500
for the second (seen on 3.13.8 and 3.32.2)."""


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

    =====================================================  ======================  ===================
    answer                                                 error                   repeatable
    =====================================================  ======================  ===================
    in the shape of Conductor's own errors:
    401, 403                                               ConductorAuthError      no
    404 without a message; "No static resource"; 405       ConductorMissingRouteError            no
    404 "... still running"                                ConductorConflictError       no
    404 that speaks of a definition                        ConductorDefinitionNotFoundError      no
    404 else                                               ConductorNotFoundError       no
    409                                                    ConductorConflictError       no
    of anybody:
    400, 411, 413, 414, 415, 422, 431                      ConductorBadRequestError     no
    429                                                    ConductorTooManyRequestsError         if safe
    5xx with retryable: true                               ConductorServerError    if safe
    408, 425, 502-504 without a word on retryable          ConductorServerError    if safe
    5xx else                                               ConductorServerError    no
    4xx else, Conductor's own                              ConductorBadRequestError     no
    4xx else, of anybody else                              NotConductorError       if safe
    =====================================================  ======================  ===================

    The fate of a call that is not safe to repeat is unknown after any 5xx that does not say ``retryable: false``, and
    after a NotConductorError: a gateway may have given up on a server that is still working on it.

    Args:
        hide: takes secrets out of a text that a stranger wrote.
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
        message = _strangers_message(status, message or _excerpt(content))
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
    ``{"status", "message", "instance", "retryable"}``             what Conductor words itself (3.13.8, 3.32.2, Orkes)
    ``{"timestamp", "status", "error", "path"}``                   Spring in its stead: a missing route of 3.13.8
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


def _strangers_message(status: int, text: str) -> str:
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


def server_of(url: str) -> str:
    """Scheme, host and port of a URL, for messages: never user, password or path."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    return f"{parts.scheme}://{host}:{parts.port}" if parts.port else f"{parts.scheme}://{host}"
