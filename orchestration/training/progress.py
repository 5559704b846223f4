"""How far a training is, and how long it will take, in the log of the run."""

from __future__ import annotations

import time

import dagster as dg

from models.recommenders.base import Progress

SECONDS = 5.0
"""Between two lines of the log. The last step is always logged."""


def progress_of(context: dg.AssetExecutionContext, what: str) -> Progress:
    """Tells the log of ``what``: steps done, seconds spent, and seconds that the rest will take
    if it goes on as it did."""
    started = logged = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal logged
        now = time.monotonic()
        if done < total and now - logged < SECONDS:
            return
        logged, spent = now, now - started
        left = spent / done * (total - done)
        context.log.info(
            "%s: step %d of %d, %.1f s spent, %.1f s to go", what, done, total, spent, left
        )

    return tell
