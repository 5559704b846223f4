"""What users did with items, counted."""

from __future__ import annotations

import polars as pl

from models.profile.schema import Weights


def engagement(interactions: pl.LazyFrame, weights: Weights) -> pl.DataFrame:
    """What users did with each item: columns item_id, weighted (sum of the weights),
    impressions, clicks."""
    counted = {*weights, "impression", "click"}
    kind = pl.col("type")
    return (
        interactions.filter(kind.is_in(list(counted)), pl.col("item_id").is_not_null())
        .group_by("item_id")
        .agg(
            weighted=kind.replace_strict(weights, default=0.0, return_dtype=pl.Float64).sum(),
            impressions=(kind == "impression").sum().cast(pl.Int64),
            clicks=(kind == "click").sum().cast(pl.Int64),
        )
        .collect()
    )
