"""The examples that the logistic ranker learns from.

What users did becomes weighted examples. A pair counts once, by the strongest thing done (each
type's ``ranker_weight``; attended 0.5 more, a long dwell 0.45 more). A last ``unapply`` takes that
away and makes the pair a negative of weight 2. Items that a search or filter led to are weak
positives, 0.15, at most 3 a user. Each positive gets 3 negatives: first what the
user was shown and did not click, weighted by its position, as what stands high was seen; then
anything that the user had not touched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from models.data.interactions.undoing import last_words
from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes

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


def _with_facts(interactions: pl.DataFrame) -> pl.DataFrame:
    """With seconds, attended and position, null where they are missing."""
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
    positives = wanted.sort("user_id", "occurred_at", "item_id").select(
        "user_id", "occurred_at", place=pl.int_range(pl.len()).over("user_id") * NEGATIVES
    )
    slots = pl.concat([positives.with_columns(pl.col("place") + step) for step in range(NEGATIVES)])
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
