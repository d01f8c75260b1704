"""What these DAGs have in common: each runs once, as soon as it is there."""

from __future__ import annotations

from datetime import datetime
from typing import Any

RUNS_ONCE: dict[str, Any] = {
    "schedule": "@once",
    "start_date": datetime(2026, 1, 1),
    "catchup": False,
    "is_paused_upon_creation": False,
}
