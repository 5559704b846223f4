"""The benchmark of candidates runs at a tiny size and compares what it says it does."""

from __future__ import annotations

from tests.benchmarks.test_benchmarks import TINY, rows_of, run


def test_candidates() -> None:
    rows = rows_of(run("candidates", *TINY, "--items", "4000", "--dims", "8"), "candidates")
    for items in (400, 4000):
        assert rows[f"p50, index (items={items})"]["baseline"].startswith("exact")
        assert 0.9 <= rows[f"recall@400, index (items={items})"]["value"] <= 1
    places = rows["p50, nearest 200 places (items=4000)"]
    assert places["value"] > 0
    assert places["baseline_value"] > 0
