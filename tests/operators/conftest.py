from __future__ import annotations

from tests.operators.airflow_standin import no_database_for_reschedules
from tests.operators.batch_standin import orders
from tests.operators.conductor_standin import conductor
from tests.operators.workflows import workflows

__all__ = ["conductor", "no_database_for_reschedules", "orders", "workflows"]
