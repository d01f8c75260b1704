"""Whether the address that a server gives for a stored payload may be read.

The server says where to, and what is read there ends up in a task's output: a server that somebody has taken over must
not make a worker read its own machine or a cloud's metadata service.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from airflow_provider_conductor.client.addresses import Address, addresses_of, is_loopback_host, stays_here
from airflow_provider_conductor.client.settings import ConductorSettings

__all__ = ["may_connect", "refusal"]


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
    listed = [entry for entry in settings.payload_hosts if _names(entry, host, parts.port)]
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
    """Whether the host of ``uri`` may have this address."""
    if not stays_here(address):
        return True
    parts = urlsplit(uri)
    if any(_names(entry, parts.hostname or "", parts.port) for entry in settings.payload_hosts):
        return True
    return address.is_loopback and is_loopback_host(urlsplit(settings.api_url).hostname or "")


def _names(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of ``payload_hosts`` names this host: ``host``, ``host:port``, ``*.domain``, ``http://host``."""
    parts = urlsplit(entry if "://" in entry else f"//{entry}")
    name = (parts.hostname or "").rstrip(".")
    host = host.lower().rstrip(".")
    if parts.port is not None and parts.port != port:
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name
