"""A SYNTHETIC marketplace of local jobs, for what public data sets lack: places, owners,
prices and every type of interaction. Nothing in it is about real people.

Users have a taste (one of the categories) that drifts into another during the log, and a
home; items have a category, a place, an owner and a popularity that follows Zipf's law. A
session shows a page of items, and what a user does with each depends on how well it
matches: taste, distance, the owner's quality, and the position on the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

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
    zipf,
)
from storage.loading.samples.sessions import PAGE, Shown, begins, exactly, happens, interactions_of

CATEGORIES: dict[str, list[str]] = words("marketplace")
NOTICE = "SYNTHETIC data: a made-up marketplace. No person, listing or number in it is real."

ZIPF = 0.9  # exponent of the items' popularity


@dataclass(frozen=True)
class _World:
    """What sessions draw from: arrays by user (u) and item (i)."""

    u_city: Ints
    u_lat: Floats
    u_lon: Floats
    u_taste: Ints  # (users, 2): the category at first, and after the drift
    u_drift: Floats  # microseconds since the epoch
    u_activity: Floats  # cumulative, ends at 1
    i_category: Ints
    i_lat: Floats
    i_lon: Floats
    i_owner: Ints  # number of the user who owns it
    i_quality: Floats  # of the owner, in [0, 1]
    i_created: Ints  # microseconds since the epoch
    by_group: Ints  # items, ordered by category, then city
    group_ends: Ints  # where each (category, city) ends in by_group
    popularity: Floats  # cumulative over by_group, from 0


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
    user_ids = ids("u", users)
    item_ids = ids("i", items)
    owners = rng.choice(users, size=max(1, min(users // 5, items)), replace=False)
    quality = rng.beta(5, 2, len(owners))
    world, user_frame, item_frame = _world(rng, user_ids, item_ids, owners, quality, start, end)
    log = exactly(
        interactions,
        lambda sessions: _sessions(rng, world, sessions, start, end, user_ids, item_ids),
    )
    return Log(
        interactions=moved(log.select(event_ids(rng, len(log)), pl.all()), now),
        users=moved(user_frame, now),
        items=moved(item_frame, now),
        owners=_owner_frame(rng, user_ids, owners, quality),
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
    """The world, and the frames of its users and items."""
    users, items = len(user_ids), len(item_ids)
    names = list(CATEGORIES)
    tags = np.array([CATEGORIES[name] for name in names])  # (categories, 6)

    u_city, u_lat, u_lon = places(rng, users)
    taste = rng.integers(0, len(names), (users, 2))
    activity = rng.lognormal(0, 1.2, users)
    u_created = start - rng.exponential(0.5, users) * (end - start)
    u_tags = pick_tags(tags, taste[:, 0], rng.integers(0, 4, users), rng.integers(0, 6, users))
    located = rng.random(users) < 0.9

    i_city, i_lat, i_lon = places(rng, items)
    category = rng.choice(len(names), items, p=zipf(len(names)))
    owner = rng.integers(0, len(owners), items)
    # most listings are older than the log; the others come in while it runs
    age = np.where(rng.random(items) < 0.7, rng.uniform(1, 1.5, items), rng.random(items))
    created = (end - age * (end - start)).astype(np.int64)
    price = np.round(rng.lognormal(3 + category % 5 * 0.4, 0.5), 0)
    order = np.lexsort((i_city, category))
    groups = category[order] * len(CITIES) + i_city[order]
    weight = rng.permutation(zipf(items, ZIPF))
    world = _World(
        u_city=u_city,
        u_lat=u_lat,
        u_lon=u_lon,
        u_taste=taste,
        u_drift=rng.uniform(start, end + (end - start), users),  # half of them in the log
        u_activity=np.cumsum(activity) / activity.sum(),
        i_category=category,
        i_lat=i_lat,
        i_lon=i_lon,
        i_owner=owners[owner],
        i_quality=quality[owner],
        i_created=created,
        by_group=order,
        group_ends=np.searchsorted(
            groups, np.arange(len(names) * len(CITIES)), side="right"
        ).astype(np.int64),
        popularity=np.concatenate([[0.0], np.cumsum(weight[order])]),
    )
    user_frame = users_frame(user_ids, u_city, u_lat, u_lon, located, u_tags, u_created)
    i_tags = pick_tags(tags, category, rng.integers(1, 4, items), rng.integers(0, 6, items))
    starts = end + rng.uniform(-10, 60, items) * DAY
    item_frame = (
        pl.DataFrame(
            {
                "id": item_ids,
                "owner_id": user_ids.gather(owners[owner]),
                "tags": i_tags,
                "category": pl.Series(names).gather(category),
                "city": city_names().gather(i_city),
                "lat": i_lat,
                "lon": i_lon,
                "price_min": price,
                "price_max": np.round(price * rng.uniform(1, 2, items), 0),
                "status": pl.Series(["published", "draft", "removed"]).gather(
                    rng.choice(3, items, p=[0.95, 0.02, 0.03])
                ),
                "capacity": rng.integers(1, 20, items),
                "created_at": times(created),
                "starts_at": times(starts),
                "_capped": rng.random(items) < 0.3,
                "_starts": rng.random(items) < 0.25,
            }
        )
        .with_columns(
            pl.when("_capped").then("capacity").alias("capacity"),
            pl.when("_starts").then("starts_at").alias("starts_at"),
            title=pl.format("Help with {} in {}", pl.col("tags").list.join(" and "), "city"),
            text=pl.format(
                "{} wanted: {}. In {}, from {} euros.",
                "category",
                pl.col("tags").list.join(", "),
                "city",
                "price_min",
            ),
        )
        .drop("_capped", "_starts")
    )
    return world, user_frame, item_frame


def _owner_frame(
    rng: np.random.Generator, user_ids: pl.Series, owners: Ints, quality: Floats
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": user_ids.gather(owners),
            "average_rating": np.round(1 + 4 * quality, 2),
            "completion_rate": np.clip(quality + rng.normal(0.1, 0.1, len(owners)), 0, 1).round(3),
            "finished_jobs": rng.geometric(0.05, len(owners)) - 1,
        }
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
    drifted = begin > world.u_drift[user]
    taste = world.u_taste[user, drifted.astype(np.int64)]

    looking = np.repeat(np.arange(count), PAGE)
    item = _draw_items(rng, world, taste[looking], world.u_city[user][looking])
    shown = Shown.pages(begin, item)
    shown = shown.only(
        (world.i_created[item] <= shown.at) & (world.i_owner[item] != user[shown.session])
    )
    who, item = user[shown.session], shown.item

    km = distance_km(world.u_lat[who], world.u_lon[who], world.i_lat[item], world.i_lon[item])
    match = (
        0.5 * (world.i_category[item] == taste[shown.session])
        + 0.3 * np.exp(-km / 15)
        + 0.2 * world.i_quality[item]
    )

    every = np.ones(len(item), bool)
    view = happens(rng, every, 0.7 * match / np.log2(shown.position + 1))
    click = happens(rng, view, 0.2 + 0.5 * match)
    apply = happens(rng, click, 0.25 * match)
    done = {  # and seconds after the impression
        "impression": (every, 0),
        "view": (view, 2),
        "click": (click, 4),
        "dwell": (happens(rng, click, 0.5), 40),
        "like": (happens(rng, click, 0.15 * match), 45),
        "save": (happens(rng, click, 0.2 * match), 50),
        "share": (happens(rng, click, 0.05), 60),
        "apply": (apply, 120),
        "unapply": (happens(rng, apply, 0.05), 600),
        "dismiss": (happens(rng, ~view, 0.02 * (1 - match)), 3),
    }
    return interactions_of(
        rng,
        shown,
        done,
        {"search": 0.15, "filter": 0.05},
        user=user,
        begin=begin,
        taste=taste,
        names=list(CATEGORIES),
        user_ids=user_ids,
        item_ids=item_ids,
    )


def _draw_items(rng: np.random.Generator, world: _World, taste: Ints, city: Ints) -> Ints:
    """An item for each impression, by popularity: of the taste near by, of the taste, or of all."""
    source = rng.random(len(taste))
    cities = len(CITIES)
    near, any_city = source < 0.5, source < 0.75
    first = np.where(near, taste * cities + city, np.where(any_city, taste * cities, 0))
    last = np.where(near, first, np.where(any_city, first + cities - 1, len(world.group_ends) - 1))
    begins = np.where(first > 0, world.group_ends[first - 1], 0)
    ends = world.group_ends[last]
    begins, ends = (
        np.where(begins == ends, 0, begins),
        np.where(begins == ends, len(world.by_group), ends),
    )
    low, high = world.popularity[begins], world.popularity[ends]
    index = (
        np.searchsorted(world.popularity, low + rng.random(len(low)) * (high - low), "right") - 1
    )
    return world.by_group[np.clip(index, begins, ends - 1)]
