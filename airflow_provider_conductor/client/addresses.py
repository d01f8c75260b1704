"""Which addresses of the network are this machine's own, or its neighbourhood's."""

from __future__ import annotations

import ipaddress
import socket

__all__ = ["Address", "address_of", "addresses_of", "is_loopback_host", "stays_here"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA = (ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200"))
"""Clouds' metadata services that are not link-local, as 169.254.169.254 is (AWS by IPv6, Alibaba)."""

NAT64 = ipaddress.ip_network("64:ff9b::/96")


def address_of(text: str) -> Address | None:
    """The address that a text spells, decimal or hexadecimal (``2130706433``, ``0x7f.1``) included; None for a name.

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
    spelled = address_of(host)
    if spelled is not None:
        return {spelled}
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {address for item in found if (address := address_of(str(item[4][0]))) is not None}


def stays_here(address: Address) -> bool:
    """Whether it is this machine (loopback), its own network segment (link-local) or a cloud's metadata service."""
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address in METADATA
    )


def is_loopback_host(host: str) -> bool:
    """Whether a host is this machine by its very name."""
    address = address_of(host)
    return host.rstrip(".").lower().endswith("localhost") if address is None else address.is_loopback
