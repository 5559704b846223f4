"""A SYNTHETIC marketplace of local jobs, for what public data sets lack: places, owners,
prices and every type of interaction. Nothing in it is about real people.

Users have a taste (one of the categories) that drifts into another during the log, and a
home; items have a category, a place, an owner and a popularity that follows Zipf's law. A
session shows a page of items, and what a user does with each depends on how well it
matches: taste, distance, the owner's quality, and the position on the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from models.profile import INTERACTION_TYPES
from storage.log import Log
from storage.samples.categories import CATEGORIES
from storage.samples.cities import CITIES

NOTICE = "SYNTHETIC data: a made-up marketplace. No person, listing or number in it is real."

PAGE = 10  # items that a session shows
SESSIONS_AT_A_TIME = 100_000
ZIPF = 0.9  # exponent of the items' popularity

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
        days: length of the log, which ends at ``now`` (default: the present).
    """
    if min(users, items, interactions) < 1 or days <= 0:
        raise ValueError("users, items, interactions and days must be above 0")
    rng = np.random.default_rng(seed)
    end = int((now or datetime.now(UTC)).timestamp() * 1e6)
    start = end - int(timedelta(days=days) / timedelta(microseconds=1))
    user_ids = _ids("u", users)
    item_ids = _ids("i", items)
    owners = rng.choice(users, size=max(1, min(users // 5, items)), replace=False)
    quality = rng.beta(5, 2, len(owners))
    world, user_frame, item_frame = _world(rng, user_ids, item_ids, owners, quality, start, end)
    batches = []
    missing = interactions
    while missing > 0:
        sessions = min(SESSIONS_AT_A_TIME, missing // PAGE + 1)
        batch = _sessions(rng, world, sessions, start, end, user_ids, item_ids).head(missing)
        batches.append(batch)
        missing -= len(batch)
    log = pl.concat(batches)
    return Log(
        interactions=log.select(_event_ids(rng, len(log)), pl.all()),
        users=user_frame,
        items=item_frame,
        owners=_owner_frame(rng, user_ids, owners, quality),
        sources=dict.fromkeys(("users", "items", "owners", "interactions"), "synthetic"),
        notice=NOTICE,
    )


def _ids(prefix: str, count: int) -> pl.Series:
    return pl.select(pl.lit(prefix) + pl.int_range(1, count + 1).cast(pl.String)).to_series()


def _event_ids(rng: np.random.Generator, count: int) -> pl.Series:
    """Random (version 4) UUIDs as 32 hex digits."""
    octets = np.frombuffer(rng.bytes(16 * count), np.uint8).reshape(count, 16).copy()
    octets[:, 6] = octets[:, 6] & 0x0F | 0x40
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    # by way of Arrow: numpy's own bytes lose their trailing zeros
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), count, [None, pa.py_buffer(octets)])
    return pl.Series("event_id", array).cast(pl.Binary).bin.encode("hex")


def _places(rng: np.random.Generator, count: int) -> tuple[Ints, Floats, Floats]:
    """City numbers by size, and coordinates scattered about 8 km around the centres."""
    size = np.array([city[3] for city in CITIES], float)
    city = rng.choice(len(CITIES), count, p=size / size.sum())
    centre = np.array([city[1:3] for city in CITIES])[city]
    lat = centre[:, 0] + rng.normal(0, 0.07, count)
    lon = centre[:, 1] + rng.normal(0, 0.07, count) / np.cos(np.radians(centre[:, 0]))
    return city, lat.round(5), lon.round(5)


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

    u_city, u_lat, u_lon = _places(rng, users)
    taste = rng.integers(0, len(names), (users, 2))
    activity = rng.lognormal(0, 1.2, users)
    u_created = start - rng.exponential(0.5, users) * (end - start)
    u_tags = _pick_tags(rng, tags, taste[:, 0], rng.integers(0, 4, users))
    located = rng.random(users) < 0.9

    i_city, i_lat, i_lon = _places(rng, items)
    category = rng.choice(len(names), items, p=_zipf(len(names)))
    owner = rng.integers(0, len(owners), items)
    # most listings are older than the log; the others come in while it runs
    age = np.where(rng.random(items) < 0.7, rng.uniform(1, 1.5, items), rng.random(items))
    created = (end - age * (end - start)).astype(np.int64)
    price = np.round(rng.lognormal(3 + category % 5 * 0.4, 0.5), 0)
    order = np.lexsort((i_city, category))
    groups = category[order] * len(CITIES) + i_city[order]
    weight = rng.permutation(_zipf(items, ZIPF))
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
    city = pl.Series([name for name, *_ in CITIES])
    user_frame = pl.DataFrame(
        {
            "id": user_ids,
            "lat": np.where(located, u_lat, np.nan),
            "lon": np.where(located, u_lon, np.nan),
            "city": city.gather(u_city),
            "tags": u_tags,
            "created_at": _times(u_created),
        }
    ).with_columns(
        pl.col("lat", "lon").fill_nan(None),
        pl.when(pl.col("lat").is_nan()).then(None).otherwise(pl.col("city")).alias("city"),
    )
    i_tags = _pick_tags(rng, tags, category, rng.integers(1, 4, items))
    starts = end + rng.uniform(-10, 60, items) * 86_400e6
    item_frame = (
        pl.DataFrame(
            {
                "id": item_ids,
                "owner_id": user_ids.gather(owners[owner]),
                "tags": i_tags,
                "category": pl.Series(names).gather(category),
                "city": city.gather(i_city),
                "lat": i_lat,
                "lon": i_lon,
                "price_min": price,
                "price_max": np.round(price * rng.uniform(1, 2, items), 0),
                "status": pl.Series(["published", "draft", "removed"]).gather(
                    rng.choice(3, items, p=[0.95, 0.02, 0.03])
                ),
                "capacity": rng.integers(1, 20, items),
                "created_at": _times(created),
                "starts_at": _times(starts),
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


def _zipf(count: int, exponent: float = 1.0) -> Floats:
    weight = 1.0 / np.arange(1, count + 1) ** exponent
    return weight / weight.sum()


def _times(microseconds: NDArray[np.number]) -> pl.Series:
    return pl.Series(microseconds.astype(np.int64)).cast(pl.Datetime("us", "UTC"))


def _pick_tags(
    rng: np.random.Generator, tags: NDArray[np.str_], category: Ints, count: Ints
) -> pl.Series:
    """For each row, ``count`` tags of its category: neighbours on a ring, from a random start."""
    per_row = tags.shape[1]
    start = rng.integers(0, per_row, len(category))
    flat = pl.Series(tags.ravel().tolist())
    picked = pl.DataFrame(
        {
            str(step): flat.gather(category * per_row + (start + step) % per_row)
            for step in range(int(count.max()) + 1)
        }
    )
    first = pl.concat_list(pl.all().exclude("count")).list.head(pl.col("count"))
    return picked.with_columns(count=pl.Series(count)).select(first).to_series()


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
    # busier in the evening: the hour of day is drawn around 19:00 UTC
    day = rng.integers(0, max((end - start) // 86_400_000_000, 1), count)
    hour = rng.normal(19, 4, count) % 24
    begin = start + ((day + hour / 24) * 86_400e6).astype(np.int64)
    begin = np.minimum(begin, end - 700_000_000)
    drifted = begin > world.u_drift[user]
    taste = world.u_taste[user, drifted.astype(np.int64)]

    shown = np.repeat(np.arange(count), PAGE)  # session of each impression
    position = np.tile(np.arange(1, PAGE + 1), count)
    item = _draw_items(rng, world, taste[shown], world.u_city[user][shown])
    at = begin[shown] + position * 1_000_000
    exists = (world.i_created[item] <= at) & (world.i_owner[item] != user[shown])
    shown, position, item, at = shown[exists], position[exists], item[exists], at[exists]
    who = user[shown]

    km = _distance(world.u_lat[who], world.u_lon[who], world.i_lat[item], world.i_lon[item])
    match = (
        0.5 * (world.i_category[item] == taste[shown])
        + 0.3 * np.exp(-km / 15)
        + 0.2 * world.i_quality[item]
    )

    def happens(given: NDArray[np.bool_], chance: Floats | float) -> NDArray[np.bool_]:
        return given & (rng.random(len(given)) < chance)

    view = happens(np.ones(len(item), bool), 0.7 * match / np.log2(position + 1))
    click = happens(view, 0.2 + 0.5 * match)
    apply = happens(click, 0.25 * match)
    events = {  # chance, and seconds after the impression
        "impression": (np.ones(len(item), bool), 0),
        "view": (view, 2),
        "click": (click, 4),
        "dwell": (happens(click, 0.5), 40),
        "like": (happens(click, 0.15 * match), 45),
        "save": (happens(click, 0.2 * match), 50),
        "share": (happens(click, 0.05), 60),
        "apply": (apply, 120),
        "unapply": (happens(apply, 0.05), 600),
        "dismiss": (happens(~view, 0.02 * (1 - match)), 3),
    }
    parts = [
        _part(name, np.flatnonzero(mask), shown, item, at + delay * 1_000_000)
        for name, (mask, delay) in events.items()
    ]
    nothing = np.full(count, -1)
    for name, chance in (("search", 0.15), ("filter", 0.05)):
        parts.append(
            _part(
                name, np.flatnonzero(rng.random(count) < chance), np.arange(count), nothing, begin
            )
        )
    kind, session, what, when, row = (
        np.concatenate(columns) for columns in zip(*parts, strict=True)
    )
    order = np.lexsort((when, session))
    kind, session, what, when, row = (a[order] for a in (kind, session, what, when, row))
    return pl.DataFrame(
        {
            "user_id": user_ids.gather(user[session]),
            "item_id": item_ids.gather(
                pl.Series(what, strict=False).set(pl.Series(what < 0), None)
            ),
            "type": pl.Series(INTERACTION_TYPES).gather(kind),
            "occurred_at": _times(when),
            "metadata": _metadata(rng, kind, row, position, taste[session]),
        }
    )


def _part(name: str, rows: Ints, session: Ints, item: Ints, at: Ints) -> tuple[Ints, ...]:
    """Type, session, item, time and impression of the events of one type."""
    kind = np.full(len(rows), INTERACTION_TYPES.index(name))
    return kind, session[rows], item[rows], at[rows], rows


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
    place = (
        np.searchsorted(world.popularity, low + rng.random(len(low)) * (high - low), "right") - 1
    )
    return world.by_group[np.clip(place, begins, ends - 1)]


def _distance(lat1: Floats, lon1: Floats, lat2: Floats, lon2: Floats) -> Floats:
    """Kilometres on a flat map: near enough within a city, and far is far."""
    x = (lon2 - lon1) * np.cos(np.radians(lat1))
    return 111.2 * np.hypot(lat2 - lat1, x)


def _metadata(
    rng: np.random.Generator, kind: Ints, row: Ints, position: Ints, taste: Ints
) -> pl.Series:
    """Position on the page; seconds of a dwell; what was looked for."""
    names = list(CATEGORIES)
    positions = [f'{{"position": {n}}}' for n in range(PAGE + 1)]
    seconds = [f'{{"seconds": {n}}}' for n in range(301)]
    queries = [f'{{"query": "{name}"}}' for name in names]
    filters = [f'{{"category": "{name}"}}' for name in names]
    is_kind = {name: kind == number for number, name in enumerate(INTERACTION_TYPES)}
    offsets = np.cumsum([0, len(positions), len(seconds), len(queries)])
    by_page = position[np.minimum(row, len(position) - 1)] if len(position) else row
    dwell = np.minimum(rng.exponential(35, len(kind)), 300).astype(np.int64)
    number = np.where(is_kind["dwell"], offsets[1] + dwell, by_page)
    number = np.where(is_kind["search"], offsets[2] + taste, number)
    number = np.where(is_kind["filter"], offsets[3] + taste, number)
    return pl.Series(positions + seconds + queries + filters).gather(number)
