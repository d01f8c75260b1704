"""The token of a server with authentication, without I/O.

The transports have the lock (so that one caller at a time fetches) and send the request.
"""

from __future__ import annotations

import base64
import json
import logging
import math
from dataclasses import dataclass, field

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.endpoints.reading import Token
from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorMissingRouteError,
    ConductorRequestError,
)
from airflow_provider_conductor.client.flow import Call
from airflow_provider_conductor.client.settings import ConductorSettings

log = logging.getLogger(__name__)

DEFAULT_LIFETIME = 45 * 60
"""Seconds for which a token without an expiry is used; the Python SDK's ``auth_token_ttl_min`` has the same."""

REFRESH_MARGIN = 60
"""Seconds before its expiry (a tenth of its life, if that is less) from which a token is no longer sent."""

SHORTEST_LIFE = 60
"""Seconds for which a new token is used although it seems to have expired: one of the two clocks is wrong."""


@dataclass(slots=True)
class TokenKeeper:
    """The token of one connection.

    A transport asks :meth:`wanted` under its lock; gets a call to send, or None; hands the answer to
    :meth:`accept` or the error to :meth:`refused`; and sends :attr:`token` with the request it asked for, which
    so is never sent without one because another caller's was refused meanwhile.
    """

    settings: ConductorSettings
    _token: str = field(default="", repr=False)
    _before: str = field(default="", repr=False)
    _stale_at: float = 0.0
    _open_server: bool = False

    @property
    def token(self) -> str:
        """The token now held, or ""."""
        return self._token

    @property
    def secrets(self) -> tuple[str, ...]:
        """The tokens that requests under way may carry."""
        return tuple(filter(None, (self._token, self._before)))

    def wanted(self, now: float, *, refused: str | None = None) -> Call[Token] | None:
        """The request that fetches a token, or None if the present one is good, or none is needed.

        ``refused`` is the token of a request that the server has just refused, "" for one without a token: another
        caller may have replaced it already.
        """
        if refused == "":
            self._open_server = False
        if not self.settings.authenticated or self._open_server:
            return None
        fresh = self._token and self._token != refused and now < self._stale_at
        return None if fresh else endpoints.fetch_token(self.settings.key_id, self.settings.key_secret)

    def can_renew(self, error: ConductorRequestError) -> bool:
        """Whether a new token may help after a request was refused so.

        Conductor's own 401 and 403 are read, and a gateway's 401; a gateway's 403 is not about the token.
        """
        return self.settings.authenticated and (isinstance(error, ConductorAuthError) or error.status == 401)

    def accept(self, token: Token, now: float) -> None:
        """Keep a token that was just issued."""
        asked_at = token.given_at / 1000 or now  # by the clock that its expiry is meant by
        lifetime = (_expiry(token.text) or asked_at + DEFAULT_LIFETIME) - asked_at
        if lifetime <= 0:
            lifetime = SHORTEST_LIFE
        self._token, self._before = token.text, self._token
        self._stale_at = now + lifetime - min(REFRESH_MARGIN, lifetime / 10)

    def refused(self, error: ConductorRequestError) -> None:
        """Called when the token request failed; returns if the server needs no token.

        Raises:
            ConductorRequestError: ``error``, in any other case.
        """
        if isinstance(error, ConductorMissingRouteError):
            log.warning(
                "%s has no /token endpoint, so it is an open server: the connection's key is not sent to it",
                error.server,
            )
            self._open_server = True
            return
        if isinstance(error, ConductorAuthError):
            self._token = ""
            error.message = f"the key id or key secret was refused ({error.message})"
        raise error from None


def _expiry(token: str) -> float | None:
    """``exp`` of a JWT in seconds since the epoch, or None for a token of another kind."""
    try:
        payload = token.split(".")[1]
        expiry = float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (IndexError, KeyError, ValueError, TypeError, OverflowError, RecursionError):
        return None
    return expiry if math.isfinite(expiry) else None
