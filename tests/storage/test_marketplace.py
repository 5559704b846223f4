"""The synthetic marketplace: sizes, truth to its own rules, and a way through the loader."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import polars as pl
import psycopg
import pytest

from models.profile.interaction_types import DEFAULT_TYPES
from storage.loading.load import load
from storage.loading.log import Log
from storage.loading.readers import read_log
from storage.loading.samples.marketplace import generate
from storage.loading.writers import write

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def log() -> Log:
    return generate(500, 800, 60_000, days=30, seed=3, now=NOW)


def test_sizes_types_and_times(log: Log) -> None:
    assert log.users is not None
    assert log.items is not None
    assert (len(log.users), len(log.items), len(log.interactions)) == (500, 800, 60_000)
    assert set(log.interactions["type"]) == set(DEFAULT_TYPES.names)
    times = log.interactions["occurred_at"]
    assert times.is_between(NOW - timedelta(days=30, hours=1), NOW).all()
    assert log.interactions["event_id"].n_unique() == 60_000
    assert "SYNTHETIC" in log.notice
    without = log.interactions.filter(pl.col("item_id").is_null())["type"].unique().sort().to_list()
    assert without == ["filter", "search"]


def test_the_same_seed_gives_the_same_log(log: Log) -> None:
    again = generate(500, 800, 60_000, days=30, seed=3, now=NOW)
    other = generate(500, 800, 60_000, days=30, seed=4, now=NOW)
    for name, frame in log.frames().items():
        assert frame.equals(again.frames()[name])
        assert not frame.equals(other.frames()[name])


def test_behaviour_follows_match_position_and_popularity(log: Log) -> None:
    assert log.items is not None
    counts = dict(log.interactions["type"].value_counts().iter_rows())
    assert counts["impression"] > counts["view"] > counts["click"] > counts["apply"] > 0
    shown = log.interactions.filter(pl.col("type").is_in(["impression", "click"])).with_columns(
        position=pl.col("metadata").str.json_path_match("$.position").cast(pl.Int32)
    )
    rate = (pl.col("type") == "click").mean()
    top, bottom = (
        shown.filter(pl.col("position").is_between(*span)).select(rate).item()
        for span in ((1, 2), (8, 10))
    )
    assert top > 1.5 * bottom
    by_item = shown["item_id"].value_counts(sort=True)["count"]
    assert 10 * by_item.head(80).sum() > 3 * by_item.sum()  # a tenth of the items
    joined = shown.join(log.items, left_on="item_id", right_on="id")
    assert joined.filter(pl.col("user_id") == pl.col("owner_id")).is_empty()
    assert joined.filter(pl.col("occurred_at") < pl.col("created_at")).is_empty()


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_written_log_loads_whole(
    database: str, log: Log, tmp_path: Path, form: Literal["csv", "jsonl", "parquet"]
) -> None:
    small = Log(log.interactions.head(3_000), log.users, log.items, log.owners)
    write(small, tmp_path, form)
    with psycopg.connect(database) as conn:
        for inserted in (True, False):
            report = load(conn, read_log(tmp_path, form))
            assert report.rejected == 0
            for entity, frame in small.frames().items():
                assert report.entities[entity].inserted == len(frame) * inserted
                assert report.entities[entity].duplicate == len(frame) * (not inserted)
        row = conn.execute("SELECT * FROM feed.items ORDER BY id LIMIT 1").fetchone()
        assert row is not None


def test_any_size_and_nonsense(log: Log) -> None:
    assert len(generate(1, 1, 5, seed=1, now=NOW).interactions) == 5
    with pytest.raises(ValueError, match="above 0"):
        generate(0, 1, 1)
