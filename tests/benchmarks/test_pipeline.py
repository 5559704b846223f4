"""The same rows over fewer or more days, which the daily job is compared on."""

from __future__ import annotations

import pytest

from benchmarks.common.pipeline import DAY, stretched
from benchmarks.common.worlds import Size, log_of


@pytest.mark.parametrize("days", [30, 1742])
def test_a_stretched_log_has_the_same_rows_over_so_many_days(days: int) -> None:
    made = log_of(Size(20, 50, 500))
    log = stretched(made, days)
    new, old = log.interactions["occurred_at"], made.interactions["occurred_at"]
    assert log.interactions.drop("occurred_at").equals(made.interactions.drop("occurred_at"))
    assert new.arg_sort().equals(old.arg_sort())
    assert new.max() == old.max()
    length = (new.to_physical().max() - new.to_physical().min()) / DAY  # type: ignore[operator]
    assert length == pytest.approx(days)
