"""What is popular now: the prior that every list starts from.

Age is counted in events, not days: the newest ``half_life_share`` of a product's
interactions counts twice as much as the same number before it. So one setting fits a
product with a thousand interactions a day and one with a thousand a month.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.data.ids import IdIndex
from models.profile.interaction_types import Weights


@dataclass(frozen=True)
class Popularity:
    """Share of the positive weight that each item got, scaled to a mean of 1.

    Attributes:
        recent: float64, shape (items,): older interactions decayed.
        overall: float64, shape (items,): all count the same.
    """

    recent: NDArray[np.float64]
    overall: NDArray[np.float64]

    def prior(self, overall_share: float, floor: float) -> NDArray[np.float64]:
        """``log((1 - share) * recent + share * overall + floor)``, shape (items,)."""
        return np.log((1 - overall_share) * self.recent + overall_share * self.overall + floor)

    def trend(self, overall_penalty: float, floor: float) -> NDArray[np.float64]:
        """``log(recent + floor) - penalty * log(overall + floor)``, shape (items,).

        For users with a long history: an all-time favourite that they have not touched is
        something they passed by.
        """
        return np.log(self.recent + floor) - overall_penalty * np.log(self.overall + floor)


def popularity(
    interactions: pl.LazyFrame,
    items: IdIndex,
    weights: Weights,
    half_life_share: float,
) -> Popularity:
    """Sum positive weights by item. O(n log n) in the interactions.

    Args:
        interactions: columns item_id, type, occurred_at.
        half_life_share: share of the positive interactions after which one counts half.
    """
    positive = {name: weight for name, weight in weights.items() if weight > 0}
    age = 1 - pl.col("occurred_at").rank("ordinal") / pl.len()
    summed = (
        interactions.filter(pl.col("type").is_in(list(positive)), pl.col("item_id").is_not_null())
        .select(
            "item_id",
            overall=pl.col("type").replace_strict(positive, return_dtype=pl.Float64),
            decay=0.5 ** (age / half_life_share),
        )
        .group_by("item_id")
        .agg(
            recent=(pl.col("overall") * pl.col("decay")).sum(),
            overall=pl.col("overall").sum(),
        )
        .collect()
    )
    where = items.indices(summed["item_id"])
    indexed = where >= 0

    def share(column: str) -> NDArray[np.float64]:
        result = np.zeros(len(items))
        result[where[indexed]] = summed[column].to_numpy()[indexed]
        mean = result.mean() if len(result) else 0.0
        return result / mean if mean > 0 else result

    return Popularity(share("recent"), share("overall"))
