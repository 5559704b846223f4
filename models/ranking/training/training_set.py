"""The training set of the feed's ranker: a past moment made again, and what came of it.

The catalogue is laid out as it was at the moment, with the recommender that was trained up to then,
so no score has seen its outcome. Each user who came back is looked at as the server would have:
their history up to then, candidates, rules and scores by the feed's own pipeline, and the features
at the moment when they came. What they then liked of those is wanted. What they were shown besides
is left out: it would be there because it was shown, and the ranker would learn to tell it by its
low rank.

Clicks come from what was looked at, so rows are weighted against position bias (Joachims,
Swaminathan and Schnabel 2017)::

    liked             1 / (examination of its position * propensity), at most ``MOST_WEIGHT``
    shown, passed by  examination of its position: at the foot of a page it may not have been seen
    never shown       ``unshown_weight``: nobody knows

Where the profile gives actions a value, each row also tells which of them the user did, and has not
undone since.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Indices
from models.feed.context import DEVICES, Context, Device
from models.feed.pipeline import Query
from models.profile.ranker_settings import Kind
from models.profile.schema import Profile
from models.ranking.calibration import MOST_WEIGHT, examination
from models.ranking.features.live_features import Pairs, features_of, names_of
from models.ranking.features.table import Table
from models.ranking.training.backtest import Backtest, rows_of
from models.recommenders.base import Progress

LAST_POSITION = 50
"""Examination is estimated up to this position; deeper ones count as this."""
LEAST_IMPRESSIONS = 1_000
"""With fewer that tell their position, all positions count the same."""
CLICK_WITHIN = "1h"
"""What a user does with an item is put down to the last time that they were shown it (at that
position, where they tell it), if that was so lately."""


@dataclass(frozen=True)
class TrainingSet:
    """n rows, one visit after the other; in each the recommender's best first.

    Attributes:
        labels: bool, shape (n,): liked after the moment.
        shown: bool, shape (n,): whether the user was shown it after the moment.
        weights: float32, shape (n,).
        done: bool, shape (n, actions): of ``actions``, what the user did after the moment.
        done_weights: float32, shape (n,): where any of it counts as looked at, as what is liked.
        groups: rows of each visit, int64.
        items: int32, shape (n,), rows of the catalogue.
        actions: those that the profile values.
    """

    table: Table
    labels: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    weights: NDArray[np.float32]
    done: NDArray[np.bool_]
    done_weights: NDArray[np.float32]
    groups: NDArray[np.int64]
    items: Indices
    actions: tuple[str, ...] = ()

    @property
    def visits(self) -> NDArray[np.int64]:
        """Number of the visit that each row is of."""
        return np.repeat(np.arange(len(self.groups)), self.groups)

    def only(self, visits: NDArray[np.bool_]) -> TrainingSet:
        """The rows of those visits, a mask."""
        kept = np.repeat(visits, self.groups)
        return TrainingSet(
            Table(self.table.names, self.table.values[kept]),
            self.labels[kept],
            self.shown[kept],
            self.weights[kept],
            self.done[kept],
            self.done_weights[kept],
            self.groups[visits],
            self.items[kept],
            self.actions,
        )


class Visit(NamedTuple):
    """When a user came back, on what, and what they had to do with: rows of items, ascending,
    whether they were shown it, its position (0: unknown) and propensity, whether they liked it,
    and which of the valued actions they did, shape (items, actions)."""

    moment: float
    device: Device | None
    items: Indices
    shown: NDArray[np.bool_]
    positions: NDArray[np.int64]
    propensities: NDArray[np.float64]
    liked: NDArray[np.bool_]
    done: NDArray[np.bool_]


class Outcome(NamedTuple):
    """Columns of a visit's rows, as ``TrainingSet`` has them."""

    labels: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    weights: NDArray[np.float32]
    done: NDArray[np.bool_]
    done_weights: NDArray[np.float32]


def training_set(
    backtest: Backtest,
    later: pl.DataFrame,
    kind: Kind,
    *,
    max_users: int,
    unshown_weight: float,
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainingSet:
    """The first visits of at most ``max_users`` users after the backtest's moment.

    A few ms a user. Users whom the recommender does not know are left out.

    Args:
        later: what users did after the moment, as ``with_metadata`` gives it.
    """
    pipeline = backtest.pipeline
    live, profile = pipeline.live, pipeline.profile
    users = sorted(set(later["user_id"].unique()) & set(live.users.ids.to_list()))
    if len(users) > max_users:
        chosen = np.random.default_rng(seed).choice(len(users), max_users, replace=False)
        users = [users[index] for index in np.sort(chosen)]
    visits = dict(_visits(live, profile, later.filter(pl.col("user_id").is_in(users))))
    moments = np.array([visits[user].moment for user in users])
    seen = examined(backtest.events, profile)
    parts: list[tuple[Table, Outcome, Indices]] = []
    for done, viewer in enumerate(backtest.viewers(users, moments), 1):
        visit = visits[viewer.user_id or ""]
        query = Query(visit.moment, "model")
        offered = pipeline.rank(viewer, query, upto="scores").take(slice(profile.ranker.rerank))
        rows, sources = offered.rows, offered.sources
        if len(rows):
            context = Context.at(visit.moment, visit.device)
            pairs = Pairs(live, viewer, profile, rows, sources, visit.moment, context)
            table = features_of(kind, pairs)
            parts.append((table, _outcome(rows, visit, seen, unshown_weight), rows))
        if progress is not None:
            progress(done, len(users))
    names, actions = names_of(kind, live.snapshot), tuple(profile.ranker.values)
    values, items = np.zeros((0, len(names)), np.float32), np.zeros(0, np.int32)
    outcome, groups = _no_outcome(0, len(actions), 0), np.zeros(0, np.int64)
    if parts:
        tables, outcomes, offers = zip(*parts, strict=True)
        values = np.concatenate([table.values for table in tables])
        outcome = Outcome(*(np.concatenate(column) for column in zip(*outcomes, strict=True)))
        groups, items = np.array([len(rows) for rows in offers], np.int64), np.concatenate(offers)
    return TrainingSet(Table(names, values), *outcome, groups, items, actions)


def examined(past: pl.DataFrame, profile: Profile) -> NDArray[np.float64]:
    """How likely each position is looked at, beside the first, shape (last position,); all 1
    where too few impressions have one."""
    shown = (
        past.filter(_is_shown(profile), pl.col("position").is_not_null())
        .sort("occurred_at")
        .with_row_index("impression")
    )
    if len(shown) < LEAST_IMPRESSIONS:
        return np.ones(1)
    liking = [name for name, weight in profile.interaction_weights.items() if weight > 0]
    liked = past.filter(pl.col("type").is_in(liking)).sort("occurred_at")
    taken, pair = np.zeros(len(shown)), ["user_id", "item_id"]
    for has_position, by in ((pl.col("position").is_not_null(), [*pair, "position"]),
                      (pl.col("position").is_null(), pair)):  # fmt: skip
        led_to = liked.filter(has_position).join_asof(
            shown.select("occurred_at", "impression", *by),
            on="occurred_at",
            by=by,
            tolerance=CLICK_WITHIN,
            check_sortedness=False,
        )
        taken[led_to["impression"].drop_nulls().to_numpy()] = 1
    return examination(
        shown["item_id"].rank("dense").to_numpy(),
        np.minimum(shown["position"].to_numpy(), LAST_POSITION),
        taken,
    )


def _is_shown(profile: Profile) -> pl.Expr:
    return pl.col("type").is_in(profile.interaction_types.impressions)


def _outcome(
    rows: Indices, visit: Visit, seen: NDArray[np.float64], unshown_weight: float
) -> Outcome:
    """Of each row."""
    there = np.isin(rows, visit.items)
    if not there.any():
        return _no_outcome(len(rows), visit.done.shape[1], unshown_weight)
    index = np.minimum(np.searchsorted(visit.items, rows), len(visit.items) - 1)
    labels, shown = there & visit.liked[index], there & visit.shown[index]
    done = there[:, None] & visit.done[index]
    position = np.minimum(visit.positions[index], len(seen))
    look = np.where(shown & (position > 0), seen[np.maximum(position - 1, 0)], 1.0)
    chance = np.where(shown, visit.propensities[index], 1.0)
    wanted = np.minimum(1 / np.maximum(look * chance, 1e-9), MOST_WEIGHT)
    passed = np.where(shown, np.minimum(look, 1), unshown_weight)
    weights, done_weights = (
        np.where(looked_at, wanted, passed).astype(np.float32)
        for looked_at in (labels, labels | done.any(axis=1))
    )
    return Outcome(labels, shown, weights, done, done_weights)


def _no_outcome(rows: int, actions: int, unshown_weight: float) -> Outcome:
    nothing, weights = np.zeros(rows, bool), np.full(rows, unshown_weight, np.float32)
    return Outcome(nothing, nothing, weights, np.zeros((rows, actions), bool), weights)


def _visits(
    live: LiveCatalogue, profile: Profile, later: pl.DataFrame
) -> Iterator[tuple[str, Visit]]:
    """What came of each user's time after the moment."""
    weight = pl.col("type").replace_strict(
        dict(profile.interaction_weights), default=0.0, return_dtype=pl.Float64
    )
    done = {f"done.{name}": _is_done(profile, name) for name in profile.ranker.values}
    pairs = (
        later.with_columns(row=rows_of(live, later["item_id"]), weight=weight)
        .group_by("user_id", "row")
        .agg(
            liked=pl.col("weight").sum() > 0,
            shown=_is_shown(profile).any(),
            position=pl.col("position").min().fill_null(0),
            propensity=pl.col("propensity").filter(_is_shown(profile)).max(),
            moment=pl.col("occurred_at").min().dt.timestamp("us") / 1e6,
            device=pl.col("device").sort_by("occurred_at").drop_nulls().first(),
            **done,
        )
        .sort("user_id", "row")
    )
    came = (
        pairs.sort("moment")
        .group_by("user_id")
        .agg(pl.col("moment").min(), device=pl.col("device").drop_nulls().first())
        .sort("user_id")
    )
    visited = pairs.filter(pl.col("row") >= 0, pl.any_horizontal("shown", "liked", *done))
    counted = visited.group_by("user_id").len()
    ends = came.join(counted, on="user_id", how="left", maintain_order="left")["len"]
    ends = ends.fill_null(0).cum_sum()
    columns = (
        visited["row"].to_numpy(),
        visited["shown"].to_numpy(),
        visited["position"].to_numpy(),
        visited["propensity"].fill_null(1.0).clip(1e-3, 1.0).to_numpy(),
        visited["liked"].to_numpy(),
        visited.select(*done).to_numpy().reshape(len(visited), len(done)),
    )
    start = 0
    for (user, moment, device), end in zip(came.rows(), ends.to_list(), strict=True):
        of_user = (column[start:end] for column in columns)
        yield user, Visit(moment, device if device in DEVICES else None, *of_user)
        start = end


def _is_done(profile: Profile, name: str) -> pl.Expr:
    """Whether a pair has such an action that stands, as ``models.data.undoing`` has it."""
    types, at = profile.interaction_types, pl.col("occurred_at")
    does = pl.col("type") == name
    if name in types.timed:
        does &= pl.col("seconds") >= profile.online.min_dwell_seconds
    last, undone = at.filter(does).max(), at.filter(pl.col("type").is_in(types.against(name))).max()
    return last.is_not_null() & (last > undone).fill_null(True)
