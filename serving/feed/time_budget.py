"""Keeps ranking within its time budget.

Ranking is a few milliseconds of numpy. A hop to a thread and back costs 0.1 ms (p99 1.2 ms on
two busy cores) against 0.002 ms without, so usual work runs right in the loop. Where it may be
slow (cold pages after a swap, a slow disk, a machine out of breath) it runs in a thread, and is
left behind when the budget is spent. What decides is how long it took lately: one slow run is
enough to switch, several quick ones switch back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")
THREADS = 2
SAFE_SHARE = 0.25  # of the budget: work that usually takes less runs in the loop
DECAY = 0.7
QUEUE_BUDGETS = 3  # longest wait for a thread, in budgets


class BudgetSpent(Exception):
    """The work is not done in time, or every thread is busy with such work."""


class TimeBudget:
    """Runs work of one kind. Used from one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._usual = seconds  # nothing is known yet: be careful
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="rank")
        self._late = 0  # threads at work that nobody waits for any more

    def be_careful(self) -> None:
        """Forget how quick it was: the snapshot is another."""
        self._usual = self._seconds

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work``.

        Raises:
            BudgetSpent: see there. What ``work`` raises is passed on.
        """
        if self._usual < self._seconds * SAFE_SHARE:
            return self._timed(work)
        if self._late >= THREADS:
            raise BudgetSpent
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def begin() -> T:
            loop.call_soon_threadsafe(begun.set)
            return self._timed(work)

        job = self._threads.submit(begin)
        future = asyncio.wrap_future(job)
        # Many requests at once queue for a thread, which says nothing of the model: the
        # budget runs from the start of the work.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds * QUEUE_BUDGETS):
                await begun.wait()
        done, _ = await asyncio.wait({future}, timeout=self._seconds if begun.is_set() else 0)
        if not done:
            if not job.cancel():  # it had begun
                self._late += 1
                future.add_done_callback(self._no_longer_late)
            raise BudgetSpent
        return future.result()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _timed(self, work: Callable[[], T]) -> T:
        start = perf_counter()
        try:
            return work()
        finally:
            took = perf_counter() - start
            self._usual = max(took, DECAY * self._usual + (1 - DECAY) * took)

    def _no_longer_late(self, future: asyncio.Future[T]) -> None:
        self._late -= 1
        if not future.cancelled():
            future.exception()  # seen
