"""Settings that several assets share."""

from __future__ import annotations

from functools import cache

import dagster as dg

OWNERS = ["team:recommendations"]

# A lost connection or a lock is gone a moment later; anything else fails again and is shown.
TRANSIENT = dg.RetryPolicy(
    max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)

TRAINING_POOL = "training"
"""Of the assets in this pool one runs at a time, so two trainings never meet."""
LAKE_POOL = "lake"
"""One writer of the lake at a time, or the older of two reads of a day might be kept."""


@cache
def value_of(kind: type) -> dg.DagsterType:
    """The Dagster type of an asset's value. Said outright: from an asset that returns
    ``MaterializeResult``, Dagster infers none."""
    return dg.PythonObjectDagsterType(kind, name=f"{kind.__name__}Value")
