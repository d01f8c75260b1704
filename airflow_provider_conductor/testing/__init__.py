"""A Conductor server inside a test's process, so that DAGs are tested without Java.

Import the names in ``__all__`` from this package. The module ``fixtures`` is a pytest plugin; the other modules are
internal. Nothing else in the provider imports this package.
"""

from airflow_provider_conductor.testing.server import ConductorStandIn, Request, Script

__all__ = ["ConductorStandIn", "Request", "Script"]
