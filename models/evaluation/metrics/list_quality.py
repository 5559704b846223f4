"""What nDCG does not tell of lists: whether their items differ, surprise and reach the rare; and
how sure a mean over users is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
RESAMPLES = 2_000
EXACT_USERS = 13  # 2**13 ways to set the signs
BLOCK_DRAWS = 1_000_000
"""Draws held at once (8 MB)."""


def intra_list_diversity(top: NDArray[np.integer], features: sparse.csr_array) -> Floats:
    """``1 - mean cosine`` of the features of each two items of a list (Ziegler et al. 2005),
    shape (users,); 0 for a list of fewer than two. O(users * k * features of an item).

    Args:
        top: shape (users, k), -1 for none.
        features: of items, shape (items, features); an item without any is like no other.
    """
    there = top >= 0
    shown, column = np.unique(top[there], return_inverse=True)
    of_shown = sparse.csr_array(features[shown])
    size = np.diff(of_shown.indptr)
    of_entry = np.repeat(np.arange(len(shown)), size)
    length = np.sqrt(np.bincount(of_entry, of_shown.data.astype(np.float64) ** 2, len(shown)))
    scaled = of_shown.data / np.repeat(np.where(length > 0, length, 1), size)
    unit = sparse.csr_array((scaled, of_shown.indices, of_shown.indptr), shape=of_shown.shape)
    ends = np.concatenate(([0], np.cumsum(there.sum(axis=1))))
    chosen = sparse.csr_array((np.ones(len(column)), column, ends), shape=(len(top), len(shown)))
    total = chosen @ unit
    # |Σ f|² is the sum over all pairs, of which those of an item with itself are taken off.
    row = np.repeat(np.arange(len(top)), np.diff(total.indptr))
    pairs = np.bincount(row, total.data**2, len(top)) - chosen @ (length > 0)
    count = there.sum(axis=1)
    possible = count * (count - 1)
    similarity = np.divide(pairs, possible, out=np.ones(len(top)), where=possible > 0)
    return 1 - similarity


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


def popular_lists(prior: NDArray[np.floating], seen: sparse.csr_array, k: int) -> NDArray[np.int64]:
    """The k most popular items that each user has not seen, shape (users, k), -1 for none: what
    ``evaluation.recommend`` makes of these scores. O(seen log seen + users * k).

    Args:
        prior: shape (items,), the highest is the most popular; ties go to the lower index.
        seen: shape (users, items).
    """
    n_users, n_items = seen.shape
    order = np.argsort(-prior, kind="stable")
    rank = np.empty(n_items, np.int64)
    rank[order] = np.arange(n_items)
    row = np.repeat(np.arange(n_users), np.diff(seen.indptr))
    passed = np.sort(row * n_items + rank[seen.indices]) - row * n_items
    # The item at place p has p minus its seen predecessors unseen ones before it, so the j-th
    # seen moves all places from its own, less j, on by one.
    first = passed - (np.arange(len(passed)) - seen.indptr[row])
    early = first < k
    moved = np.bincount(row[early] * k + first[early], minlength=n_users * k)
    ranks = np.arange(k) + np.cumsum(moved.reshape(n_users, k), axis=1)
    return np.where(ranks < n_items, order[np.minimum(ranks, n_items - 1)], -1)


@dataclass(frozen=True)
class Interval:
    """A mean over users, and the interval that holds it with 95 % confidence."""

    mean: float
    low: float
    high: float


def bootstrap(
    values: NDArray[np.floating], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Percentile bootstrap over users (Efron and Tibshirani 1993), ``values`` of shape (users,)."""
    return intervals(np.asarray(values)[None], seed=seed, resamples=resamples)[0]


def intervals(
    values: NDArray[np.floating], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Interval]:
    """As ``bootstrap`` of each row, all over the same resamples. O(rows * users * resamples).

    Args:
        values: shape (rows, users).
    """
    rng = np.random.default_rng(seed)
    count = values.shape[1]
    block = max(1, BLOCK_DRAWS // count)
    means = []
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = rng.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        means.append(times.astype(np.float64) @ values.T / count)
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975), axis=0)
    return [Interval(*map(float, ends)) for ends in zip(values.mean(1), low, high, strict=True)]


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


def paired(
    values: NDArray[np.floating], baseline: NDArray[np.floating], *, seed: int = 0
) -> Paired:
    """``values - baseline``, each of shape (users,)."""
    from scipy import stats  # takes a second: only who compares

    difference = np.asarray(values, np.float64) - baseline
    if not difference.any():
        return Paired(Interval(0.0, 0.0, 0.0), 1.0, 1.0)
    return Paired(
        bootstrap(difference, seed=seed),
        float(stats.ttest_rel(values, baseline).pvalue),
        _signed_rank(difference),
    )


def _signed_rank(difference: Floats) -> float:
    """p of Wilcoxon's test; of few users exact, for which SciPy takes seconds where ranks tie."""
    from scipy import stats

    difference = difference[difference != 0]
    count = len(difference)
    if count > EXACT_USERS:
        return float(stats.wilcoxon(difference).pvalue)
    ranks = stats.rankdata(np.abs(difference))
    signs = np.arange(2**count)[:, None] >> np.arange(count) & 1
    sums, observed = signs @ ranks, ranks[difference > 0].sum()
    return float(min(1.0, 2 * min(np.mean(sums <= observed), np.mean(sums >= observed))))


def holm(p_values: NDArray[np.floating]) -> Floats:
    """p-values that hold for all tests of a table together (Holm 1979), shape (tests,)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    factors = np.arange(len(p_values), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted
