"""The ranker of the ``events`` profile: logistic regression over eight features.

What users did becomes weighted examples. A pair counts once, by the strongest thing done (each
type's ``ranker_weight``; attended 0.5 more, a long dwell 0.45 more). A last ``unapply`` takes that
away and makes the pair a negative of weight 2. Items that a search or filter led to are weak
positives, 0.15, at most 3 a user. Each positive gets 3 negatives: first what the
user was shown and did not click, weighted by its position, as what stands high was seen; then
anything that the user had not touched.

Features are of the moment of the example: what a user did later, and the seats that were taken
later, are not in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.data.interactions.undoing import last_words
from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes, Weights
from models.ranking.features.table import Table, check_names, digest

ATTENDED = 0.5
"""What a conversion of somebody who then came counts more."""
LONG = 0.45
"""What a dwell counts more from the second of ``DWELL_SECONDS`` on; from the first, it counts."""
DWELL_SECONDS = (10.0, 120.0)
UNAPPLY = 2.0
WEAK = 0.15
WEAK_PER_USER = 3
NEGATIVES = 3
POSITION_WEIGHTS = ((2, 0.25), (5, 0.15), (10, 0.10))
"""Weight of an impression that was not clicked, by the last position that it holds for."""
DEEP = 0.05
"""Below those, and of a negative that was never shown."""
HORIZON_DAYS = 180.0
DAY = 86_400.0

# user_id, item_id, label (1 or 0), weight, occurred_at: the moment whose features count
EXAMPLES: dict[str, Any] = {
    "user_id": pl.String,
    "item_id": pl.String,
    "label": pl.Int8,
    "weight": pl.Float64,
    "occurred_at": pl.Datetime("us", "UTC"),
}


def examples(
    interactions: pl.DataFrame,
    items: pl.DataFrame,
    types: InteractionTypes = DEFAULT_TYPES,
    *,
    seed: int = 0,
) -> pl.DataFrame:
    """Weighted examples, columns of ``EXAMPLES``, in an order that ``seed`` repeats.

    Args:
        interactions: user_id, item_id, type, occurred_at; where there are: ``seconds`` (of a
            dwell), ``attended`` (of a conversion), ``position`` (of an impression, from 1).
        items: id: what negatives are drawn from.
    """
    rows = _with_facts(interactions).filter(
        pl.col("user_id").is_not_null() & pl.col("item_id").is_not_null()
    )
    withdrawn = _withdrawn(rows, types)
    positives = _positives(rows, types).join(withdrawn, on=["user_id", "item_id"], how="anti")
    weak = _weak(rows, types).join(
        pl.concat([positives, withdrawn], how="diagonal_relaxed"),
        on=["user_id", "item_id"],
        how="anti",
    )
    wanted = pl.concat([positives, weak])
    is_shown = pl.col("type").is_in(types.impressions)
    touched = rows.filter(~is_shown).select("user_id", "item_id").unique()
    negatives = _negatives(wanted, rows.filter(is_shown), touched, items["id"], seed)
    parts = [
        wanted.with_columns(label=pl.lit(1)),
        withdrawn.with_columns(label=pl.lit(0), weight=pl.lit(UNAPPLY)),
        negatives.with_columns(label=pl.lit(0)),
    ]
    return pl.concat(
        [part.select(pl.col(name).cast(kind) for name, kind in EXAMPLES.items()) for part in parts]
    ).sort("user_id", "occurred_at", "item_id", "label")


def features(
    pairs: pl.DataFrame,
    users: pl.DataFrame,
    items: pl.DataFrame,
    interactions: pl.DataFrame,
    weights: Weights,
    types: InteractionTypes = DEFAULT_TYPES,
) -> Table:
    """The eight features of each pair at its moment, in the order of ``pairs``.

    An item is liked while the weights of what the user did with it sum up to more than 0: as the
    catalogue that is served has it, from which ``live_features`` makes the same.

    Args:
        pairs: user_id, item_id, occurred_at.
        users: id, city, tags. items: id, city, tags, category, owner_id, starts_at.
        interactions: user_id, item_id, type, occurred_at.
        weights: of each type; the profile's ``interaction_weights``.
    """
    keyed = pairs.select("user_id", "item_id", "occurred_at").with_row_index("row")
    of_users = users.select(user_id="id", user_city="city", interests="tags")
    of_items = items.select("city", "category", "owner_id", "starts_at", "tags", item_id="id")
    known = keyed.join(of_users, on="user_id", how="left").join(of_items, on="item_id", how="left")
    past = _turns_of_liking(interactions, weights).join(of_items, on="item_id")
    moments = _Moments(known, past, interactions, types)
    return Table.of({name: column(moments) for name, column in _COLUMNS.items()}, len(known))


@dataclass(frozen=True)
class _Moments:
    """
    Attributes:
        known: of each pair what is known of user and item, and its moment.
        past: when users began or ceased to like an item, with what is known of it.
    """

    known: pl.DataFrame
    past: pl.DataFrame
    interactions: pl.DataFrame
    types: InteractionTypes


def _interest_ratio(moments: _Moments) -> NDArray[np.float64]:
    tags = pl.col("tags").list.unique()
    shared = tags.list.set_intersection(pl.col("interests")).list.len()
    return _float(moments.known, shared / tags.list.len())


def _days_until(moments: _Moments) -> NDArray[np.float64]:
    until = (pl.col("starts_at") - pl.col("occurred_at")).dt.total_microseconds()
    share = (until / (1e6 * DAY * HORIZON_DAYS)).clip(0, 1)
    return _float(moments.known, share, missing=1.0)


_COLUMNS: dict[str, Callable[[_Moments], NDArray[np.float64]]] = {
    "bias": lambda moments: np.ones(len(moments.known)),
    # share of the item's tags that the user chose
    "overlap_interest_ratio": _interest_ratio,
    # … that items have which the user liked before
    "overlap_history_ratio": lambda moments: _tags_before(moments.known, moments.past),
    "same_city": lambda moments: _float(moments.known, pl.col("city") == pl.col("user_city")),
    # whether the user liked one of that category, owner
    "category_match": lambda moments: _met_before(moments.known, moments.past, "category"),
    "organizer_match": lambda moments: _met_before(moments.known, moments.past, "owner_id"),
    # a user takes one seat at most
    "popularity": lambda moments: np.minimum(np.log1p(_seats_taken(moments)) / 5, 1),
    # days to the item's start / 180, in [0, 1]; 1 where no start is known
    "days_until": _days_until,
}
FEATURES = tuple(_COLUMNS)


@dataclass(frozen=True)
class LogisticRanker:
    """
    Attributes:
        names: of the features, in their order.
        weights: float64, shape (len(names),), that of ``bias`` too.
    """

    names: tuple[str, ...]
    weights: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        table: Table,
        labels: NDArray[np.number],
        weights: NDArray[np.floating],
        *,
        strength: float = 1.0,
    ) -> Self:
        """Minimise the weighted log loss with a ridge of ``1 / strength`` on all weights.

        Raises:
            ValueError: not both labels are there.
        """
        if len(np.unique(labels)) < 2:
            raise ValueError("a ranker needs both positives and negatives")
        from sklearn.linear_model import LogisticRegression  # who only ranks does without

        model = LogisticRegression(C=strength, fit_intercept=False, max_iter=1_000)
        model.fit(table.values, labels, sample_weight=weights)
        return cls(table.names, model.coef_[0].astype(np.float64))

    def decide(self, table: Table) -> NDArray[np.float64]:
        """Log-odds of each row: what to rank by. Not what is shown, see ``Calibration``.

        Raises:
            FeatureMismatch: the table has other features than it was trained on.
        """
        check_names(self.names, table.names)
        return table.values @ self.weights

    def importance(self) -> NDArray[np.float64]:
        """Share of each feature in the size of the weights."""
        size = np.abs(self.weights)
        return np.asarray(size / max(float(size.sum()), 1e-12))

    def to_json(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "digest": digest(self.names),
            "weights": self.weights.tolist(),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """
        Raises:
            FeatureMismatch: it was trained on other features than this release makes.
        """
        check_names(content["names"], FEATURES)
        return cls(tuple(content["names"]), np.asarray(content["weights"], np.float64))


def _with_facts(interactions: pl.DataFrame) -> pl.DataFrame:
    """With seconds, attended and position, null where nothing was told."""
    facts = {"seconds": pl.Float64, "attended": pl.Boolean, "position": pl.Int64}
    return interactions.with_columns(
        pl.lit(None, kind).alias(name)
        for name, kind in facts.items()
        if name not in interactions.columns
    )


def _positives(rows: pl.DataFrame, types: InteractionTypes) -> pl.DataFrame:
    """Each pair's strongest positive, at the moment of its first."""
    kind = pl.col("type")
    least, most = DWELL_SECONDS
    rising = (pl.col("seconds").fill_null(least) - least) / (most - least)
    timed, attended = kind.is_in(types.timed), pl.col("attended").fill_null(False)
    weight = (
        kind.replace_strict(types.ranker_weights, default=None, return_dtype=pl.Float64)
        + pl.when(timed).then(LONG * rising.clip(0, 1)).otherwise(0.0)
        + pl.when(kind.is_in(types.conversions) & attended).then(ATTENDED).otherwise(0.0)
    )
    short = timed & (pl.col("seconds") < least)
    return (
        rows.filter(kind.is_in(list(types.ranker_weights)) & ~short.fill_null(False))
        .with_columns(weight=weight)
        .group_by("user_id", "item_id")
        .agg(pl.col("weight").max(), pl.col("occurred_at").min())
        .sort("user_id", "item_id")
    )


def _withdrawn(rows: pl.DataFrame, types: InteractionTypes) -> pl.DataFrame:
    """Pairs whose last word was ``unapply``, at its moment."""
    return (
        last_words(rows.lazy(), *types.of_applied)
        .filter(pl.col("undone_at").is_not_null(), ~pl.col("stands"))
        .select("user_id", "item_id", occurred_at="undone_at")
        .sort("user_id", "item_id")
        .collect()
    )


def _weak(rows: pl.DataFrame, types: InteractionTypes) -> pl.DataFrame:
    """The newest items, at most 3 a user, that a search or filter of the user led to."""
    return (
        rows.filter(pl.col("type").is_in(types.without_item))
        .group_by("user_id", "item_id")
        .agg(pl.col("occurred_at").max())
        .sort("occurred_at", "item_id", descending=[True, False])
        .group_by("user_id", maintain_order=True)
        .head(WEAK_PER_USER)
        .select("user_id", "item_id", pl.lit(WEAK).alias("weight"), "occurred_at")
    )


def _negatives(
    wanted: pl.DataFrame,
    impressions: pl.DataFrame,
    touched: pl.DataFrame,
    items: pl.Series,
    seed: int,
) -> pl.DataFrame:
    """3 for each positive of a user, each item once a user, at the moments of the positives."""
    rng = np.random.default_rng(seed)
    places = wanted.sort("user_id", "occurred_at", "item_id").select(
        "user_id", "occurred_at", place=pl.int_range(pl.len()).over("user_id") * NEGATIVES
    )
    slots = pl.concat([places.with_columns(pl.col("place") + step) for step in range(NEGATIVES)])
    shown = (
        impressions.group_by("user_id", "item_id")
        .agg(position=pl.col("position").min())
        .join(touched, on=["user_id", "item_id"], how="anti")
        .sort("user_id", "item_id")
        .with_columns(weight=_position_weight(), order=pl.lit(0.0))
    )
    # As many of the catalogue as could be needed, less those touched or shown already.
    need = slots.group_by("user_id").agg(need=pl.len()).sort("user_id")
    users = need["user_id"].gather(np.repeat(np.arange(len(need)), need["need"].to_numpy()))
    drawn = (
        pl.DataFrame(
            {"user_id": users, "item_id": items.gather(rng.integers(0, len(items), len(users)))}
        )
        .unique(maintain_order=True)
        .join(touched, on=["user_id", "item_id"], how="anti")
        .join(shown, on=["user_id", "item_id"], how="anti")
        .with_columns(weight=pl.lit(DEEP), order=pl.lit(1.0))
    )
    pool = pl.concat([shown.select(drawn.columns), drawn])
    pool = pool.with_columns(
        order=pl.col("order") + pl.Series(rng.random(len(pool)), dtype=pl.Float64)
    )
    pool = pool.sort("user_id", "order").with_columns(place=pl.int_range(pl.len()).over("user_id"))
    return slots.join(pool, on=["user_id", "place"]).select(
        "user_id", "item_id", "weight", "occurred_at"
    )


def _position_weight() -> pl.Expr:
    weight = pl.lit(DEEP)
    for last, value in reversed(POSITION_WEIGHTS):
        weight = pl.when(pl.col("position") <= last).then(value).otherwise(weight)
    return weight


def _turns_of_liking(interactions: pl.DataFrame, weights: Weights) -> pl.DataFrame:
    """When a user began (``turn`` 1) or ceased (-1) to like an item: user_id, item_id,
    occurred_at, turn."""
    weight = pl.col("type").replace_strict(dict(weights), default=None, return_dtype=pl.Float64)
    pair = ["user_id", "item_id"]
    return (
        interactions.with_columns(weight=weight)
        .filter(pl.col("weight").is_not_null())
        .drop_nulls(pair)
        .group_by(*pair, "occurred_at")
        .agg(pl.col("weight").sum())
        .sort("occurred_at")
        .with_columns(liked=(pl.col("weight").cum_sum().over(pair) > 0).cast(pl.Int32))
        .with_columns(turn=pl.col("liked").diff().over(pair).fill_null(pl.col("liked")))
        .filter(pl.col("turn") != 0)
        .select(*pair, "occurred_at", "turn")
    )


def _tags_before(known: pl.DataFrame, past: pl.DataFrame) -> NDArray[np.float64]:
    """Share of the item's tags that an item had which the user liked before the moment."""
    each = (
        known.select("row", "user_id", "occurred_at", tags=pl.col("tags").list.unique())
        .explode("tags")
        .drop_nulls("tags")
    )
    turns = past.with_columns(pl.col("tags").list.unique()).explode("tags")
    share = (
        each.with_columns(value=_count_before(each, turns, ["user_id", "tags"]) > 0)
        .group_by("row")
        .agg(pl.col("value").mean())
    )
    return _float(known.select("row").join(share, on="row", how="left"), pl.col("value"))


def _met_before(known: pl.DataFrame, past: pl.DataFrame, column: str) -> NDArray[np.float64]:
    return (_count_before(known, past, ["user_id", column]) > 0).astype(np.float64)


def _seats_taken(moments: _Moments) -> NDArray[np.float64]:
    """Users whose last word to each item before the moment was an apply, as
    ``models.data.interactions.undoing`` has it, shape (rows,)."""
    pair = ["user_id", "item_id"]
    does, undoes = moments.types.of_applied
    turns = (
        moments.interactions.filter(pl.col("type").is_in(does | undoes))
        .drop_nulls(pair)
        .group_by(*pair, "occurred_at")
        .agg(seat=pl.col("type").is_in(does).all().cast(pl.Int32))
        .sort("occurred_at")
        .with_columns(turn=pl.col("seat").diff().over(pair).fill_null(pl.col("seat")))
    )
    return _count_before(moments.known, turns, ["item_id"])


def _count_before(rows: pl.DataFrame, turns: pl.DataFrame, by: list[str]) -> NDArray[np.float64]:
    """The sum of the turns (``occurred_at``, ``turn``) of the same ``by`` before each row's
    moment, 0 where there are none or ``by`` is null; in the order of ``rows``."""
    counts = (
        turns.drop_nulls(by)
        .sort("occurred_at")
        .select(*by, "occurred_at", count=pl.col("turn").cum_sum().over(by))
    )
    found = (
        rows.select(*by, "occurred_at")
        .with_row_index("place")
        .sort("occurred_at")
        .join_asof(
            counts,
            on="occurred_at",
            by=by,
            strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
    )
    return _float(found.sort("place"), pl.col("count"))


def _float(frame: pl.DataFrame, value: pl.Expr, *, missing: float = 0.0) -> NDArray[np.float64]:
    """The expression as float64, ``missing`` for what is null or no number."""
    column = frame.select(value.cast(pl.Float64).fill_nan(None).fill_null(missing)).to_series()
    return column.to_numpy()
