"""When a batch that waits in the triggerer is worth a worker again."""

from __future__ import annotations

from math import ceil

FREE_SHARE = 0.25
"""The share of ``max_active`` that is free before a worker comes to start the next ones."""

FREE_FOR = 60.0
"""Seconds for which a single place may stay free."""


def worth_a_worker(
    *, ended: int, active: int, more: bool, max_active: int, free_since: float | None, now: float
) -> bool:
    """Whether to resume the task.

    =====================================================  ======
    of the workflows handed over                           worth
    =====================================================  ======
    all have ended                                         yes
    some have, and there are none to start                 no
    a quarter of ``max_active`` has                        yes
    some have, the first of them a minute ago              yes
    else                                                   no
    =====================================================  ======

    Args:
        ended, active: of those handed over, how many have ended and how many have not.
        more: whether there are items to be started.
        free_since: when the first of them ended.
    """
    if not active:
        return True
    if not ended or not more:
        return False
    return ended >= ceil(max_active * FREE_SHARE) or (free_since is not None and now >= free_since + FREE_FOR)
