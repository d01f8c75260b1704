"""The token of a server with authentication (``/token``)."""

from __future__ import annotations

from airflow_provider_conductor.client.call import Answer, Call
from airflow_provider_conductor.client.endpoints import reading


def fetch_token(key_id: str, key_secret: str) -> Call[str]:
    """Trade a key for a token (servers with authentication)."""

    def token(answer: Answer) -> str:
        value = reading.an_object(answer).get("token")
        if not isinstance(value, str) or not value:
            raise ValueError("an answer without a token")
        return value

    return Call(
        "POST",
        "/token",
        token,
        body={"keyId": key_id, "keySecret": key_secret},
        safe_to_repeat=True,
        authenticated=False,
    )
