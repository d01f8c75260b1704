from __future__ import annotations

from tests.operators.conductor_standin import conductor

__all__ = ["conductor"]
