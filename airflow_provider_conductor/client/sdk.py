"""Connections of Conductor's Python SDK: told from other values, and made from ours.

How one is read is :meth:`~airflow_provider_conductor.client.settings.ConductorSettings.from_sdk`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_conductor.client.settings import ConductorSettings

__all__ = ["configuration_for", "is_sdk_configuration"]


def is_sdk_configuration(value: Any) -> bool:
    """Whether ``value`` is (as good as) a ``Configuration`` of the Python SDK."""
    return (
        not isinstance(value, type)
        and hasattr(value, "authentication_settings")
        and isinstance(getattr(value, "host", None), str)
    )


def configuration_for(settings: ConductorSettings) -> Any:
    """The SDK's ``Configuration`` for the same server, key and way there.

    Address and key are the SDK's own settings. It has attributes for TLS files and a proxy too, but reads none of
    them; where the settings need any, or headers, the configuration carries an HTTP client made accordingly. The
    SDK's blocking clients and workers use it; its asyncio workers do not.

    Raises:
        ImportError: the SDK is not installed.
        ConductorConfigError: a TLS file that cannot be used.
    """
    from conductor.client.configuration.configuration import Configuration
    from conductor.client.configuration.settings.authentication_settings import AuthenticationSettings

    from airflow_provider_conductor.client.wire import Exchange

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
        from airflow_provider_conductor.client.sdk_http import http_client

        configuration.http_connection = http_client(settings, proxy=exchange.proxy, ca_bundle=exchange.ca_bundle)
    return configuration
