"""Which interactions are learnt from, and which are judged by.

Two protocols cut a log of interactions in two: ``by_time``, which alone is how a model will be
used, and ``at_random``, which published tables use. The latter holds out pairs of user and item
that were liked, with all their interactions: of a pair that was viewed in one part and applied to
in the other, the model would know the answer. After ``by_time`` the test set leaves such pairs out
(``evaluation.test_set``).

Below them are splits as masks over n interactions: True is learnt from.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.data.ids import IdIndex
from models.profile.interaction_types import Weights

Mask = NDArray[np.bool_]
PAIR = ("user_id", "item_id")


@dataclass(frozen=True)
class Split:
    """Interactions in two parts, with the columns that they had.

    Attributes:
        as_of: when the model is trained: nothing of ``train`` is as late.
    """

    train: pl.LazyFrame
    test: pl.LazyFrame
    as_of: datetime


def by_time(interactions: pl.LazyFrame, *, test_share: float = 0.2) -> Split:
    """Hold out the newest ``test_share`` of the interactions; those of one moment stay together.

    Raises:
        ValueError: there are no interactions.
    """
    at, moment = pl.col("occurred_at"), split_moment(interactions, test_share)
    return Split(interactions.filter(at < moment), interactions.filter(at >= moment), moment)


def at_random(
    interactions: pl.LazyFrame,
    weights: Weights,
    *,
    test_share: float = 0.25,
    within: Literal["user_id", "item_id"] = "item_id",
    seed: int = 42,
) -> Split:
    """Hold out a random ``test_share`` of the liked pairs of each item, or user, rounded up.

    Raises:
        ValueError: nobody likes anything.
    """
    pairs = _liked_pairs(interactions, weights)
    groups = pairs["user" if within == "user_id" else "item"].to_numpy()
    learnt = stratified_split(groups, share=1 - test_share, seed=seed)
    return _hold_out(interactions, pairs, ~learnt)


def split_moment(interactions: pl.LazyFrame, test_share: float) -> datetime:
    """The moment after which the newest ``test_share`` of the interactions lies.

    Raises:
        ValueError: there are no interactions.
    """
    moment = (
        interactions.select(pl.col("occurred_at").quantile(1 - test_share, "nearest"))
        .collect()
        .item()
    )
    if moment is None:
        raise ValueError("no interactions: nothing to split")
    return moment


def of_known(interactions: pl.LazyFrame, users: IdIndex, items: IdIndex) -> pl.LazyFrame:
    """What known users did with known items. Only by that may a log be cut in two: anybody can
    make up the others, and so many that nothing else is left in the newest share.

    Ids are compared by hashes of 64 bits, at a fifth of the cost.
    """
    return interactions.filter(
        *(
            pl.col(name).hash().is_in(ids.to_series().hash().implode()) & pl.col(name).is_not_null()
            for name, ids in (("user_id", users), ("item_id", items))
        )
    )


def _liked_pairs(interactions: pl.LazyFrame, weights: Weights) -> pl.DataFrame:
    """In the order of their ids: codes of user and item, and when it was first liked."""
    positive = [type for type, weight in weights.items() if weight > 0]
    pairs = (
        interactions.filter(pl.col("type").is_in(positive))
        .drop_nulls(PAIR)
        .group_by(PAIR)
        .agg(first=pl.col("occurred_at").min())
        .sort(PAIR)
        .with_columns(user=pl.col("user_id").rank("dense"), item=pl.col("item_id").rank("dense"))
        .collect()
    )
    if pairs.is_empty():
        raise ValueError(f"nobody likes anything: no interactions of {', '.join(positive)}")
    return pairs


def _hold_out(interactions: pl.LazyFrame, pairs: pl.DataFrame, held: Mask) -> Split:
    judged = pairs.lazy().filter(pl.Series(held)).select(PAIR)
    newest = interactions.select(pl.col("occurred_at").max()).collect().item()
    return Split(
        interactions.join(judged, on=PAIR, how="anti"),
        interactions.join(judged, on=PAIR, how="semi"),
        newest + timedelta(microseconds=1),
    )


def stratified_split(groups: NDArray[np.integer], *, share: float = 0.75, seed: int = 42) -> Mask:
    """Learn from a random ``share`` of each group, rounded down. O(n log n).

    Row by row the same as ``python_stratified_split`` of Microsoft's Recommenders 1.2 (with
    ``filter_by="item"`` and the items as groups), given the rows in the file's order: a random
    number a row, and of each group those with the lowest. A group of one is held out whole.

    Args:
        groups: of each interaction, shape (n,): its item, in Microsoft's table.
    """
    if not 0 < share < 1:
        raise ValueError(f"share: {share}, must lie between 0 and 1")
    random = np.random.RandomState(seed).rand(len(groups))
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return (_rank_in_group(group, random) + 1) / counts[group] <= share


def _rank_in_group(groups: NDArray[np.integer], keys: NDArray[np.number]) -> NDArray[np.int64]:
    """Rank of each row within its group by ascending key, from 0."""
    order = np.lexsort((keys, groups))
    ordered = groups[order]
    ranks = np.empty(len(groups), np.int64)
    ranks[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return ranks
