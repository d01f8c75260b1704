"""What can go wrong between this client and a Conductor server.

``airflow_provider_conductor.exceptions`` shows them as a tree.

Only JSON in the shape of Conductor's own errors becomes a ConductorAuthError, ConductorNotFoundError,
ConductorMissingRouteError or ConductorConflictError. The same status from something in front of Conductor (a gateway
that is being reloaded, a firewall) says nothing about Conductor: it is a NotConductorError, which may be temporary.

What a caller does next follows from three questions, answered here and nowhere else:

========================================  =============  ==============  ===================
error                                     ``temporary``  ``conclusive``  ``concerns_server``
========================================  =============  ==============  ===================
unreachable                               yes            no              yes
TLS handshake failed                      no             no              yes
connection lost, timeout                  yes            no              no
a gateway's page or refusal               yes            no              no
an answer that cannot be read             no             yes             no
credentials refused                       no             yes             yes
bad request, not found, conflict          no             yes             no
no such endpoint                          no             yes             no
429                                       yes            no              yes
502-504, ``retryable: true``              yes            no              no
another 5xx                               yes            yes             no
========================================  =============  ==============  ===================

Where a call is not safe to repeat, ``fate_unknown`` comes first: what it did must be found out before anything else.
An answer to such a call that cannot be read is ``temporary``.
"""

from __future__ import annotations

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
    "ConductorDryRunIncompleteError",
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
    "PayloadNotOfferedError",
]

MESSAGE_LIMIT = 2_000
"""Characters of a server's message that are kept: enough for a validation list, too few for a payload."""


class ConductorError(Exception):
    """Anything this package raises about Conductor; text from servers and workers is made readable in it.

    Attributes:
        workflow_id, url, reason: of the workflow whose wait ended with it; "" where no operator or sensor waited.
    """

    workflow_id: str = ""
    url: str = ""
    reason: str = ""

    def __init__(self, *args: Any) -> None:
        super().__init__(*(readable(item) if isinstance(item, str) else item for item in args))


class ConductorDryRunIncompleteError(ConductorError):
    """A dry run came to a task for which no output is left; the message names it."""


class ConductorConfigError(ConductorError, ValueError):
    """The connection's settings cannot be used; the message names the setting."""


class ConductorInputError(ConductorError, ValueError):
    """An argument was refused before anything was sent."""


class PayloadNotOfferedError(ConductorError):
    """The server gives no address that this client may read, or one that holds too much."""


class ConductorRequestError(ConductorError):
    """One request failed.

    Attributes:
        method: HTTP method.
        path: path below the API's address, quoted, without the query.
        server: scheme, host and port that were asked.
        status: HTTP status, or None where no answer came.
        message: the server's message, or the transport's.
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
        # The server's message is one line; one without a method is ours, and may have several.
        self.message = message = one_line(message, MESSAGE_LIMIT) if method else readable(message)
        self.method = method
        self.path = path
        self.server = server
        self.status = status
        self.repeatable = repeatable
        self.fate_unknown = fate_unknown
        self.retry_after = retry_after
        super().__init__(message)

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later, though nobody changes anything."""
        if isinstance(self, ConductorMissingRouteError):  # 3.13 answers 500
            return False
        return self.repeatable or self.fate_unknown or self.status == 429 or (self.status or 0) >= 500

    @property
    def conclusive(self) -> bool:
        """Whether an answer came, and the same request would now get the same answer again."""
        answered = isinstance(self, (ConductorAnswerError, NotConductorError))
        return answered and not (self.repeatable or self.fate_unknown or self.status == 429)

    @property
    def concerns_server(self) -> bool:
        """Whether requests about other workflows would fail alike."""
        return isinstance(self, (ConductorUnreachableError, ConductorAuthError, ConductorTooManyRequestsError))

    @property
    def refused_by_gateway(self) -> bool:
        """Whether something in front of Conductor refuses the request for lack of credentials or rights."""
        return isinstance(self, NotConductorError) and self.status in (401, 403, 407)

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
    """The request was sent and the answer was not complete; the server may have carried it out."""


class ConductorTimeoutError(ConductorConnectionLostError):
    """The request was sent and no answer came in time; the server may still be working on it."""


class NotConductorError(ConductorRequestError):
    """Something answered, but not as Conductor does (a gateway's page, an empty id, broken JSON, a redirect).

    ``repeatable`` if the answer comes from something in front of Conductor, which may soon reach it again.
    """


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
    """This server has no such endpoint: it is an older version."""


class ConductorConflictError(ConductorAnswerError):
    """The workflow's state does not allow this; nothing was changed."""


class ConductorTooManyRequestsError(ConductorAnswerError):
    """The server (or what stands before it) asks for fewer requests."""


class ConductorServerError(ConductorAnswerError):
    """The server failed; ``repeatable`` follows its own ``retryable`` and the status."""


def server_of(url: str) -> str:
    """Scheme, host and port of a URL, for messages: never user, password or path."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    return f"{parts.scheme}://{host}:{parts.port}" if parts.port else f"{parts.scheme}://{host}"
