"""A ``Configuration`` of Conductor's Python SDK, made from our settings. Importing this module needs the SDK.

How one is read is :meth:`~airflow_provider_conductor.client.settings.ConductorSettings.of`.
"""

from __future__ import annotations

import httpx
from conductor.client.configuration.configuration import Configuration
from conductor.client.configuration.settings.authentication_settings import AuthenticationSettings

from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.client.wire import Exchange


def configuration_for(settings: ConductorSettings) -> Configuration:
    """Make the SDK's ``Configuration`` for the same server, key and network path.

    Address and key are the SDK's own settings. It has attributes for TLS files and a proxy too, but reads none of
    them; where the settings need any, or headers, the configuration carries an HTTP client made accordingly. The
    SDK's blocking clients and workers use it; its asyncio workers do not.

    Raises:
        ConductorConfigError: a TLS file that cannot be used.
    """
    configuration = Configuration(server_api_url=settings.api_url)
    # Without a key the SDK would take one from the environment, and show it to this server.
    configuration.authentication_settings = (
        AuthenticationSettings(key_id=settings.key_id, key_secret=settings.key_secret)
        if settings.authenticated
        else None
    )
    exchange = Exchange(settings)
    own_trust = isinstance(exchange.ca_bundle, str) or not settings.verify_ssl or settings.client_cert
    if own_trust or exchange.proxy or settings.all_headers:
        configuration.http_connection = httpx.Client(
            transport=_KeptTransport(verify=exchange.tls_context(), proxy=exchange.proxy, retries=3),
            headers=settings.all_headers,
            timeout=httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout),
        )
    return configuration


class _KeptTransport(httpx.HTTPTransport):
    """Reports a broken connection by an error that does not make the SDK replace the client by a default one.

    After a protocol, read or write error the SDK 2.0 continues with a client of its own, without the proxy, the headers
    and the TLS files. As the SDK does then, a read is sent once more.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            try:
                return super().handle_request(request)
            except _BROKEN:
                if request.method not in ("GET", "HEAD"):
                    raise
                return super().handle_request(request)
        except _BROKEN as error:
            raise httpx.NetworkError(f"the connection broke: {error}", request=request) from error


_BROKEN = (httpx.ProtocolError, httpx.ReadError, httpx.WriteError)
