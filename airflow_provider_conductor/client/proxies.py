"""The proxy that the usual environment variables name for an address."""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_provider_conductor.client.addresses import address_of


def environment_proxy(url: str) -> str | None:
    """The proxy of ``HTTP_PROXY``, ``HTTPS_PROXY`` or ``ALL_PROXY``, or None where ``NO_PROXY`` covers the address."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    # Without the variable, the settings of macOS and Windows count.
    if any(_covers(entry, host, port) for entry in re.split(r"[\s,]+", no_proxy) if entry) or (
        not no_proxy and proxy_bypass(parts.netloc)
    ):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of ``NO_PROXY`` covers a host.

    =========================================  =================================================
    entry                                      covers
    =========================================  =================================================
    ``*``                                      everything
    ``10.0.0.0/8``, ``fd00::/8``               the addresses of this network
    ``10.1.2.3``, ``::1``, ``[::1]``           this address
    ``example.com``                            this host and all below it
    ``.example.com``, ``*.example.com``        the same
    any of these with ``:8080``                the same, on this port only
    =========================================  =================================================
    """
    entry, host = entry.lower(), host.lower().rstrip(".")
    if entry == "*":
        return True
    address = address_of(host)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except (ValueError, TypeError):
            return False
    with_port = re.fullmatch(r"(\[[^\]]*\]|[^:]*):(\d+)", entry)
    if with_port is not None:
        if port is None or int(with_port[2]) != port:
            return False
        entry = with_port[1]
    if address is not None:
        return address_of(entry) == address
    entry = entry.removeprefix("*").removeprefix(".").rstrip(".")
    return bool(entry) and (host == entry or host.endswith(f".{entry}"))
