"""What nDCG does not tell of lists: whether their items differ, surprise and reach the rare; and
how sure a mean over users is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

Floats = NDArray[np.float64]
RESAMPLES = 2_000


def intra_list_diversity(top: NDArray[np.integer], features: sparse.csr_array) -> Floats:
    """``1 - mean cosine`` of the features of each two items of a list (Ziegler et al. 2005),
    shape (users,); 0 for a list of fewer than two. O(users * k * features of an item).

    Args:
        top: shape (users, k), -1 for none.
        features: of items, shape (items, features); an item without any is like no other.
    """
    squares = np.asarray(features.multiply(features).sum(axis=1)).ravel()
    length = np.sqrt(squares)
    unit = sparse.csr_array(
        sparse.diags_array(np.divide(1, length, out=np.zeros(len(length)), where=length > 0))
        @ features
    )
    there = top >= 0
    rows = np.repeat(np.arange(len(top)), there.sum(axis=1))
    chosen = sparse.csr_array(
        (np.ones(len(rows)), (rows, top[there])), shape=(len(top), features.shape[0])
    )
    total = chosen @ unit
    # |Σ f|² is the sum over all pairs, of which those of an item with itself are taken off.
    pairs = np.asarray(total.multiply(total).sum(axis=1)).ravel() - chosen @ (length > 0)
    count = there.sum(axis=1)
    possible = count * (count - 1)
    alike = np.divide(pairs, possible, out=np.ones(len(top)), where=possible > 0)
    return 1 - alike


def serendipity(
    top: NDArray[np.integer], hits: NDArray[np.bool_], popular: NDArray[np.integer]
) -> Floats:
    """Share of each list that is relevant and not what popularity would have shown (Ge,
    Delgado-Battenfeld and Jannach 2010), shape (users,).

    Args:
        top, popular: the lists, and popularity's for the same users, shape (users, k).
        hits: whether the item at each place of ``top`` is relevant.
    """
    expected = (top[:, :, None] == popular[:, None, :]).any(axis=2)
    return np.asarray((hits & ~expected).mean(axis=1), np.float64)


def item_recall(
    top: NDArray[np.integer], relevant: sparse.csr_array, some: NDArray[np.bool_]
) -> float:
    """Share of the relevant pairs with an item of ``some`` that are in the lists; NaN: no such
    pair. ``some``: shape (items,), for example the cold ones."""
    row = np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr))
    of_some = some[relevant.indices]
    if not of_some.any():
        return float("nan")
    found = (top[row[of_some]] == relevant.indices[of_some][:, None]).any(axis=1)
    return float(found.mean())


@dataclass(frozen=True)
class Interval:
    """A mean over users, and the interval that holds it with 95 % confidence."""

    mean: float
    low: float
    high: float


def bootstrap(
    values: NDArray[np.floating], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Percentile bootstrap over users (Efron and Tibshirani 1993). O(users * resamples)."""
    rng = np.random.default_rng(seed)
    count = len(values)
    means = np.array([values[rng.integers(0, count, count)].mean() for _ in range(resamples)])
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(np.mean(values)), float(low), float(high))


@dataclass(frozen=True)
class Paired:
    """One against another over the same users.

    Attributes:
        difference: its mean, with the bootstrap's interval.
        p: of a two-sided paired t-test.
        p_signed_rank: of Wilcoxon's signed-rank test, which asks nothing of the distribution.
    """

    difference: Interval
    p: float
    p_signed_rank: float


def paired(one: NDArray[np.floating], other: NDArray[np.floating], *, seed: int = 0) -> Paired:
    """``one - other``, each of shape (users,)."""
    difference = np.asarray(one, np.float64) - other
    if not difference.any():
        return Paired(Interval(0.0, 0.0, 0.0), 1.0, 1.0)
    return Paired(
        bootstrap(difference, seed=seed),
        float(stats.ttest_rel(one, other).pvalue),
        float(stats.wilcoxon(difference).pvalue),
    )
