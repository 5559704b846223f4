"""The interaction matrix: what every user did with every item, as one number a pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from scipy import sparse

from models.ids import IdIndex


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

    @property
    def liked(self) -> sparse.csr_array:
        """``log1p`` of the positive values: strong signals count more, not without end."""
        return self.positive.log1p()


def interaction_matrix(
    interactions: pl.LazyFrame | pl.DataFrame,
    users: IdIndex,
    items: IdIndex,
    weights: Mapping[str, float],
    *,
    half_life_days: float | None = None,
    now: datetime | None = None,
) -> InteractionMatrix:
    """Sum the weights of each (user, item) pair. O(interactions).

    Args:
        interactions: columns user_id, item_id, type, occurred_at. Rows without a user
            or an item, or whose type has no weight, are left out.
        weights: weight of each interaction type.
        half_life_days: an interaction of that age at ``now`` counts half. None: all
            count the same.
        now: the age's reference, aware. Needed with ``half_life_days``.
    """
    rows = (
        interactions.lazy()
        .filter(
            pl.col("user_id").is_not_null()
            & pl.col("item_id").is_not_null()
            & pl.col("type").is_in(list(weights))
        )
        .with_columns(
            weight=pl.col("type")
            .cast(pl.String)
            .replace_strict(dict(weights), return_dtype=pl.Float64)
        )
    )
    if half_life_days is not None:
        if now is None:
            raise ValueError("now: needed with half_life_days")
        age_days = (pl.lit(now) - pl.col("occurred_at")).dt.total_seconds() / 86_400
        rows = rows.with_columns(
            weight=pl.col("weight") * (0.5 ** (age_days.clip(0) / half_life_days))
        )
    last_word = (
        pl.col("type")
        .filter(pl.col("type").is_in(["apply", "unapply"]))
        .sort_by(pl.col("occurred_at").filter(pl.col("type").is_in(["apply", "unapply"])))
        .last()
    )
    pairs = (
        rows.group_by("user_id", "item_id")
        .agg(value=pl.col("weight").sum(), applied=last_word == "apply")
        .collect()
    )
    row = users.indices(pairs["user_id"])
    column = items.indices(pairs["item_id"])
    known = (row >= 0) & (column >= 0)
    shape = (len(users), len(items))

    def matrix(data: np.ndarray, keep: np.ndarray) -> sparse.csr_array:
        coordinates = (row[keep], column[keep])
        return sparse.csr_array((data[keep].astype(np.float32), coordinates), shape=shape)

    return InteractionMatrix(
        users,
        items,
        matrix(pairs["value"].to_numpy(), known),
        matrix(np.ones(len(pairs)), known & pairs["applied"].fill_null(False).to_numpy()),
    )
