"""Where a redirect leads, read so that no other program can read the address differently."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

__all__ = ["RedirectTarget", "redirect_target"]

UNREADABLE = "an address that cannot be read"

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class RedirectTarget:
    """A redirect's address: ``url`` to read on at, or "" where that is not within the API; ``shown`` for messages."""

    shown: str
    url: str = ""

    @property
    def within_api(self) -> bool:
        return bool(self.url)


def redirect_target(api_url: str, url: str, location: str) -> RedirectTarget:
    """Read the ``Location`` that the answer of ``url`` gave.

    What is followed is made anew from the API's own scheme and host and the address's path and query. An address with
    a backslash, a control character or a user is not followed: ``http://evil\\\\@server/`` is another host for one
    parser than for the next.
    """
    if re.search(r"[^\x21-\x7e]|\\", location):
        return RedirectTarget(UNREADABLE)
    try:
        own, found = urlsplit(api_url), urlsplit(urljoin(url, location))
        origin, target = _origin(own), _origin(found)
    except ValueError:
        return RedirectTarget(UNREADABLE)
    if not location or not target[1] or "@" in found.netloc:
        return RedirectTarget(UNREADABLE)
    shown = f"{target[0]}://{target[1]}{f':{found.port}' if found.port else ''}{found.path}"
    if target != origin or not _is_below(found.path, own.path):
        return RedirectTarget(shown)
    return RedirectTarget(shown, found._replace(scheme=own.scheme, netloc=own.netloc, fragment="").geturl())


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    host = parts.hostname or ""
    return parts.scheme, f"[{host}]" if ":" in host else host, parts.port or DEFAULT_PORTS.get(parts.scheme)


def _is_below(path: str, base: str) -> bool:
    """Whether a server's reading of ``path``, too, leads below ``base``."""
    if "\\" in unquote(path) or {".", ".."} & set(unquote(path).split("/")):
        return False
    return path.startswith(f"{base}/")
