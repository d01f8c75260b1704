"""JSON of many megabytes, read in steps.

``json.loads`` holds the GIL until the document is read: 10 MB block an event loop for 100 ms, whichever thread reads
them. Here a document's outer lists and objects are read item by item, so that the loop can run between two items.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json.decoder import JSONArray, JSONObject  # type: ignore[attr-defined]
from typing import Any

LARGE = 3_000_000
"""Bytes from which reading in steps is worth a thread: less holds the loop for 30 ms at most."""

STEPS_DOWN = 3
"""Levels whose items are steps of their own: a workflow, its tasks, a task; bulk results, a workflow, its tasks."""


def loads_in_steps(content: bytes) -> Any:
    """The same as ``json.loads``, slightly slower, in short steps.

    Raises:
        ValueError: not JSON.
    """
    return _Decoder().decode(content.decode())


class _Decoder(json.JSONDecoder):
    """Reads the outer levels by the decoder's functions in Python, and what is below by those in C."""

    def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
        return self._scanner(STEPS_DOWN)(s, idx)

    def _scanner(self, levels: int) -> Callable[[str, int], tuple[Any, int]]:
        if not levels:
            return super().raw_decode
        below = self._scanner(levels - 1)

        def scan(text: str, at: int) -> tuple[Any, int]:
            opening = text[at : at + 1]
            if opening == "{":
                return JSONObject((text, at + 1), True, below, None, None)  # type: ignore[no-any-return]
            return JSONArray((text, at + 1), below) if opening == "[" else super(_Decoder, self).raw_decode(text, at)

        return scan
