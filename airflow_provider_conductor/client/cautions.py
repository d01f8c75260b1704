"""Warnings about risky settings of a connection, logged once in each process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from urllib.parse import urlsplit

from airflow_provider_conductor.client.addresses import is_loopback_host
from airflow_provider_conductor.client.errors import server_of
from airflow_provider_conductor.client.hiding import is_secret_header
from airflow_provider_conductor.client.settings import ConductorSettings

log = logging.getLogger(__name__)

_logged: set[tuple[str, str]] = set()


def log_cautions(settings: ConductorSettings) -> None:
    """Log a warning for each risk that has not been logged for this server."""
    server = server_of(settings.api_url)
    for caution in _cautions(settings):
        if (server, caution) not in _logged:
            _logged.add((server, caution))
            log.warning("Connection to %s: %s", server, caution)


def _cautions(settings: ConductorSettings) -> Iterator[str]:
    encrypted = settings.api_url.startswith("https://")
    shown = sorted(filter(is_secret_header, settings.headers))
    if encrypted and not settings.verify_ssl:
        yield (
            "verify_ssl is off, so anybody on the network path can impersonate the server and read the key; set "
            "ca_bundle to the server's CA instead"
        )
    if not encrypted and not is_loopback_host(urlsplit(settings.api_url).hostname or ""):
        sent = [*(["the key"] if settings.authenticated else []), *shown, *settings.secret_headers]
        if sent:
            yield f"{', '.join(sent)} and all data are sent unencrypted over http; use an https address"
    if shown:
        yield (
            f"{', '.join(shown)} in headers can be read by anyone who may read connections in Airflow's REST API; "
            "move it to secret_headers, which Airflow hides"
        )
