"""Who and what lists show: exposure by popularity, owner and age of items, held against what there
is and what people took.

An item's exposure is the share that it has of all that was shown. A place counts ``1 / log2(rank
+ 1)``, as in nDCG: what stands higher is seen more (Singh and Joachims 2018, Fairness of exposure
in rankings).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from models.data.ids import IdIndex
from models.recommenders.base import Dataset

Floats = NDArray[np.float64]

AGE_DAYS = (0, 1, 7, 30)
"""Where one group of ages ends and the next begins."""
AGES = ("after the split", "under 1 day", "1 to 7 days", "7 to 30 days", "older", "unknown")
"""Groups by when the item was made, counted back from the split."""
HEADS = (1, 10)
"""The most popular items that are looked at apart, in percent of the catalogue."""
TOP_OWNERS = 0.1
"""The owners that are looked at apart, as a share of all."""


@dataclass(frozen=True)
class ItemFacts:
    """What was known of the items at the split.

    Attributes:
        users: int, shape (items,): how many users touched each before.
        owner: int, shape (items,): -1 where there is none.
        age: int, shape (items,): place in ``AGES``.
    """

    users: NDArray[np.int64]
    owner: NDArray[np.int64]
    age: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """O(items + interactions)."""
        rows = dataset.catalogue.items
        index = dataset.items.indices(rows["id"])
        indexed = index >= 0
        owner = np.full(len(dataset.items), -1)
        owner[index[indexed]] = IdIndex.of(rows["owner_id"]).indices(rows["owner_id"])[indexed]
        age = np.full(len(dataset.items), len(AGES) - 1)
        days = (pl.lit(dataset.as_of) - pl.col("created_at")).dt.total_seconds() / 86_400
        made = rows.select(days.cast(pl.Float64).fill_null(np.nan)).to_series().to_numpy()[indexed]
        group = np.searchsorted(AGE_DAYS, made, side="right")
        age[index[indexed]] = np.where(np.isnan(made), len(AGES) - 1, group)
        users = np.bincount(dataset.matrix.values.indices, minlength=len(dataset.items))
        return cls(users, owner, age)


@dataclass(frozen=True)
class Exposure:
    """How exposure is spread.

    Attributes:
        percentile: of popularity before the split, mean over what is shown; 0.5: no bias.
        heads: share of the most popular items, by ``HEADS``.
        gini_items, gini_owners: 0 when all get the same, towards 1 when one gets all. NaN: no item
            has an owner, as all that follows of owners.
        top_owners: share of the tenth of the owners that get most.
        their_items, their_interactions: what those same owners have of the catalogue, and of the
            pairs of user and item before the split.
        ages: share of each of ``AGES``, shape (len(AGES),).
    """

    percentile: float
    heads: tuple[float, ...]
    gini_items: float
    gini_owners: float
    top_owners: float
    their_items: float
    their_interactions: float
    ages: Floats

    def metrics(self) -> dict[str, float]:
        """By name, without what is not known."""
        metrics = {
            **{f"top_{head}_percent": share for head, share in zip(HEADS, self.heads, strict=True)},
            "gini_items": self.gini_items,
            "gini_owners": self.gini_owners,
            "top_owners": self.top_owners,
            **{
                f"age.{name.replace(' ', '_')}": float(share)
                for name, share in zip(AGES, self.ages, strict=True)
            },
        }
        return {f"exposure.{name}": value for name, value in metrics.items() if value == value}


def of_lists(top: NDArray[np.integer], facts: ItemFacts) -> Exposure:
    """``top``: shape (users, k), -1 for none. O(users * k + items log items)."""
    discount = 1 / np.log2(np.arange(2, top.shape[1] + 2))
    there = top >= 0
    return of_weights(top[there], np.broadcast_to(discount, top.shape)[there], facts)


def of_consumption(relevant: sparse.csr_array, facts: ItemFacts) -> Exposure:
    """What users took to, shape (users, items); each user counts the same, as in the lists."""
    count = np.diff(relevant.indptr)
    return of_weights(relevant.indices, np.repeat(1 / np.maximum(count, 1), count), facts)


def of_catalogue(facts: ItemFacts) -> Exposure:
    """As if all items were shown equally often."""
    items = np.arange(len(facts.users))
    return of_weights(items, np.ones(len(items)), facts)


def of_weights(items: NDArray[np.integer], weights: Floats, facts: ItemFacts) -> Exposure:
    """Of items, each with its weight, both of shape (n,); an item may come often."""
    n_items = len(facts.users)
    share = _shares(np.bincount(items, weights, minlength=n_items))
    by_popularity = np.argsort(-facts.users, kind="stable")
    heads = [by_popularity[: -(-n_items * head // 100)] for head in HEADS]
    owned = facts.owner >= 0
    given, have, used = (
        _shares(np.bincount(facts.owner[owned], of_items[owned]))
        for of_items in (share, owned, facts.users)
    )
    best = np.argsort(-given, kind="stable")[: int(np.ceil(len(given) * TOP_OWNERS))]
    given_best, have_best, used_best = (
        float(of_owners[best].sum()) if len(best) else float("nan")
        for of_owners in (given, have, used)
    )
    return Exposure(
        percentile=float(share @ popularity_percentile(facts.users)),
        heads=tuple(float(share[head].sum()) for head in heads),
        gini_items=gini(share),
        gini_owners=gini(given) if len(best) else float("nan"),
        top_owners=given_best,
        their_items=have_best,
        their_interactions=used_best,
        ages=np.bincount(facts.age, share, minlength=len(AGES)).astype(np.float64),
    )


def gini(values: NDArray[np.floating]) -> float:
    """Gini's coefficient of values of at least 0: 0 when all are level. O(n log n)."""
    total, count = values.sum(), len(values)
    if total == 0:
        return 0.0
    ranks = np.arange(1, count + 1)
    return max(0.0, float(2 * (ranks @ np.sort(values)) / (count * total) - (count + 1) / count))


def popularity_percentile(counts: NDArray[np.integer]) -> Floats:
    """Place of each item among all by its count, in (0, 1), shape (items,).

    The middle of its ties, so that a catalogue without favourites has no bias.
    """
    ordered = np.sort(counts)
    below, up_to = (np.searchsorted(ordered, counts, side=side) for side in ("left", "right"))
    return (below + up_to) / 2 / max(len(counts), 1)


def _shares(weights: NDArray) -> Floats:
    total = weights.sum()
    return np.asarray(weights / total if total else weights, np.float64)
