"""What the feed's ranker sees of a (viewer, item): made from the live catalogue.

A feature is one entry of ``FEATURES``, which training and serving share, so that a row means
the same in both; beside them the trees see what each of the version's tables says. Everything is a
vectorised pass over some 200 rows. NaN: not known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.item_use import Use
from models.catalogue.snapshots.snapshot import Snapshot
from models.catalogue.tables.stored import VECTORS
from models.catalogue.viewers.viewer import Indices, Viewer
from models.data.arrays import among
from models.feed.candidates.sources import BITS, SOURCES, Bits
from models.feed.context import DEVICES, Context
from models.feed.scoring.scores import all_components, model_scores, standard_scores, usual_scores
from models.feed.scoring.taste import taste_of
from models.profile.feed_sections import SCORERS, ScorerName
from models.profile.ranker_settings import Kind
from models.profile.schema import Profile
from models.ranking.features.event_features import DAY, HORIZON_DAYS
from models.ranking.features.event_features import FEATURES as EVENTS_FEATURES
from models.ranking.features.table import Table


@dataclass(frozen=True)
class Pairs:
    """n items of one viewer at a moment, and what several features need of them.

    Attributes:
        rows, sources: of the items, each of shape (n,).
        now: epoch seconds.
    """

    live: LiveCatalogue
    viewer: Viewer
    profile: Profile
    rows: Indices
    sources: Bits
    now: float
    context: Context

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        return model_scores(self.live, self.viewer, self.rows)

    @cached_property
    def tables(self) -> Mapping[str, NDArray[np.float32]]:
        """Standard scores by each table of the version."""
        if not self.live.snapshot.tables:
            return {}
        return standard_scores(self.live, self.viewer, self.rows)

    @cached_property
    def components(self) -> Mapping[ScorerName, NDArray[np.floating]]:
        return all_components(self.live, self.viewer, self.profile, self.rows, now=self.now)

    @cached_property
    def liking(self) -> Mapping[str, NDArray[np.floating]]:
        return _liking(self.live, self.viewer, self.rows)

    @cached_property
    def use(self) -> Use:
        return self.live.snapshot.use.of(self.rows)

    @cached_property
    def tags(self) -> NDArray[np.int32]:
        return self.live.items.tags[self.rows]

    @cached_property
    def age(self) -> NDArray[np.float64]:
        """Seconds since each appeared."""
        items, rows = self.live.items, self.rows
        made = np.fmax(items.created_at[rows], items.publish_at[rows])
        return np.maximum(self.now - made, 0)

    @cached_property
    def until(self) -> NDArray[np.float64]:
        """Seconds to the start of each."""
        return self.live.items.starts_at[self.rows] - self.now


class Feature(NamedTuple):
    """
    Attributes:
        column: shape (n,), or one number for all.
        rising: it never counts against an item, which leaves the trees fewer ways to learn noise.
    """

    column: Callable[[Pairs], ArrayLike]
    rising: bool = False


def _component(name: ScorerName) -> Feature:
    return Feature(lambda pairs: pairs.components[name])


def _source(name: str) -> Feature:
    return Feature(lambda pairs: pairs.sources & BITS[name] > 0)


def _liked(name: str) -> Feature:
    return Feature(lambda pairs: pairs.liking[name])


_BOOSTED: dict[str, Feature] = {
    **{f"component.{name}": _component(name) for name in SCORERS},
    # in standard deviations from the mean over all items
    "recommender.score": Feature(lambda pairs: _standard_scores(pairs), rising=True),
    # log1p of the place among these items, from 0
    "recommender.rank": Feature(lambda pairs: np.log1p(_places(pairs.scores))),
    # whether it named the item
    **{f"source.{name}": _source(name) for name in SOURCES},
    # summed cosine with the items liked last
    "similar_items.vote": Feature(lambda pairs: _votes(pairs), rising=True),
    "item.impressions": Feature(lambda pairs: np.log1p(pairs.live.items.impressions[pairs.rows])),
    # drawn to the profile's prior for new items
    "item.click_rate": Feature(lambda pairs: _click_rate(pairs)),
    "item.applied": Feature(lambda pairs: np.log1p(pairs.live.items.applied[pairs.rows])),
    # how many touched it, and the mean weight of what they did, drawn to that of all items
    "item.used": Feature(lambda pairs: np.log1p(pairs.use.users)),
    "item.value": Feature(lambda pairs: pairs.use.value),
    "item.age_days": Feature(lambda pairs: np.log1p(pairs.age / DAY)),
    "item.days_until": Feature(lambda pairs: pairs.until / DAY),
    # how many items the viewer liked
    "history.length": Feature(lambda pairs: np.log1p(len(pairs.viewer.liked))),
    # whether they had to do with this one
    "history.seen": Feature(lambda pairs: among(pairs.rows, pairs.viewer.seen)),
    # shares of their liking that went to this owner, category, city; mean of those of its tags
    "history.owner_share": _liked("owner_share"),
    "history.category_share": _liked("category_share"),
    "history.city_share": _liked("city_share"),
    "history.tag_overlap": _liked("tag_overlap"),
    # how many times dearer or cheaper it is than what they like, as a log
    "history.price_distance": _liked("price_distance"),
    "context.hour": Feature(lambda pairs: pairs.context.hour),
    "context.weekday": Feature(lambda pairs: pairs.context.weekday),
    "context.device": Feature(
        lambda pairs: (
            np.nan if pairs.context.device is None else DEVICES.index(pairs.context.device)
        )
    ),
}
# The same values of the same moment as ``models/ranking/rankers/logistic.py`` makes from frames.
_OF_EVENTS: dict[str, Feature] = {
    "bias": Feature(lambda pairs: 1.0),
    "overlap_interest_ratio": Feature(lambda pairs: _share(pairs, pairs.viewer.tags)),
    "overlap_history_ratio": Feature(lambda pairs: _share(pairs, _liked_tags(pairs))),
    "same_city": Feature(
        lambda pairs: (
            (pairs.live.items.city[pairs.rows] == pairs.viewer.city) & (pairs.viewer.city >= 0)
        )
    ),
    "category_match": Feature(lambda pairs: _met(pairs, pairs.live.items.category)),
    "organizer_match": Feature(lambda pairs: _met(pairs, pairs.live.items.owner)),
    "popularity": Feature(
        lambda pairs: np.minimum(np.log1p(pairs.live.items.applied[pairs.rows]) / 5, 1)
    ),
    "days_until": Feature(
        lambda pairs: np.nan_to_num(np.clip(pairs.until / (DAY * HORIZON_DAYS), 0, 1), nan=1.0)
    ),
}
FEATURES: dict[Kind, dict[str, Feature]] = {
    "boosted": _BOOSTED,
    "logistic": {name: _OF_EVENTS[name] for name in EVENTS_FEATURES},
}
"""Of each kind of ranker, by name, in the order of its table's columns."""


OF_TABLE = "table."
"""Begins the names of the features that a version's tables make: a score and a rank of each."""


def names_of(kind: Kind, snapshot: Snapshot) -> tuple[str, ...]:
    """The columns that a version's ranker of that kind is given, in their order."""
    own = tuple(FEATURES[kind])
    if kind != "boosted" or not snapshot.tables:
        return own
    tables = [*snapshot.tables, *([VECTORS] if snapshot.items.vectors.shape[1] else [])]
    return own + tuple(f"{OF_TABLE}{name}.{what}" for name in tables for what in ("score", "rank"))


def directions(names: Sequence[str]) -> list[int]:
    """Of each column: 1 if it never counts against an item, -1 if never for it, else 0."""
    rising = {name for name, feature in FEATURES["boosted"].items() if feature.rising}

    def of(name: str) -> int:
        if name.startswith(OF_TABLE):
            return 1 if name.endswith(".score") else -1
        return int(name in rising)

    return [of(name) for name in names]


def features_of(kind: Kind, pairs: Pairs, names: Sequence[str] | None = None) -> Table:
    """The columns of a kind of ranker, float32, shape (n, columns).

    Args:
        names: of those that are wanted, in their order; None: all.
    """
    names = names_of(kind, pairs.live.snapshot) if names is None else names
    return Table.of({name: _column(kind, name, pairs) for name in names}, len(pairs.rows))


def _column(kind: Kind, name: str, pairs: Pairs) -> ArrayLike:
    if not name.startswith(OF_TABLE):
        return FEATURES[kind][name].column(pairs)
    table, _, what = name.removeprefix(OF_TABLE).rpartition(".")
    scores = pairs.tables[table]
    return scores if what == "score" else np.log1p(_places(scores))


def _standard_scores(pairs: Pairs) -> NDArray[np.floating]:
    mean, spread = usual_scores(pairs.live, pairs.viewer)
    return (pairs.scores - mean) / (spread if spread > 0 else 1.0)


def _places(scores: NDArray[np.floating]) -> NDArray[np.float32]:
    rank = np.empty(len(scores), np.float32)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return rank


def _click_rate(pairs: Pairs) -> NDArray[np.floating]:
    items, rows, prior = pairs.live.items, pairs.rows, pairs.profile.exploration
    return (items.clicks[rows] + prior.prior_clicks) / (
        items.impressions[rows] + prior.prior_impressions
    )


def _liked_tags(pairs: Pairs) -> NDArray[np.int32]:
    tags = pairs.live.items.tags[pairs.viewer.liked]
    return tags[tags >= 0]


def _votes(pairs: Pairs) -> NDArray[np.floating]:
    """Summed cosine of each item with the items that the viewer liked last, shape (n,)."""
    items, recent = pairs.live.items, pairs.viewer.recent
    recent = recent[recent < len(items.neighbours)]
    others, cosines = items.neighbours[recent], items.neighbour_scores[recent]
    return _summed(others.ravel(), cosines.ravel(), pairs.rows)


def _liking(
    live: LiveCatalogue, viewer: Viewer, rows: Indices
) -> Mapping[str, NDArray[np.floating]]:
    """What the viewer's liking says of each item, each of shape (n,)."""
    items, liked, weights = live.items, viewer.liked, viewer.liked_weights
    total = float(weights.sum())
    if total <= 0:
        return defaultdict(lambda: np.full(len(rows), np.nan, np.float32))
    taste = taste_of(live, viewer)
    owner = items.owner[rows]

    def share(of: NDArray[np.floating], column: NDArray[np.int32]) -> NDArray[np.floating]:
        return np.append(of, 0)[column] / max(float(of.sum()), 1e-9)  # the last is what -1 finds

    tags = items.tags[rows]
    of_tags = _row_sums(np.append(taste.tags, 0)[tags]) / _tag_counts(tags)
    price, paid = _log_price(live, rows), _log_price(live, liked)
    rated = ~np.isnan(paid)
    usual = paid[rated] @ weights[rated] / weights[rated].sum() if rated.any() else np.nan
    of_owner = _summed(items.owner[liked], weights, owner) / total
    return {
        "owner_share": np.where(owner >= 0, of_owner, 0),
        "category_share": share(taste.categories, items.category[rows]),
        "city_share": share(taste.cities, items.city[rows]),
        "tag_overlap": of_tags / max(float(taste.tags.max(initial=0)), 1e-9),
        "price_distance": np.abs(price - usual),
    }


def _summed(
    keys: NDArray[np.int32], weights: NDArray[np.floating], wanted: NDArray[np.int32]
) -> NDArray[np.floating]:
    """The summed weight of those keys that equal each wanted one, shape of ``wanted``."""
    if len(keys) == 0:
        return np.zeros(len(wanted), np.float32)
    distinct, which = np.unique(keys, return_inverse=True)
    sums = np.bincount(which, weights)
    index = np.minimum(np.searchsorted(distinct, wanted), len(distinct) - 1)
    return np.where(distinct[index] == wanted, sums[index], 0)


def _log_price(live: LiveCatalogue, rows: Indices) -> NDArray[np.float32]:
    low, high = live.items.price_min[rows], live.items.price_max[rows]
    return np.log1p(np.maximum((np.fmin(low, high) + np.fmax(low, high)) / 2, 0))


def _share(pairs: Pairs, chosen: NDArray[np.int32]) -> NDArray[np.floating]:
    """Share of each item's tags that are among the chosen, 0 of an item without tags."""
    among_chosen = np.zeros(len(pairs.live.tags) + 1, np.float32)  # the last is what -1 finds
    among_chosen[chosen] = 1
    return _row_sums(among_chosen[pairs.tags]) / _tag_counts(pairs.tags)


def _tag_counts(tags: NDArray[np.int32]) -> NDArray[np.floating]:
    """How many tags each item has, at least 1: to divide by."""
    return np.maximum(_row_sums(tags >= 0), 1)


def _row_sums(values: NDArray[Any]) -> NDArray[np.floating]:
    return values @ np.ones(values.shape[1], np.float32)  # quicker than a sum over a short axis


def _met(pairs: Pairs, column: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether a liked item has the same value; -1, none, is no value."""
    of_rows = column[pairs.rows]
    return np.isin(of_rows, column[pairs.viewer.liked]) & (of_rows >= 0)
