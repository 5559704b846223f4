"""SYNTHETIC events: concerts, walks and workshops that visitors register for. Nothing in it is
about real people.

Events are announced weeks before they start, in a city, by an organiser, for a number of
seats. Visitors look for what starts soon near by, mostly in the categories that they like;
registrations stop when the seats are gone, so some events are full.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from storage.loading.log import Log
from storage.loading.samples.drawing import (
    CITIES,
    DAY,
    END,
    Floats,
    Ints,
    city_names,
    distance_km,
    event_ids,
    ids,
    microseconds,
    moved,
    pick_tags,
    places,
    times,
    users_frame,
    words,
)
from storage.loading.samples.sessions import PAGE, Shown, begins, exactly, happens, interactions_of
from storage.loading.samples.shelves import Shelves

WORDS: dict[str, Any] = words("events")
PROGRAMME: dict[str, dict[str, str]] = WORDS["programme"]
TITLES: list[str] = WORDS["titles"]
NOTICE = "SYNTHETIC data: made-up events. No visitor, organiser or event in it is real."

AHEAD_DAYS = 60  # how far ahead of the log's end events start
TAGS = 6  # of each category


@dataclass(frozen=True)
class _World:
    """What sessions draw from: arrays by visitor (u) and event (e)."""

    u_city: Ints
    u_lat: Floats
    u_lon: Floats
    u_taste: Ints  # (users, 2): categories
    u_activity: Floats  # cumulative, ends at 1
    e_category: Ints
    e_lat: Floats
    e_lon: Floats
    e_owner: Ints  # number of the visitor who organises it
    e_open: Ints  # from when it can be seen, microseconds since the epoch
    e_starts: Ints
    e_appeal: Floats
    shelves: Shelves  # by city, in the order in which they start


def generate(
    users: int = 1_000,
    items: int = 2_000,
    interactions: int = 50_000,
    *,
    days: float = 60,
    seed: int = 0,
    now: datetime | None = None,
) -> Log:
    """A synthetic log of exactly so many rows; the same for the same arguments.

    Args:
        users, items, interactions: at least 1 each.
        days: length of the log, which ends within the hour before ``now`` (default: the present).
    """
    if min(users, items, interactions) < 1 or days <= 0:
        raise ValueError("users, items, interactions and days must be above 0")
    rng, now = np.random.default_rng(seed), now or datetime.now(UTC)
    end = microseconds(END)
    start = end - int(days * DAY)
    user_ids, item_ids = ids("u", users), ids("e", items)
    owners = rng.choice(users, size=max(1, min(users // 10, items)), replace=False)
    quality = rng.beta(5, 2, len(owners))
    world, user_frame, item_frame = _world(rng, user_ids, item_ids, owners, quality, start, end)
    log = exactly(
        interactions,
        lambda sessions: _sessions(rng, world, sessions, start, end, user_ids, item_ids),
    )
    return Log(
        interactions=moved(log.select(event_ids(rng, len(log)), pl.all()), now),
        users=moved(user_frame, now),
        items=moved(_with_capacity(rng, item_frame, log), now),
        owners=pl.DataFrame(
            {
                "id": user_ids.gather(owners),
                "average_rating": np.round(1 + 4 * quality, 2),
                "completion_rate": rng.beta(20, 1, len(owners)).round(3),
                "finished_jobs": rng.geometric(0.08, len(owners)) - 1,
            }
        ),
        sources=dict.fromkeys(("users", "items", "owners", "interactions"), "synthetic"),
        notice=NOTICE,
    )


def _world(
    rng: np.random.Generator,
    user_ids: pl.Series,
    item_ids: pl.Series,
    owners: Ints,
    quality: Floats,
    start: int,
    end: int,
) -> tuple[_World, pl.DataFrame, pl.DataFrame]:
    """The world, and the frames of its visitors and events, which have no capacity yet."""
    users, items = len(user_ids), len(item_ids)
    names = list(PROGRAMME)
    tags = np.array([list(PROGRAMME[name]) for name in names])  # (categories, TAGS)

    u_city, u_lat, u_lon = places(rng, users)
    taste = rng.integers(0, len(names), (users, 2))
    activity = rng.lognormal(0, 1, users)
    user_frame = users_frame(
        user_ids,
        u_city,
        u_lat,
        u_lon,
        rng.random(users) < 0.9,
        pick_tags(tags, taste[:, 0], rng.integers(0, 4, users), rng.integers(0, TAGS, users)),
        start - rng.exponential(0.5, users) * (end - start),
    )

    e_city, e_lat, e_lon = places(rng, items)
    category = rng.integers(0, len(names), items)
    tag = rng.integers(0, TAGS, items)
    owner = rng.integers(0, len(owners), items)
    # on the hour, between 9 and 21
    day = rng.integers(start // DAY, end // DAY + AHEAD_DAYS, items)
    starts = day * DAY + rng.integers(9, 22, items) * (DAY // 24)
    created = starts - (rng.uniform(10, 50, items) * DAY).astype(np.int64)
    created = np.where(created < end, created, end - rng.integers(1, 20 * DAY, items))
    # announced within two days, but for some that wait
    wait = np.where(rng.random(items) < 0.9, rng.uniform(0, 2, items), rng.uniform(5, 30, items))
    publish = np.minimum(created + (wait * DAY).astype(np.int64), starts - DAY)
    called = pl.Series([name for kind in names for name in PROGRAMME[kind].values()])
    free = rng.random(items) < 0.4
    price = np.where(free, 0, np.round(rng.lognormal(2.5, 0.6, items)))
    item_frame = pl.DataFrame(
        {
            "id": item_ids,
            "owner_id": user_ids.gather(owners[owner]),
            "tags": pick_tags(tags, category, rng.integers(1, 4, items), tag),
            "category": pl.Series(names).gather(category),
            "city": city_names().gather(e_city),
            "lat": e_lat,
            "lon": e_lon,
            "price_min": price,
            "price_max": np.round(price * rng.uniform(1, 1.5, items)),
            "status": pl.Series(["published", "draft", "removed"]).gather(
                rng.choice(3, items, p=[0.94, 0.03, 0.03])
            ),
            "created_at": times(created),
            "publish_at": times(publish),
            "starts_at": times(starts),
            "_called": called.gather(category * TAGS + tag),
            "_frame": pl.Series(WORDS["titles"]).gather(
                rng.integers(0, len(WORDS["titles"]), items)
            ),
        }
    )
    name = pl.col("_frame").str.replace("{}", pl.col("_called"), literal=True)
    item_frame = item_frame.with_columns(
        title=name.str.replace("{}", pl.col("city"), literal=True),
        text=pl.format(
            "{} on {}. {}. Topics: {}.",
            "_called",
            pl.col("starts_at").dt.strftime("%-d %B at %H:%M"),
            pl.when(pl.col("price_min") == 0)
            .then(pl.lit("Free entry"))
            .otherwise(pl.format("From {} euros", pl.col("price_min").cast(pl.Int64))),
            pl.col("tags").list.join(", ").str.replace_all("-", " "),
        ),
    ).drop("_called", "_frame")
    world = _World(
        u_city=u_city,
        u_lat=u_lat,
        u_lon=u_lon,
        u_taste=taste,
        u_activity=np.cumsum(activity / activity.sum()),
        e_category=category,
        e_lat=e_lat,
        e_lon=e_lon,
        e_owner=owners[owner],
        e_open=np.maximum(publish, created),
        e_starts=starts,
        e_appeal=2 * quality[owner] + rng.normal(0, 1.2, items),
        shelves=Shelves(e_city, starts),
    )
    return world, user_frame, item_frame


def _with_capacity(
    rng: np.random.Generator, items: pl.DataFrame, interactions: pl.DataFrame
) -> pl.DataFrame:
    """Seats: for some events just as many as registered, for a fifth no limit."""
    applied = (
        interactions.filter(pl.col("type") == "apply")
        .group_by(id="item_id")
        .agg(_taken=pl.col("user_id").n_unique().cast(pl.Int64))
    )
    spare = rng.integers(3, 40, len(items))
    return (
        items.join(applied, on="id", how="left", maintain_order="left")
        .with_columns(
            pl.col("_taken").fill_null(0),
            _spare=pl.Series(spare),
            _packed=pl.Series(rng.random(len(items)) < 0.4),
            _open=pl.Series(rng.random(len(items)) < 0.2),
        )
        .with_columns(
            capacity=pl.when(pl.col("_packed") & (pl.col("_taken") > 0))
            .then("_taken")
            .when(~pl.col("_open"))
            .then(pl.col("_taken") + pl.col("_spare"))
        )
        .select(*items.columns, "capacity")
    )


def _sessions(
    rng: np.random.Generator,
    world: _World,
    count: int,
    start: int,
    end: int,
    user_ids: pl.Series,
    item_ids: pl.Series,
) -> pl.DataFrame:
    """Interactions of ``count`` sessions, session by session in the order of time in each."""
    user = np.searchsorted(world.u_activity, rng.random(count))
    user = np.minimum(user, len(user_ids) - 1)
    begin = begins(rng, count, start, end)
    taste = world.u_taste[user, (rng.random(count) < 0.4).astype(np.int64)]

    looking = np.repeat(np.arange(count), PAGE)
    away = rng.integers(0, len(CITIES), len(looking))
    city = np.where(rng.random(len(looking)) < 0.85, world.u_city[user][looking], away)
    ahead = rng.exponential(12 * DAY, len(looking)).astype(np.int64)
    item = world.shelves.draw(rng, city, begin[looking] + ahead, world.e_appeal, later=True)
    shown = Shown.pages(begin, item)
    shown = shown.only(
        (item >= 0)
        & (world.e_open[item] <= shown.at)
        & (world.e_starts[item] > shown.at + DAY // 24)
        & (world.e_owner[item] != user[shown.session])
    )
    who, item = user[shown.session], shown.item

    km = distance_km(world.u_lat[who], world.u_lon[who], world.e_lat[item], world.e_lon[item])
    match = (
        0.5 * (world.e_category[item] == taste[shown.session])
        + 0.3 * np.exp(-km / 25)
        + 0.2 / (1 + np.exp(-world.e_appeal[item]))
    )
    every = np.ones(len(item), bool)
    view = happens(rng, every, 0.8 * match / np.log2(shown.position + 1))
    click = happens(rng, view, 0.2 + 0.5 * match)
    apply = happens(rng, click, 0.4 * match)
    done = {  # and seconds after the impression
        "impression": (every, 0),
        "view": (view, 2),
        "click": (click, 4),
        "dwell": (happens(rng, click, 0.5), 40),
        "like": (happens(rng, click, 0.1 * match), 45),
        "save": (happens(rng, click, 0.25 * match), 50),
        "share": (happens(rng, click, 0.08), 60),
        "apply": (apply, 120),
        "unapply": (happens(rng, apply, 0.06), 600),
        "dismiss": (happens(rng, ~view, 0.02 * (1 - match)), 3),
    }
    return interactions_of(
        rng,
        shown,
        done,
        {"search": 0.12, "filter": 0.12},
        user=user,
        begin=begin,
        taste=taste,
        names=list(PROGRAMME),
        user_ids=user_ids,
        item_ids=item_ids,
    )
