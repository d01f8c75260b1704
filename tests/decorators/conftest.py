from __future__ import annotations

from tests.operators.airflow_standin import no_database_for_reschedules
from tests.operators.conductor_standin import conductor

__all__ = ["conductor", "no_database_for_reschedules"]
