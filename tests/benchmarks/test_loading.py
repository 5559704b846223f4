"""The benchmark of loading at a tiny size."""

from __future__ import annotations

from benchmarks import loading


def test_loading_beside_copy() -> None:
    rows = loading.measure(50, 50, 2_000)
    assert [row.baseline for row in rows[:2]] == [loading.SAME, loading.BARE]
    assert all(row.value > 0 and row.baseline_value for row in rows)
