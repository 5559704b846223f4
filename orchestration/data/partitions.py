"""Days of the interaction lake."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from storage.events.lake import Lake
from storage.settings import get_settings

SHOWN = timedelta(days=30)
"""Older days are in the lake too, but no partitions: a run reports each of its own, whether it has
rows or not, which takes longer than to read a sparse log of years."""


def _first_day() -> date:
    oldest = datetime.now(UTC).date() - SHOWN
    first = Lake(get_settings().lake).first_day()
    return max(first, oldest) if first else oldest


# The day that is not over yet is one too: a retraining at noon learns from the morning.
daily = dg.DailyPartitionsDefinition(
    start_date=_first_day().isoformat(), end_offset=1, timezone="UTC"
)

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def range_tags(first: date, last: date) -> dict[str, str]:
    """Run tags that make one run cover the days ``first`` to ``last``."""
    return {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}
