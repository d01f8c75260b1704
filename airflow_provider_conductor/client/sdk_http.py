"""The HTTP client that the Python SDK gets for what it cannot be told itself: TLS files, a proxy, headers.

On httpx, which is the SDK's; so this module is imported only where the SDK is.
"""

from __future__ import annotations

import httpx

from airflow_provider_conductor.client.settings import ConductorSettings
from airflow_provider_conductor.client.tls import tls_context

__all__ = ["http_client"]


def http_client(settings: ConductorSettings, *, proxy: str | None, ca_bundle: str | bool) -> httpx.Client:
    """A client that trusts, shows and sends what the settings say.

    Raises:
        ConductorConfigError: a TLS file that cannot be used.
    """
    transport = _KeptTransport(verify=tls_context(settings, ca_bundle), proxy=proxy, retries=3)
    return httpx.Client(
        transport=transport,
        headers=settings.all_headers,
        timeout=httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout),
    )


class _KeptTransport(httpx.HTTPTransport):
    """Tells a broken connection in a word that does not make the SDK replace the client by a default one.

    After a protocol, read or write error the SDK 2.0 goes on with a client of its own, which knows neither the
    proxy nor the headers nor the TLS files. As it then does, a read is sent once more.
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
