"""The synthetic social network and events: sizes, truth to their own rules, a way into Postgres."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import ModuleType

import polars as pl
import psycopg
import pytest
from polars import selectors

from models.profile.interaction_types import DEFAULT_TYPES
from storage.loading.load import load
from storage.loading.log import Log
from storage.loading.samples import events, marketplace, social

NOW = datetime.now(UTC).replace(microsecond=0)
SAMPLES = pytest.mark.parametrize("sample", [social, events])


def made(sample: ModuleType, seed: int = 3) -> Log:
    return sample.generate(500, 800, 40_000, days=30, seed=seed, now=NOW)


@pytest.fixture(scope="module")
def posts() -> Log:
    return made(social)


@pytest.fixture(scope="module")
def meetings() -> Log:
    return made(events)


def on_items(log: Log) -> pl.DataFrame:
    """Interactions beside the items that they are with."""
    assert log.items is not None
    return log.interactions.join(
        log.items.rename({"id": "item_id"}), on="item_id", suffix="_of_item"
    )


@SAMPLES
def test_sizes_titles_and_times(sample: ModuleType) -> None:
    log = made(sample)
    assert log.users is not None
    assert log.items is not None
    assert (len(log.users), len(log.items), len(log.interactions)) == (500, 800, 40_000)
    assert set(log.interactions["type"]) <= set(DEFAULT_TYPES.names)
    assert log.interactions["occurred_at"].is_between(NOW - timedelta(days=31), NOW).all()
    assert log.interactions["event_id"].n_unique() == 40_000
    assert "SYNTHETIC" in log.notice
    titles = log.items["title"]
    assert titles.null_count() == 0
    assert titles.str.contains(r"^[A-Z].{5,}").all()
    assert not titles.str.contains("[{}]").any()
    assert (log.items["created_at"] <= NOW).all()
    both = on_items(log)
    assert both.filter(pl.col("user_id") == pl.col("owner_id")).is_empty()
    assert both.filter(pl.col("occurred_at") < pl.col("created_at")).is_empty()


@SAMPLES
def test_the_same_seed_gives_the_same_log(sample: ModuleType) -> None:
    one, again, other = made(sample), made(sample), made(sample, seed=4)
    for name, frame in one.frames().items():
        assert frame.equals(again.frames()[name])
        assert not frame.equals(other.frames()[name])


@pytest.mark.parametrize("sample", [marketplace, social, events])
def test_a_world_is_the_same_on_every_day(sample: ModuleType) -> None:
    """And in every hour: it is moved as a whole."""
    new_year, leap_day = (
        sample.generate(50, 80, 500, days=9.5, now=now)
        for now in (
            datetime(2025, 1, 1, 0, 30, tzinfo=UTC),
            datetime(2028, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
        )
    )
    between = datetime(2028, 2, 29, 23, tzinfo=UTC) - datetime(2025, 1, 1, tzinfo=UTC)
    for name, frame in leap_day.frames().items():
        assert frame.equals(new_year.frames()[name].with_columns(selectors.datetime() + between))


@SAMPLES
def test_any_size_and_nonsense(sample: ModuleType) -> None:
    for seed in range(3):
        assert len(sample.generate(1, 1, 5, seed=seed, now=NOW).interactions) == 5
    with pytest.raises(ValueError, match="above 0"):
        sample.generate(1, 0, 1)


@SAMPLES
def test_a_sample_loads_whole(database: str, sample: ModuleType) -> None:
    log = made(sample)
    with psycopg.connect(database) as conn:
        report = load(conn, log)
    assert report.rejected == 0
    for entity, frame in log.frames().items():
        assert report.entities[entity].inserted == len(frame)


def test_members_follow_their_taste_and_posts_fade(posts: Log) -> None:
    both = on_items(posts)
    counts = dict(posts.interactions["type"].value_counts().iter_rows())
    assert counts["impression"] > counts["view"] > counts["click"] > counts["share"] > 0
    assert "apply" not in counts
    assert posts.users is not None
    shown = both.filter(pl.col("type").is_in(["impression", "like"]))
    rate = (pl.col("type") == "like").mean()
    mine = shown.join(posts.users.select(user_id="id", chosen="tags"), on="user_id").filter(
        pl.col("chosen").list.len() > 0
    )
    common = pl.col("chosen").list.set_intersection("tags").list.len() > 0
    assert mine.filter(common).select(rate).item() > 1.2 * mine.filter(~common).select(rate).item()
    age = pl.col("occurred_at") - pl.col("created_at")
    young = shown.filter(pl.col("occurred_at") > NOW - timedelta(days=10)).select(
        (age < timedelta(days=5)).mean()
    )
    assert young.item() > 0.6  # posts are up to 30 days old


def test_events_keep_to_their_calendar_and_their_seats(meetings: Log) -> None:
    items = meetings.items
    assert items is not None
    both = on_items(meetings)
    assert (both["occurred_at"] >= both["publish_at"]).all()
    assert (both["occurred_at"] < both["starts_at"]).all()
    taken = (
        meetings.interactions.filter(pl.col("type") == "apply")
        .group_by(id="item_id")
        .agg(taken=pl.col("user_id").n_unique())
    )
    seats = items.join(taken, on="id").drop_nulls("capacity")
    assert (seats["taken"] <= seats["capacity"]).all()
    to_come = items.filter(pl.col("starts_at") > NOW)
    assert 0.3 < len(to_come) / len(items) < 0.9
    assert (items["starts_at"] <= NOW + timedelta(days=events.AHEAD_DAYS + 1)).all()
    assert seats.filter(pl.col("taken") == pl.col("capacity"), pl.col("starts_at") > NOW).height > 5
    assert to_come.filter(pl.col("publish_at") > NOW).height > 5
    assert set(items["status"]) == {"published", "draft", "removed"}
    assert items["capacity"].null_count() > 0
