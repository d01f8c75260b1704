"""The token of a server with authentication (``/token``)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from airflow_provider_conductor.client.endpoints.reading import an_object
from airflow_provider_conductor.client.flow import Answer, Call


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and the server's clock when it issued the token (ms, or 0 if unknown)."""

    text: str = field(repr=False)
    given_at: int = 0


def fetch_token(key_id: str, key_secret: str) -> Call[Token]:
    """Get a token for a key (servers with authentication)."""
    return Call(
        "POST",
        "/token",
        _token,
        body={"keyId": key_id, "keySecret": key_secret},
        safe_to_repeat=True,
        authenticated=False,
    )


def _token(answer: Answer) -> Token:
    text = an_object(answer).get("token")
    # As a header has to carry it: one line of ASCII.
    if not isinstance(text, str) or not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("an answer without a token")
    return Token(text, answer.server_time)
