"""Reads of Conductor that all who look at the same page share: one poll for all, and none when nobody looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast

T = TypeVar("T")

Key: TypeAlias = tuple[Hashable, ...]

KEPT = 60.0
"""Seconds for which an answer is kept that nobody asks for."""


@dataclass(slots=True, eq=False)
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    read_at: float = float("-inf")
    asked_at: float = float("-inf")
    value: Any = None


class SharedReads:
    """Answers of one API server process, by what was read.

    Nothing runs in the background: a read is made when somebody asks and the last answer is too old. Whoever asks
    meanwhile waits for that read. A read that fails is repeated for the next who asks.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._entries: dict[Key, _Entry] = {}

    async def get(
        self, key: tuple[Hashable, ...], read: Callable[[], Awaitable[T]], max_age: Callable[[T], float]
    ) -> T:
        """The last answer if it is fresh enough, or a new one.

        Args:
            key: what is read, from the general to the particular.
            read: makes the answer.
            max_age: seconds for which an answer is fresh.
        """
        self._forget()
        entry = self._entries.setdefault(key, _Entry())
        asked_at = entry.asked_at = self._monotonic()
        async with entry.lock:
            known = entry.read_at > float("-inf")
            # An answer that came while this one waited for the lock is fresh, too.
            if not known or (entry.read_at < asked_at and asked_at - entry.read_at >= max_age(entry.value)):
                value = await read()
                entry.value, entry.read_at = value, self._monotonic()
            return cast(T, entry.value)

    def forget(self, first: Hashable) -> None:
        """Something has changed: the next who asks for a key that begins so gets a new answer."""
        for key in [key for key in self._entries if key[0] == first]:
            del self._entries[key]

    def _forget(self) -> None:
        now = self._monotonic()
        for key in [key for key, entry in self._entries.items() if now - entry.asked_at > KEPT]:
            if not self._entries[key].lock.locked():
                del self._entries[key]
