from __future__ import annotations

from tests.waiting_modes.modes import first_pokes

__all__ = ["first_pokes"]
