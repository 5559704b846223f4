"""The interaction matrix: what every user did with every item, as one number a pair."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from models.data.ids import IdIndex
from models.data.interactions.undoing import last_words
from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes, Weights

RECENT_ITEMS = 50
"""How many of a user's last items a snapshot keeps."""


@dataclass(frozen=True)
class InteractionMatrix:
    """Users by items.

    Attributes:
        users, items: what rows and columns mean.
        values: float32 CSR. The sum of the weights of the pair's interactions; it may be
            negative (dismissed), and an explicit zero still means "has seen".
        applied: float32 CSR of ones where the user's last word was ``apply``.
    """

    users: IdIndex
    items: IdIndex
    values: sparse.csr_array
    applied: sparse.csr_array

    @property
    def positive(self) -> sparse.csr_array:
        """The pairs with a value above 0, float32 CSR."""
        kept = sparse.csr_array(
            (np.maximum(self.values.data, 0), self.values.indices, self.values.indptr),
            shape=self.values.shape,
            copy=True,
        )
        kept.eliminate_zeros()
        return kept

    @cached_property
    def liked(self) -> sparse.csr_array:
        """``log1p`` of the positive values: strong signals count more, not without end."""
        return self.positive.log1p()


def interaction_matrix(
    interactions: pl.LazyFrame | pl.DataFrame,
    users: IdIndex,
    items: IdIndex,
    weights: Weights,
    types: InteractionTypes = DEFAULT_TYPES,
    *,
    half_life_days: float | None = None,
    now: datetime | None = None,
) -> InteractionMatrix:
    """Sum the weights of each (user, item) pair. O(interactions).

    Args:
        interactions: columns user_id, item_id, type, occurred_at. Rows without a user
            or an item, or whose type has no weight, are left out; a conversion, or
            what undoes one, without a weight counts 0.
        weights: weight of each interaction type.
        types: which of them say that a user has applied.
        half_life_days: an interaction so much older than the newest one up to ``now`` counts half:
            a log that ended years ago is not worth less. None: all count the same.
        now: what came later counts as much as what came then; aware. Needed with
            ``half_life_days``.

    Raises:
        ValueError: ``half_life_days`` without ``now``.
    """
    does, undoes = types.of_applied
    known_weights: dict[str, float] = {**dict.fromkeys(does | undoes, 0.0), **weights}
    rows = interactions.lazy().filter(
        pl.col("user_id").is_not_null()
        & pl.col("item_id").is_not_null()
        & pl.col("type").is_in(list(known_weights))
    )
    weight = pl.col("type").replace_strict(known_weights, return_dtype=pl.Float64)
    if half_life_days is not None:
        if now is None:
            raise ValueError("now: needed with half_life_days")
        newest = pl.min_horizontal(pl.lit(now), pl.col("occurred_at").max())
        age_days = (newest - pl.col("occurred_at")).dt.total_seconds() / 86_400
        weight = weight * (0.5 ** (age_days.clip(0) / half_life_days))

    def matrix(pairs: pl.DataFrame) -> sparse.csr_array:
        row, column = users.indices(pairs["user_id"]), items.indices(pairs["item_id"])
        indexed = (row >= 0) & (column >= 0)
        # Entries of one pair are summed here, which is quicker than grouping by ids.
        summed = sparse.csr_array(
            (pairs["value"].to_numpy()[indexed], (row[indexed], column[indexed])),
            shape=(len(users), len(items)),
        )
        return summed.astype(np.float32)

    return InteractionMatrix(
        users,
        items,
        matrix(rows.select("user_id", "item_id", value=weight).collect()),
        matrix(
            last_words(rows, does, undoes)
            .filter("stands")
            .select("user_id", "item_id", value=pl.lit(1.0))
            .collect()
        ),
    )


def liked_times(
    interactions: pl.LazyFrame, users: IdIndex, items: IdIndex, weights: Weights
) -> sparse.csr_array:
    """When each user last did what counts for an item: float64 CSR of epoch seconds, shape
    (users, items). O(interactions)."""
    liking = [name for name, weight in weights.items() if weight > 0]
    pairs = (
        interactions.filter(
            pl.col("type").is_in(liking)
            & pl.col("item_id").is_not_null()
            & pl.col("user_id").is_not_null()
        )
        .group_by("user_id", "item_id")
        .agg(at=pl.col("occurred_at").max().dt.timestamp("us") / 1e6)
        .collect()
    )
    row, column = users.indices(pairs["user_id"]), items.indices(pairs["item_id"])
    indexed = (row >= 0) & (column >= 0)
    return sparse.csr_array(
        (pairs["at"].to_numpy()[indexed], (row[indexed], column[indexed])),
        shape=(len(users), len(items)),
    )


def recent_items(
    interactions: pl.LazyFrame | pl.DataFrame,
    users: IdIndex,
    items: IdIndex,
    weights: Weights,
    count: int = RECENT_ITEMS,
    types: InteractionTypes = DEFAULT_TYPES,
) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """The items that each user liked last. O(n log n) in the interactions.

    Args:
        interactions: columns user_id, item_id, type, occurred_at.
        weights: only types with a weight above 0 count; of several on one item, the
            heaviest names it.

    Returns:
        items, shape (users, count), the newest first, -1 where there are fewer; and what the
        user did with each, as index into ``types.names``.
    """
    positive = {type: float(weight) for type, weight in weights.items() if weight > 0}
    pairs = (
        interactions.lazy()
        .filter(
            pl.col("type").is_in(list(positive))
            & pl.col("item_id").is_not_null()
            & pl.col("user_id").is_not_null()
        )
        # before the cut: what is no longer there takes no place
        .join(pl.LazyFrame({"item_id": items.to_series()}), on="item_id", how="semi")
        .with_columns(weight=pl.col("type").replace_strict(positive, return_dtype=pl.Float64))
        .group_by("user_id", "item_id")
        .agg(last=pl.col("occurred_at").max(), type=pl.col("type").sort_by("weight").last())
        .sort("last", "item_id", descending=[True, False])
        .group_by("user_id", maintain_order=True)
        .head(count)
        .collect()
    )
    row, column = users.indices(pairs["user_id"]), items.indices(pairs["item_id"])
    kinds = pairs["type"].replace_strict(types.names, range(len(types.names)), return_dtype=pl.Int8)
    indexed = (row >= 0) & (column >= 0)
    row, column, kind = row[indexed], column[indexed], kinds.to_numpy()[indexed]
    order = np.argsort(row, kind="stable")
    row, column, kind = row[order], column[order], kind[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    recent = np.full((len(users), count), -1, np.int32)
    done = np.full((len(users), count), -1, np.int8)
    recent[row, rank], done[row, rank] = column, kind
    return recent, done
