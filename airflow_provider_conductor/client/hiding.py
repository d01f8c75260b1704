"""Which parts of a connection are secret, and how they are removed from messages of servers and libraries."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote, urlsplit

HIDDEN = "***"

SHORTEST = 4
"""Characters from which a secret is hidden: shorter ones are parts of ordinary words."""

_SECRET_NAME = re.compile(
    r"auth|cookie|credential|key|pass(wd|word|phrase)|secret|session|signature|token", re.IGNORECASE
)


def is_secret_header(name: str) -> bool:
    """Whether a header of this name carries a secret, as ``Authorization``, ``X-API-Key`` and ``Cookie`` do."""
    return _SECRET_NAME.search(name) is not None


def header_secrets(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The values of secret headers, and the credential by itself where a scheme (``Bearer``) precedes it."""
    values = [value.strip() for value in headers.values()]
    return tuple(dict.fromkeys(text for value in values for text in (value, value.rpartition(" ")[2]) if text))


def url_secrets(url: str | None) -> tuple[str, ...]:
    """The password of a URL: as written there, decoded, and as a request's header contains it."""
    if not url:
        return ()
    user, _, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
    if not password:
        return ()
    meant = unquote(password)
    basic = base64.b64encode(f"{unquote(user)}:{meant}".encode()).decode()
    return tuple(dict.fromkeys((password, meant, basic)))


def hide(text: str, secrets: Iterable[str]) -> str:
    """``text`` with ``***`` in place of each secret, also where it is percent-encoded."""
    wanted = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote(secret))}
    for secret in sorted(wanted, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    return text
