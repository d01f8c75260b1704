"""The token of a server with authentication, without I/O: what is held, when it is stale, what to do next.

The transports own the lock (so one caller at a time fetches) and send the request; what both share is here.
"""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass, field

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.call import Call
from airflow_provider_conductor.client.errors import ConductorAuthError, ConductorRequestError, MissingRoute
from airflow_provider_conductor.client.settings import ConductorSettings

__all__ = ["TokenKeeper"]

log = logging.getLogger(__name__)

DEFAULT_LIFETIME = 45 * 60
"""Seconds a token that names no expiry is used; the Python SDK's ``auth_token_ttl_min`` has the same."""

REFRESH_MARGIN = 60
"""Seconds before its expiry (a tenth of its life, if that is less) from which a token is no longer sent."""


@dataclass(slots=True)
class TokenKeeper:
    """The token of one connection.

    A transport asks :meth:`wanted` under its lock; gets a call to send, or None; hands the answer to
    :meth:`accept` or the error to :meth:`refused`; and sends :attr:`token` with the request it asked for, which
    so never goes out without one because another caller's has been refused meanwhile.
    """

    settings: ConductorSettings
    _token: str = field(default="", repr=False)
    _stale_at: float = 0.0
    _open_server: bool = False

    @property
    def token(self) -> str:
        """The token now held, or ""."""
        return self._token

    def wanted(self, now: float, *, stale: str = "") -> Call[str] | None:
        """The request that fetches a token, or None where the held one does (or none is needed).

        ``stale`` is a token the server has just refused; another caller may have replaced it already.
        """
        if not self.settings.authenticated or self._open_server:
            return None
        fresh = self._token and self._token != stale and now < self._stale_at
        return None if fresh else endpoints.fetch_token(self.settings.key_id, self.settings.key_secret)

    def accept(self, token: str, now: float) -> None:
        lifetime = (_expiry(token) or now + DEFAULT_LIFETIME) - now
        self._token = token
        self._stale_at = now + lifetime - min(REFRESH_MARGIN, max(0.0, lifetime) / 10)

    def refused(self, error: ConductorRequestError) -> ConductorRequestError | None:
        """What to raise after the token request failed, or None where the server turns out to need no token."""
        if isinstance(error, MissingRoute):
            log.warning(
                "%s has no /token endpoint, so it is an open server: the connection's key is not sent to it",
                error.server,
            )
            self._open_server = True
            return None
        if isinstance(error, ConductorAuthError):
            self._token = ""
            error.message = f"the key id or key secret was refused ({error.message})"
        return error


def _expiry(token: str) -> float | None:
    """``exp`` of a JWT in seconds since the epoch, or None for a token of another kind."""
    try:
        payload = token.split(".")[1]
        expiry = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        return float(expiry)
    except (IndexError, KeyError, ValueError, TypeError):
        return None
