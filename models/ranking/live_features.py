"""What the feed's ranker sees of a (viewer, item): made from the live catalogue.

One function for each kind of ranker, called to train and to serve alike, so that a row means the
same in both. Everything is a vectorised pass over some 200 rows. NaN: not known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewer import Indices, Viewer
from models.data.arrays import among
from models.feed.context import DEVICES, Context
from models.feed.scores import all_components, model_scores, taste_of, usual_scores
from models.feed.sources import BITS, SOURCES, Bits
from models.profile.schema import SCORERS, Profile
from models.ranking.logistic import DAY, FEATURES, HORIZON_DAYS
from models.ranking.table import Table

LIVE_FEATURES = (
    *(f"component.{name}" for name in SCORERS),
    "recommender.score",
    "recommender.rank",
    *(f"source.{name}" for name in SOURCES),
    "similar_items.vote",
    "item.impressions",
    "item.click_rate",
    "item.applied",
    "item.age_days",
    "item.days_until",
    "history.length",
    "history.seen",
    "history.owner_share",
    "history.category_share",
    "history.city_share",
    "history.tag_overlap",
    "history.price_distance",
    "context.hour",
    "context.weekday",
    "context.device",
)

_BITS = np.array(list(BITS.values()), np.uint16)
_FIRST_BIT = LIVE_FEATURES.index(f"source.{SOURCES[0]}")

MakeFeatures = Callable[..., Table]
"""``live_features`` or ``events_features``."""


def live_features(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    sources: Bits,
    *,
    now: float,
    context: Context,
) -> Table:
    """The columns ``LIVE_FEATURES`` of each item, float32, shape (n, columns).

    - component: the scorers' (``models/data/scorers.py``).
    - recommender: ``score`` in standard deviations from the mean over all items; ``rank``: log1p
      of the place among these items, from 0.
    - source: which sources named it, 0 or 1. similar_items.vote: summed cosine with the items
      liked last.
    - item: logs of the counts, days since it was made (log) and to its start, and its click rate,
      drawn to the profile's prior for new items.
    - history: how many items the viewer liked (log), whether they had to do with this one, the
      share of their liking that went to this owner, category, city; of the item's tags, the mean
      share; how many times dearer or cheaper it is than what they like (log).

    Args:
        rows: of items, shape (n,). sources: of each, shape (n,).
        now: epoch seconds.
    """
    items = live.items
    scores = model_scores(live, viewer, rows)
    mean, spread = usual_scores(live, viewer)
    place = np.empty(len(rows), np.float32)
    place[np.argsort(-scores, kind="stable")] = np.arange(len(rows))
    prior = profile.exploration
    components = all_components(live, viewer, profile, rows, now=now)
    created = np.fmax(items.created_at[rows], items.publish_at[rows])
    device = np.nan if context.device is None else DEVICES.index(context.device)
    values = np.empty((len(rows), len(LIVE_FEATURES)), np.float32)
    values[:, _FIRST_BIT : _FIRST_BIT + len(_BITS)] = (sources[:, None] & _BITS) > 0
    before = [
        *(components[name] for name in SCORERS),
        (scores - mean) / (spread if spread > 0 else 1.0),
        np.log1p(place),
    ]
    after = [
        _votes(live, viewer, rows),
        np.log1p(items.impressions[rows]),
        (items.clicks[rows] + prior.prior_clicks)
        / (items.impressions[rows] + prior.prior_impressions),
        np.log1p(items.applied[rows]),
        np.log1p(np.maximum(now - created, 0) / DAY),
        (items.starts_at[rows] - now) / DAY,
        np.log1p(len(viewer.liked)),
        among(rows, viewer.seen),
        *_liking(live, viewer, rows),
        context.hour,
        context.weekday,
        device,
    ]
    for number, column in enumerate(before):
        values[:, number] = column
    for number, column in enumerate(after, _FIRST_BIT + len(_BITS)):
        values[:, number] = column
    return Table(LIVE_FEATURES, values)


def events_features(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    sources: Bits,
    *,
    now: float,
    context: Context,
) -> Table:
    """The eight features of ``models/ranking/logistic.py``, as its ``features`` makes them from
    frames: the same values of the same moment. Arguments as ``live_features``."""
    items, liked = live.items, viewer.liked
    tags = items.tags[rows]
    liked_tags = items.tags[liked]
    until = (items.starts_at[rows] - now) / (DAY * HORIZON_DAYS)
    columns = (
        1.0,
        _share(tags, viewer.tags, len(live.tags)),
        _share(tags, liked_tags[liked_tags >= 0], len(live.tags)),
        (items.city[rows] == viewer.city) & (viewer.city >= 0),
        _met(items.category, liked, rows),
        _met(items.owner, liked, rows),
        np.minimum(np.log1p(items.applied[rows]) / 5, 1),
        np.nan_to_num(np.clip(until, 0, 1), nan=1.0),
    )
    values = np.empty((len(rows), len(columns)), np.float32)
    for number, column in enumerate(columns):
        values[:, number] = column
    return Table(FEATURES, values)


def _votes(live: LiveCatalogue, viewer: Viewer, rows: Indices) -> NDArray[np.floating]:
    """Summed cosine of each item with the items that the viewer liked last, shape (n,)."""
    known = live.items.neighbours
    recent = viewer.recent[viewer.recent < len(known)]
    return _summed(known[recent].ravel(), live.items.neighbour_scores[recent].ravel(), rows)


def _liking(live: LiveCatalogue, viewer: Viewer, rows: Indices) -> list[NDArray[np.floating]]:
    """Shares by owner, category, city and tags, and the distance in price, each of shape (n,)."""
    items, liked, weights = live.items, viewer.liked, viewer.liked_weights
    total = float(weights.sum())
    if total <= 0:
        return [np.full(len(rows), np.nan, np.float32)] * 5
    taste = taste_of(live, viewer)
    owner = items.owner[rows]

    def share(of: NDArray[np.floating], column: NDArray[np.int32]) -> NDArray[np.floating]:
        return np.append(of, 0)[column] / max(float(of.sum()), 1e-9)  # the last is what -1 finds

    tags = items.tags[rows]
    of_tags = _row_sums(np.append(taste.tags, 0)[tags]) / _tag_counts(tags)
    price, paid = _log_price(live, rows), _log_price(live, liked)
    known = ~np.isnan(paid)
    usual = paid[known] @ weights[known] / weights[known].sum() if known.any() else np.nan
    return [
        np.where(owner >= 0, _summed(items.owner[liked], weights, owner) / total, 0),
        share(taste.categories, items.category[rows]),
        share(taste.cities, items.city[rows]),
        of_tags / max(float(taste.tags.max(initial=0)), 1e-9),
        np.abs(price - usual),
    ]


def _summed(
    keys: NDArray[np.int32], weights: NDArray[np.floating], wanted: NDArray[np.int32]
) -> NDArray[np.floating]:
    """The summed weight of those keys that equal each wanted one, shape of ``wanted``."""
    if len(keys) == 0:
        return np.zeros(len(wanted), np.float32)
    distinct, which = np.unique(keys, return_inverse=True)
    sums = np.bincount(which, weights)
    place = np.minimum(np.searchsorted(distinct, wanted), len(distinct) - 1)
    return np.where(distinct[place] == wanted, sums[place], 0)


def _log_price(live: LiveCatalogue, rows: Indices) -> NDArray[np.float32]:
    low, high = live.items.price_min[rows], live.items.price_max[rows]
    return np.log1p(np.maximum((np.fmin(low, high) + np.fmax(low, high)) / 2, 0))


def _share(tags: NDArray[np.int32], chosen: NDArray[np.int32], size: int) -> NDArray[np.floating]:
    """Share of each item's tags that are among the chosen, 0 of an item without tags."""
    among_chosen = np.zeros(size + 1, np.float32)  # the last is what -1 finds
    among_chosen[chosen] = 1
    return _row_sums(among_chosen[tags]) / _tag_counts(tags)


def _tag_counts(tags: NDArray[np.int32]) -> NDArray[np.floating]:
    """How many tags each item has, at least 1: to divide by."""
    return np.maximum(_row_sums(tags >= 0), 1)


def _row_sums(values: NDArray[Any]) -> NDArray[np.floating]:
    return values @ np.ones(values.shape[1], np.float32)  # quicker than a sum over a short axis


def _met(column: NDArray[np.int32], liked: Indices, rows: Indices) -> NDArray[np.bool_]:
    """Whether a liked item has the same value; -1, none, is no value."""
    of_rows = column[rows]
    return np.isin(of_rows, column[liked]) & (of_rows >= 0)
