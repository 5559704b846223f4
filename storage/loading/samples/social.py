"""A SYNTHETIC social network: members who post, and read what others post. Nothing in it is
about real people.

Members have a main topic and a second one, and favourite tags in both; they write of them
and read of them. Posts are seen for some days: the older, the more rarely. What a member does
with a post depends on topic, tags, how good its author is, and the position on the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from storage.loading.log import Log
from storage.loading.samples.drawing import (
    DAY,
    END,
    Floats,
    Ints,
    city_names,
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

WORDS: dict[str, Any] = words("social")
TOPICS: dict[str, dict[str, str]] = WORDS["topics"]
TITLES: list[str] = WORDS["titles"]
NOTICE = "SYNTHETIC data: a made-up social network. No member or post in it is real."

SEEN_DAYS = 2.5  # mean age of the posts that are shown
TAGS = 6  # of each topic


@dataclass(frozen=True)
class _World:
    """What sessions draw from: arrays by member (u) and post (p)."""

    u_topics: Ints  # (users, 2): the main topic and the second
    u_tag: Ints  # number of the favourite tag in any topic
    u_activity: Floats  # cumulative, ends at 1
    p_topic: Ints
    p_tag: Ints  # number of its first tag in its topic
    p_author: Ints  # number of a member
    p_created: Ints  # microseconds since the epoch
    p_appeal: Floats
    shelves: Shelves  # by topic, in the order of creation


def generate(
    users: int = 1_000,
    items: int = 2_000,
    interactions: int = 50_000,
    *,
    days: float = 30,
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
    user_ids, item_ids = ids("u", users), ids("p", items)
    world, user_frame, item_frame = _world(rng, user_ids, item_ids, start, end)
    log = exactly(
        interactions,
        lambda sessions: _sessions(rng, world, sessions, start, end, user_ids, item_ids),
    )
    return Log(
        interactions=moved(log.select(event_ids(rng, len(log)), pl.all()), now),
        users=moved(user_frame, now),
        items=moved(item_frame, now),
        owners=item_frame.select(pl.col("owner_id").unique(maintain_order=True).alias("id")),
        sources=dict.fromkeys(("users", "items", "owners", "interactions"), "synthetic"),
        notice=NOTICE,
    )


def _world(
    rng: np.random.Generator, user_ids: pl.Series, item_ids: pl.Series, start: int, end: int
) -> tuple[_World, pl.DataFrame, pl.DataFrame]:
    """The world, and the frames of its members and posts."""
    users, items = len(user_ids), len(item_ids)
    names = list(TOPICS)
    tags = np.array([list(TOPICS[name]) for name in names])  # (topics, TAGS)

    city, lat, lon = places(rng, users)
    topics = rng.integers(0, len(names), (users, 2))
    favourite = rng.integers(0, TAGS, users)
    activity = rng.lognormal(0, 1.2, users)
    located = rng.random(users) < 0.8
    user_frame = users_frame(
        user_ids,
        city,
        lat,
        lon,
        located,
        pick_tags(tags, topics[:, 0], rng.integers(0, 4, users), favourite),
        start - rng.exponential(0.5, users) * (end - start),
    )

    # few members write most posts, mostly of their main topic
    author = rng.choice(users, items, p=_shares(rng.lognormal(0, 1.5, users)))
    topic = np.where(rng.random(items) < 0.75, topics[author, 0], topics[author, 1])
    tag = np.where(rng.random(items) < 0.5, favourite[author], rng.integers(0, TAGS, items))
    created = (start + rng.random(items) * (end - start)).astype(np.int64)
    talent = rng.normal(0, 0.7, users)
    placed = located[author] & (rng.random(items) < 0.5)
    about = pl.Series([phrase for name in names for phrase in TOPICS[name].values()])
    item_frame = pl.DataFrame(
        {
            "id": item_ids,
            "owner_id": user_ids.gather(author),
            "tags": pick_tags(tags, topic, rng.integers(1, 4, items), tag),
            "category": pl.Series(names).gather(topic),
            "status": pl.Series(["published", "draft", "removed"]).gather(
                rng.choice(3, items, p=[0.97, 0.01, 0.02])
            ),
            "created_at": times(created),
            "_city": city_names().gather(city[author]),
            "_lat": lat[author],
            "_lon": lon[author],
            "_placed": placed,
            "_about": about.gather(topic * TAGS + tag),
            "_frame": pl.Series(WORDS["titles"]).gather(
                rng.integers(0, len(WORDS["titles"]), items)
            ),
        }
    ).select(
        "id",
        "owner_id",
        _capital(pl.col("_frame").str.replace("{}", pl.col("_about"), literal=True)).alias("title"),
        pl.format(
            "{}. More of {} soon; tell me what you think.",
            _capital(pl.col("_about")),
            pl.col("tags").list.join(", ").str.replace_all("-", " "),
        ).alias("text"),
        "tags",
        "category",
        *(pl.when("_placed").then(f"_{name}").alias(name) for name in ("city", "lat", "lon")),
        "status",
        "created_at",
    )
    world = _World(
        u_topics=topics,
        u_tag=favourite,
        u_activity=np.cumsum(_shares(activity)),
        p_topic=topic,
        p_tag=tag,
        p_author=author,
        p_created=created,
        p_appeal=talent[author] + rng.normal(0, 1, items),
        shelves=Shelves(topic, created),
    )
    return world, user_frame, item_frame


def _shares(weights: Floats) -> Floats:
    return weights / weights.sum()


def _capital(words: pl.Expr) -> pl.Expr:
    return words.str.slice(0, 1).str.to_uppercase() + words.str.slice(1)


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
    taste = world.u_topics[user, (rng.random(count) < 0.3).astype(np.int64)]

    looking = np.repeat(np.arange(count), PAGE)
    other = rng.integers(0, len(TOPICS), len(looking))
    topic = np.where(rng.random(len(looking)) < 0.6, taste[looking], other)
    age = rng.exponential(SEEN_DAYS * DAY, len(looking)).astype(np.int64)
    item = world.shelves.draw(rng, topic, begin[looking] - age, world.p_appeal, later=False)
    shown = Shown.pages(begin, item)
    shown = shown.only((item >= 0) & (world.p_author[item] != user[shown.session]))
    who, item = user[shown.session], shown.item

    match = (
        0.5 * (world.u_topics[who] == world.p_topic[item][:, None]).any(axis=1)
        + 0.2 * (world.u_tag[who] == world.p_tag[item])
        + 0.3 / (1 + np.exp(-world.p_appeal[item]))
    )
    every = np.ones(len(item), bool)
    view = happens(rng, every, 0.8 * match / np.log2(shown.position + 1))
    click = happens(rng, view, 0.2 + 0.4 * match)
    done = {  # and seconds after the impression
        "impression": (every, 0),
        "view": (view, 2),
        "click": (click, 4),
        "dwell": (happens(rng, click, 0.4), 30),
        "like": (happens(rng, view, 0.45 * match), 20),
        "save": (happens(rng, click, 0.12 * match), 25),
        "share": (happens(rng, click, 0.15 * match), 35),
        "dismiss": (happens(rng, ~view, 0.03 * (1 - match)), 3),
    }
    return interactions_of(
        rng,
        shown,
        done,
        {"search": 0.08},
        user=user,
        begin=begin,
        taste=taste,
        names=list(TOPICS),
        user_ids=user_ids,
        item_ids=item_ids,
    )
