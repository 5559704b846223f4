"""What users did with items, counted."""

from __future__ import annotations

import polars as pl

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes, Weights


def engagement(
    interactions: pl.LazyFrame, weights: Weights, types: InteractionTypes = DEFAULT_TYPES
) -> pl.DataFrame:
    """What users did with each item: columns item_id, weighted (sum of the weights),
    impressions, clicks."""
    shown, clicked = types.counted_as("impression"), types.counted_as("click")
    kind = pl.col("type")
    return (
        interactions.filter(
            kind.is_in({*weights, *shown, *clicked}), pl.col("item_id").is_not_null()
        )
        .group_by("item_id")
        .agg(
            weighted=kind.replace_strict(weights, default=0.0, return_dtype=pl.Float64).sum(),
            impressions=kind.is_in(shown).sum().cast(pl.Int64),
            clicks=kind.is_in(clicked).sum().cast(pl.Int64),
        )
        .collect()
    )
