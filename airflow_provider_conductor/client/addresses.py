"""Which addresses requests may go to: a redirect's, and that of a stored payload.

The server names the address, and what is read there becomes a task's output: a compromised server must
not make a worker read its own machine or a cloud's metadata service, nor send the connection's token elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from airflow_provider_conductor.client.settings import ConductorSettings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA = (ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200"))
"""Clouds' metadata services that are not link-local, as 169.254.169.254 is (AWS by IPv6, Alibaba)."""

NAT64 = ipaddress.ip_network("64:ff9b::/96")

UNREADABLE = "an address that cannot be read"

DEFAULT_PORTS = {"http": 80, "https": 443}

OWN_STORAGE = "/external/"
"""Below the API's address: where a server hands out what it keeps in its own database (3.32.2 on Postgres)."""


class RedirectTarget(NamedTuple):
    """A redirect's address: ``url`` to follow, or "" if it is outside the API; ``shown`` for messages."""

    shown: str = UNREADABLE
    url: str = ""


def redirect_target(api_url: str, url: str, location: str) -> RedirectTarget:
    """Read the ``Location`` that the answer of ``url`` gave.

    What is followed is built from the API's own scheme and host and the address's path and query. An address with
    a backslash, a control character or a user is not followed: ``http://evil\\\\@server/`` is another host for one
    parser than for the next.
    """
    try:
        own, found = urlsplit(api_url), urlsplit(urljoin(url, location))
        origin, target = _origin(own), _origin(found)
    except ValueError:
        return RedirectTarget()
    if not re.fullmatch(r"[\x21-\x5b\x5d-\x7e]+", location) or not target[1] or "@" in found.netloc:
        return RedirectTarget()
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


def own_payload_path(uri: str, api_url: str) -> str:
    """The path below the API's address of a payload that the server itself hands out; "" for any other address.

    A server gives such an address without scheme and host, and calls itself ``/api``, whatever is in front of it.

    ==============================  ==============================  ===============================
    address                         the connection's API            path
    ==============================  ==============================  ===============================
    ``/api/external/postgres/x``    ``https://host/api``            ``/external/postgres/x``
    the same                        ``https://host/prefix/api``     the same
    ``/api/workflow/x``             any                             none: no payload is there
    ``/api/external/../admin``      any                             none: it leads elsewhere
    ``//host/api/external/x``       any                             none: a host is named
    ==============================  ==============================  ===============================
    """
    if not uri.startswith("/api/"):
        return ""
    own = urlsplit(api_url)
    url = redirect_target(api_url, api_url, own.path + uri.removeprefix("/api")).url
    path = url.removeprefix(f"{own.scheme}://{own.netloc}{own.path}")
    return path if path.startswith(OWN_STORAGE) else ""


def refusal(uri: str, settings: ConductorSettings) -> str:
    """Why the address is not read, or "".

    ==========================================  ===============================================
    address                                     read
    ==========================================  ===============================================
    not http or https                           no
    with a user, a backslash or a control       no
    http                                        where the API itself is http, or ``payload_hosts`` has ``http://``
    loopback, by whatever name                  where the API is there too, or ``payload_hosts`` has it
    link-local, metadata service                where ``payload_hosts`` has it
    a host that ``payload_hosts`` lacks         where ``payload_hosts`` is not set
    ==========================================  ===============================================
    """
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "this server gives an address that cannot be read"
    if parts.scheme not in ("http", "https"):
        return f"this server gives an address of {parts.scheme or 'no scheme'}, not http"
    if not host or "@" in parts.netloc or re.search(r"[\x00-\x20\x7f\\]", uri):
        return "this server gives an address that cannot be read"
    listed = [entry for entry in settings.payload_hosts if _lists(entry, host, parts.port)]
    if settings.payload_hosts and not listed:
        return f"this server gives an address at {host}, which is not among the connection's payload_hosts"
    plain = parts.scheme == "http" and settings.api_url.startswith("https://")
    if plain and not any(entry.startswith("http://") for entry in listed):
        return f"this server gives an address at {host} without TLS; to allow it, add http://{host} to payload_hosts"
    if not all(may_connect(address, uri, settings) for address in addresses_of(host)):
        return (
            f"this server gives an address of the worker's own machine or network, {host}; to allow it, add the host "
            f"to payload_hosts"
        )
    return ""


def may_connect(address: Address, uri: str, settings: ConductorSettings) -> bool:
    """Whether the host of ``uri`` may have this address, be it this machine's, its network's or a cloud's own."""
    here = address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
    if not here and address not in METADATA:
        return True
    parts = urlsplit(uri)
    if any(_lists(entry, parts.hostname or "", parts.port) for entry in settings.payload_hosts):
        return True
    return address.is_loopback and is_loopback_host(urlsplit(settings.api_url).hostname or "")


def _lists(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of ``payload_hosts`` covers this host: ``host``, ``host:port``, ``*.domain``, ``http://host``."""
    parts = urlsplit(entry if "://" in entry else f"//{entry}")
    name = (parts.hostname or "").rstrip(".")
    host = host.lower().rstrip(".")
    if parts.port is not None and parts.port != port:
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def address_of(text: str) -> Address | None:
    """The address written in a text, also decimal or hexadecimal (``2130706433``, ``0x7f.1``); None for a name.

    An IPv6 address that stands for an IPv4 one is given as that.
    """
    try:
        address: Address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        try:
            return ipaddress.ip_address(socket.inet_aton(text))
        except (OSError, ValueError):
            return None
    if isinstance(address, ipaddress.IPv6Address):
        if address in NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def addresses_of(host: str) -> set[Address]:
    """The addresses of a host by the resolver; none where it knows none."""
    literal = address_of(host)
    if literal is not None:
        return {literal}
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {address for item in found if (address := address_of(str(item[4][0]))) is not None}


def is_loopback_host(host: str) -> bool:
    """Whether a host is this machine by its very name."""
    address = address_of(host)
    return host.rstrip(".").lower().endswith("localhost") if address is None else address.is_loopback
