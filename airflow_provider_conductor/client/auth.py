"""The token of a server with authentication, without I/O."""

from __future__ import annotations

import base64
import json
import logging
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_conductor.client import endpoints
from airflow_provider_conductor.client.endpoints.reading import Token
from airflow_provider_conductor.client.errors import (
    ConductorAuthError,
    ConductorMissingRouteError,
    ConductorRequestError,
)
from airflow_provider_conductor.client.flow import Call, S
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

    Args:
        fetch: makes the request for a token of a key id and secret.
    """

    settings: ConductorSettings
    fetch: Callable[[str, str], Call[Token]] = endpoints.fetch_token
    _token: str = field(default="", repr=False)
    _before: str = field(default="", repr=False)
    _stale_at: float = 0.0
    _open_server: bool = False

    @property
    def secrets(self) -> tuple[str, ...]:
        """The tokens that requests under way may carry."""
        return tuple(filter(None, (self._token, self._before)))

    def can_renew(self, error: ConductorRequestError) -> bool:
        """Whether a new token may help after a request was refused so.

        Conductor's own 401 and 403 are read, and a gateway's 401; a gateway's 403 is not about the token.
        """
        return self.settings.authenticated and (isinstance(error, ConductorAuthError) or error.status == 401)

    def current(
        self,
        send: Callable[[Call[Token]], Generator[S, Any, Token]],
        clock: Callable[[], float],
        refused: str | None = None,
    ) -> Generator[S, Any, str]:
        """The token for the caller's next request, "" if it needs none; for one caller at a time.

        Args:
            refused: the token of a request that the server has just refused, "" for one without a token; another
                caller may have replaced it already.
        """
        if refused == "":
            self._open_server = False
        fresh = self._token and self._token != refused and clock() < self._stale_at
        if fresh or self._open_server or not self.settings.authenticated:
            return self._token
        try:
            token = yield from send(self.fetch(self.settings.key_id, self.settings.key_secret))
        except ConductorMissingRouteError as error:
            log.warning(
                "%s has no /token endpoint, so it is an open server: the connection's key is not sent to it",
                error.server,
            )
            self._open_server = True
        except ConductorAuthError as error:
            self._token = ""
            error.message = f"the key id or key secret was refused ({error.message})"
            raise
        else:
            now = clock()
            asked_at = token.given_at / 1000 or now  # by the clock that its expiry is meant by
            lifetime = (_expiry(token.text) or asked_at + DEFAULT_LIFETIME) - asked_at
            if lifetime <= 0:
                lifetime = SHORTEST_LIFE
            self._token, self._before = token.text, self._token
            self._stale_at = now + lifetime - min(REFRESH_MARGIN, lifetime / 10)
        return self._token


def _expiry(token: str) -> float | None:
    """``exp`` of a JWT in seconds since the epoch, or None for a token of another kind."""
    try:
        payload = token.split(".")[1]
        expiry = float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (IndexError, KeyError, ValueError, TypeError, OverflowError, RecursionError):
        return None
    return expiry if math.isfinite(expiry) else None
