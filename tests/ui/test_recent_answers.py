"""One read for all who ask within its time, and none when nobody asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

pytestmark = pytest.mark.airflow_versions(since="3.1")


@dataclass
class Source:
    """Counts its reads, which wait until they are let go."""

    reads: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    async def read(self) -> int:
        self.reads += 1
        number = self.reads
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return number


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def ten(_: int) -> float:
    return 10.0


async def test_an_answer_is_shared_until_it_is_too_old() -> None:
    from airflow_provider_conductor.ui.recent_answers import RecentAnswers

    clock, source = Clock(), Source()
    source.gate.set()
    reads = RecentAnswers(clock)
    answers = []
    for seconds in (0, 5, 4.9, 0.2, 9.9):
        clock.now += seconds
        answers.append(await reads.get(("a", "b"), source.read, ten))
    assert answers == [1, 1, 1, 2, 2]


async def test_those_who_come_during_a_read_wait_for_it() -> None:
    from airflow_provider_conductor.ui.recent_answers import RecentAnswers

    source, reads = Source(), RecentAnswers(Clock())
    asking = [asyncio.create_task(reads.get(("a", "b"), source.read, lambda _: 0.0)) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    source.gate.set()
    assert await asyncio.gather(*asking) == [1] * 50
    assert source.reads == 1


async def test_those_who_come_during_a_read_that_fails_share_the_failure() -> None:
    from airflow_provider_conductor.ui.recent_answers import FAILED_FOR, RecentAnswers

    clock, source = Clock(), Source(error=ValueError("away"))
    reads = RecentAnswers(clock)
    asking = [asyncio.create_task(reads.get(("a", "b"), source.read, ten)) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    source.gate.set()
    failures = await asyncio.gather(*asking, return_exceptions=True)
    assert [str(failure) for failure in failures] == ["away"] * 50
    assert source.reads == 1

    clock.now += FAILED_FOR + 0.1
    source.error = None
    assert await reads.get(("a", "b"), source.read, ten) == 2


async def test_what_has_changed_is_read_anew() -> None:
    from airflow_provider_conductor.ui.recent_answers import RecentAnswers

    source, reads = Source(), RecentAnswers(Clock())
    source.gate.set()
    await reads.get(("a", "b"), source.read, ten)
    reads.forget("a")
    reads.forget("never asked for")
    assert await reads.get(("a", "b"), source.read, ten) == 2


async def test_nothing_is_read_and_nothing_kept_when_nobody_asks() -> None:
    from airflow_provider_conductor.ui.recent_answers import KEPT, RecentAnswers

    clock, source = Clock(), Source()
    source.gate.set()
    reads = RecentAnswers(clock)
    for key in range(1_000):
        await reads.get(("key", key), source.read, ten)
    clock.now += KEPT + 1
    assert source.reads == 1_000
    await reads.get(("another",), source.read, ten)
    assert len(reads._entries) == 1
