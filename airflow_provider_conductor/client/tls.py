"""The TLS files of a connection, read in one way for both transports."""

from __future__ import annotations

import os
import ssl

from airflow_provider_conductor.client.errors import ConductorConfigError
from airflow_provider_conductor.client.settings import ConductorSettings

__all__ = ["tls_context"]


def tls_context(settings: ConductorSettings, ca_bundle: str | bool) -> ssl.SSLContext:
    """Make the context: the CAs to trust, and the client certificate.

    Raises:
        ConductorConfigError: a file that is missing or unusable.
    """
    try:
        if not isinstance(ca_bundle, str):
            context = ssl.create_default_context()
        elif os.path.isdir(ca_bundle):
            context = ssl.create_default_context(capath=ca_bundle)
        else:
            context = ssl.create_default_context(cafile=ca_bundle)
        if not settings.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if settings.client_cert:
            context.load_cert_chain(settings.client_cert, settings.client_key)
    except (ssl.SSLError, OSError) as error:
        raise ConductorConfigError(f"the TLS files of the connection cannot be used: {error}") from error
    return context
