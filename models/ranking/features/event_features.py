"""The eight features of the logistic ranker, from frames.

Features are of the moment of the example: what a user did later, and the seats that were taken
later, are not in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes, Weights
from models.ranking.features.table import Table

HORIZON_DAYS = 180.0
DAY = 86_400.0


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
    facts = keyed.join(of_users, on="user_id", how="left").join(of_items, on="item_id", how="left")
    past = _turns_of_liking(interactions, weights).join(of_items, on="item_id")
    described = _Pairs(facts, past, interactions, types)
    return Table.of({name: column(described) for name, column in _COLUMNS.items()}, len(facts))


@dataclass(frozen=True)
class _Pairs:
    """
    Attributes:
        facts: of each pair what is known of user and item, and its moment.
        past: when users began or ceased to like an item, with what is known of it.
    """

    facts: pl.DataFrame
    past: pl.DataFrame
    interactions: pl.DataFrame
    types: InteractionTypes


def _interest_ratio(pairs: _Pairs) -> NDArray[np.float64]:
    tags = pl.col("tags").list.unique()
    shared = tags.list.set_intersection(pl.col("interests")).list.len()
    return _float(pairs.facts, shared / tags.list.len())


def _days_until(pairs: _Pairs) -> NDArray[np.float64]:
    until = (pl.col("starts_at") - pl.col("occurred_at")).dt.total_microseconds()
    share = (until / (1e6 * DAY * HORIZON_DAYS)).clip(0, 1)
    return _float(pairs.facts, share, missing=1.0)


_COLUMNS: dict[str, Callable[[_Pairs], NDArray[np.float64]]] = {
    "bias": lambda pairs: np.ones(len(pairs.facts)),
    # share of the item's tags that the user chose
    "overlap_interest_ratio": _interest_ratio,
    # … that items have which the user liked before
    "overlap_history_ratio": lambda pairs: _tags_before(pairs.facts, pairs.past),
    "same_city": lambda pairs: _float(pairs.facts, pl.col("city") == pl.col("user_city")),
    # whether the user liked one of that category, owner
    "category_match": lambda pairs: _met_before(pairs.facts, pairs.past, "category"),
    "organizer_match": lambda pairs: _met_before(pairs.facts, pairs.past, "owner_id"),
    # a user takes one seat at most
    "popularity": lambda pairs: np.minimum(np.log1p(_seats_taken(pairs)) / 5, 1),
    # days to the item's start / 180, in [0, 1]; 1 where no start is known
    "days_until": _days_until,
}


FEATURES = tuple(_COLUMNS)


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


def _tags_before(facts: pl.DataFrame, past: pl.DataFrame) -> NDArray[np.float64]:
    """Share of the item's tags that an item had which the user liked before the moment."""
    each = (
        facts.select("row", "user_id", "occurred_at", tags=pl.col("tags").list.unique())
        .explode("tags")
        .drop_nulls("tags")
    )
    turns = past.with_columns(pl.col("tags").list.unique()).explode("tags")
    share = (
        each.with_columns(value=_count_before(each, turns, ["user_id", "tags"]) > 0)
        .group_by("row")
        .agg(pl.col("value").mean())
    )
    return _float(facts.select("row").join(share, on="row", how="left"), pl.col("value"))


def _met_before(facts: pl.DataFrame, past: pl.DataFrame, column: str) -> NDArray[np.float64]:
    return (_count_before(facts, past, ["user_id", column]) > 0).astype(np.float64)


def _seats_taken(pairs: _Pairs) -> NDArray[np.float64]:
    """Users whose last word to each item before the moment was an apply, as
    ``models.data.interactions.undoing`` has it, shape (rows,)."""
    pair = ["user_id", "item_id"]
    does, undoes = pairs.types.of_applied
    turns = (
        pairs.interactions.filter(pl.col("type").is_in(does | undoes))
        .drop_nulls(pair)
        .group_by(*pair, "occurred_at")
        .agg(seat=pl.col("type").is_in(does).all().cast(pl.Int32))
        .sort("occurred_at")
        .with_columns(turn=pl.col("seat").diff().over(pair).fill_null(pl.col("seat")))
    )
    return _count_before(pairs.facts, turns, ["item_id"])


def _count_before(rows: pl.DataFrame, turns: pl.DataFrame, by: list[str]) -> NDArray[np.float64]:
    """The sum of the turns (``occurred_at``, ``turn``) of the same ``by`` before each row's
    moment, 0 where there are none or ``by`` is null; in the order of ``rows``."""
    counts = (
        turns.drop_nulls(by)
        .sort("occurred_at")
        .select(*by, "occurred_at", count=pl.col("turn").cum_sum().over(by))
    )
    counted = (
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
    return _float(counted.sort("place"), pl.col("count"))


def _float(frame: pl.DataFrame, value: pl.Expr, *, missing: float = 0.0) -> NDArray[np.float64]:
    """The expression as float64, ``missing`` for what is null or no number."""
    column = frame.select(value.cast(pl.Float64).fill_nan(None).fill_null(missing)).to_series()
    return column.to_numpy()
