"""The last answer to each read, for all users of the same page: one poll for all, and none while no page is open."""

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

FAILED_FOR = 2.0
"""Seconds for which a failure is the answer: requests to a server that does not answer must not queue up."""


@dataclass(slots=True, eq=False)
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    read_at: float = float("-inf")
    asked_at: float = float("-inf")
    value: Any = None
    failed_at: float = float("-inf")
    error: Exception | None = None


class RecentAnswers:
    """Answers of one API server process, by what was read.

    Nothing runs in the background: a read is made for a request if the last answer is too old. Requests that come
    meanwhile wait for that read, and share its failure.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._entries: dict[Key, _Entry] = {}

    async def get(self, key: Key, read: Callable[[], Awaitable[T]], max_age: Callable[[T], float]) -> T:
        """The last answer if it is fresh enough, or a new one.

        Args:
            key: what is read, from the general to the particular.
            read: makes the answer.
            max_age: seconds for which an answer is fresh.

        Raises:
            Exception: what ``read`` raises, also for a request that came shortly before.
        """
        self._forget()
        entry = self._entries.setdefault(key, _Entry())
        asked_at = entry.asked_at = self._monotonic()
        async with entry.lock:
            if entry.error is not None and asked_at - entry.failed_at < FAILED_FOR:
                raise entry.error.with_traceback(None)
            known = entry.read_at > float("-inf")
            # An answer that came while this one waited for the lock is fresh, too.
            if not known or (entry.read_at < asked_at and asked_at - entry.read_at >= max_age(entry.value)):
                try:
                    entry.value = await read()
                except Exception as error:
                    entry.error, entry.failed_at = error, self._monotonic()
                    raise
                entry.read_at, entry.error = self._monotonic(), None
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
