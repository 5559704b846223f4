"""How a version would have done on the feeds that were shown, before any user gets it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import polars as pl
import psycopg
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.snapshot import Snapshot
from models.evaluation.off_policy import OffPolicy, off_policy
from models.feed.pipeline import FeedPipeline, Query
from models.profile.schema import Profile
from models.ranking.learned import ranker_of

MOST_FEEDS = 2_000
"""The newest feeds that are looked at; ranking for one user takes a millisecond or two."""

# What stands below a gap is left out: nobody knows what was above it. A click counts with the
# feed that it came from. Trackers are public: what is no chance is not believed.
_SHOWN = """
WITH impressions AS (
    SELECT DISTINCT ON (feed, position) * FROM (
        SELECT metadata->>'feed_id' AS feed, user_id, item_id, occurred_at,
               CASE WHEN jsonb_typeof(metadata->'position') = 'number'
                    THEN (metadata->>'position')::numeric END AS position,
               CASE WHEN jsonb_typeof(metadata->'propensity') = 'number'
                    THEN (metadata->>'propensity')::numeric END AS propensity
        FROM feed.interactions
        WHERE type = ANY(%(shown)s) AND occurred_at >= %(start)s AND occurred_at < %(end)s
          AND user_id IS NOT NULL AND metadata->>'variant' = 'champion') AS i
    WHERE feed IS NOT NULL AND propensity > 0 AND propensity <= 1
    ORDER BY feed, position, occurred_at
), whole AS (
    SELECT *, row_number() OVER (PARTITION BY feed ORDER BY position) = position AS no_gap,
           min(occurred_at) OVER (PARTITION BY feed) AS began
    FROM impressions
), ranked AS (
    SELECT *, dense_rank() OVER (ORDER BY began DESC, feed) AS newest FROM whole WHERE no_gap
)
SELECT feed, user_id, item_id, propensity::float8, EXISTS (
           SELECT FROM feed.interactions AS c
           WHERE c.type = ANY(%(clicked)s)
             AND c.user_id = ranked.user_id AND c.item_id = ranked.item_id
             AND c.occurred_at >= ranked.occurred_at AND c.occurred_at < %(end)s
             AND c.metadata->>'feed_id' = feed)
FROM ranked WHERE newest <= %(most)s ORDER BY newest, position
"""
SCHEMA = {
    "feed": pl.String,
    "user_id": pl.String,
    "item_id": pl.String,
    "propensity": pl.Float64,
    "clicked": pl.Boolean,
}


def estimate(
    conn: psycopg.Connection,
    snapshot: Snapshot,
    profile: Profile,
    *,
    start: datetime,
    end: datetime,
    most: int = MOST_FEEDS,
) -> OffPolicy | None:
    """The click rate of a version on feeds that the champion showed to named users.

    It stands for what the version would have put at each position below what was above it, ranked
    with what its snapshot knows of the user, without exploration.

    Args:
        snapshot: of the version to judge.
        start: when it was trained, or later: it knows the clicks of before.

    Returns:
        None: nothing was shown to anybody whom the version knows.
    """
    types = profile.interaction_types
    asked = {
        "start": start,
        "end": end,
        "most": most,
        "shown": list(types.impressions),
        "clicked": types.counted_as("click"),
    }
    rows = conn.execute(_SHOWN, asked).fetchall()
    shown = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    has_row = snapshot.users.ids.indices(shown["user_id"]) >= 0
    shown = shown.filter(pl.Series(has_row))
    if shown.is_empty():
        return None
    orders = orders_of(snapshot, profile, shown["user_id"].unique().to_list(), end.timestamp())
    items = snapshot.items.ids.indices(shown["item_id"])
    first = np.flatnonzero(shown["feed"].rle_id().diff().fill_null(1).to_numpy())
    users = shown["user_id"].gather(first).to_list()
    target = np.concatenate(
        [
            choices(orders[user], feed)
            for user, feed in zip(users, np.split(items, first[1:]), strict=True)
        ]
    )
    return off_policy(
        shown["clicked"].to_numpy().astype(np.float64),
        shown["propensity"].to_numpy(),
        target,
        snapshot.users.ids.indices(shown["user_id"]),
    )


def choices(order: NDArray[np.integer], shown: NDArray[np.integer]) -> NDArray[np.float64]:
    """At which positions of a feed the shown item is the one that another order puts there: its
    first of those that do not stand above. O(n log n).

    Args:
        order: distinct items, best first, shape (n,).
        shown: distinct items from the first position on, shape (m,), in the order or not.

    Returns:
        1 or 0, shape (m,).
    """
    if not len(order):
        return np.zeros(len(shown))
    sorter = np.argsort(order)
    near = sorter[np.minimum(np.searchsorted(order, shown, sorter=sorter), len(order) - 1)]
    position = np.where(order[near] == shown, near, -1)
    # The first place that is free at a position: all before it were taken above.
    taken_at = np.full(len(order) + 1, len(shown))
    taken_at[position[position >= 0]] = np.flatnonzero(position >= 0)
    free = np.searchsorted(np.maximum.accumulate(taken_at), np.arange(len(shown)))
    return (position == free).astype(np.float64)


def orders_of(
    snapshot: Snapshot, profile: Profile, users: Sequence[str], now: float
) -> dict[str, NDArray[np.int32]]:
    """How the version ranks for each of these users."""
    pipeline = FeedPipeline.offline(
        LiveCatalogue(snapshot), profile, now=now, ranker=ranker_of(snapshot)
    )
    orders = {}
    for user in users:
        viewer = pipeline.live.viewer(user)
        viewer = viewer if viewer.preferences.personalized else viewer.impersonal()
        orders[user] = pipeline.rank(viewer, Query(now)).rows
    return orders
