"""A long log is drawn by week or month: thousands of bars take seconds and show nothing."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from orchestration.plots import interactions_by_day


@pytest.mark.parametrize(
    ("length", "period"), [(1, "day"), (200, "day"), (300, "week"), (1_742, "month")]
)
def test_bars_are_as_long_as_the_log_asks_for(length: int, period: str) -> None:
    days = [date(2022, 3, 27) + timedelta(days=day) for day in (0, length // 2, length - 1)]
    counts = pl.DataFrame({"day": days, "type": ["click", "like", "click"], "count": [3, 4, 5]})
    axes = interactions_by_day(counts).axes[0]
    assert f"by {period} " in axes.get_title(loc="left") + axes.get_title()
    bars = [patch.get_data() for patch in axes.patches]  # type: ignore[attr-defined]
    assert sum((bar.values - bar.baseline).sum() for bar in bars) == 12
    assert len(bars[0].values) <= 201


def test_a_log_without_rows_is_drawn() -> None:
    none = pl.DataFrame(schema={"day": pl.Date, "type": pl.String, "count": pl.UInt32})
    assert interactions_by_day(none).axes
