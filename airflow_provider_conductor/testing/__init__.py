"""A Conductor server inside a test's process, so that DAGs are tested without Java.

Import the names in ``__all__`` from this package. The module ``fixtures`` is a pytest plugin; the other modules are
internal. Nothing else in the provider imports this package.
"""

from typing import TYPE_CHECKING

from airflow_provider_conductor._exports import exports

if TYPE_CHECKING:
    from airflow_provider_conductor.testing.scripts import Script as Script
    from airflow_provider_conductor.testing.server import ConductorStandIn as ConductorStandIn, Request as Request

__all__, __getattr__ = exports(__name__, {"ConductorStandIn": "server", "Request": "server", "Script": "scripts"})
