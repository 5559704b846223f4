"""Days of the interaction lake."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from storage.lake import Lake
from storage.settings import get_settings

WITHOUT_DATA = timedelta(days=30)
MOST = timedelta(days=3 * 365)
"""Older days are in the lake too, but no partitions: one interaction of 1970 would make
twenty thousand, and a run reports each of its own."""


def _first_day() -> date:
    today = datetime.now(UTC).date()
    known = Lake(get_settings().lake).first_day()
    return max(known, today - MOST) if known else today - WITHOUT_DATA


# The day that is not over yet is one too: a retraining at noon learns from the morning.
daily = dg.DailyPartitionsDefinition(
    start_date=_first_day().isoformat(), end_offset=1, timezone="UTC"
)

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def range_tags(first: date, last: date) -> dict[str, str]:
    """Run tags that make one run cover the days ``first`` to ``last``."""
    return {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}
