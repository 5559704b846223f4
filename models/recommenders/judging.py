"""Lists of a recommender, held against what users liked later: who is judged, and ranking metrics.

Everything before a split is learnt from, everything after is judged by: no leak of the future.
Items that a user touched before the split are not recommended again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import NotFiniteError
from models.data.arrays import top_places
from models.data.interactions.matrices import InteractionMatrix
from models.recommenders.base import Scorer

BLOCK_SCORES = 20_000_000
"""Scores held at once (80 MB): memory stays flat whatever the catalogue's size."""


@dataclass(frozen=True)
class TestSet:
    """What users liked after the split, and who is judged.

    Attributes:
        users: int, shape (t,): rows of the judged users.
        relevant: CSR, shape (t, items): what each of them liked, and had not touched before.
        seen: CSR, shape (t, items): what each of them touched before.
        segments: shape (t,): ``cold`` (no history), ``warm`` or ``heavy``.
    """

    __test__ = False  # not a test class, whatever pytest makes of the name

    users: NDArray[np.int64]
    relevant: sparse.csr_array
    seen: sparse.csr_array
    segments: NDArray[np.str_]


def test_set(
    train: InteractionMatrix,
    future: InteractionMatrix,
    *,
    heavy_user: int,
    max_users: int,
    seed: int = 0,  # noqa: PT028 (not a test)
) -> TestSet:
    """Users with something new to find, at most ``max_users`` of them, sampled under ``seed``."""
    relevant = future.positive
    seen = sparse.csr_array(
        (np.ones(train.values.nnz), train.values.indices, train.values.indptr),
        shape=train.values.shape,
    )
    relevant = sparse.csr_array(relevant - relevant.multiply(seen))
    relevant.eliminate_zeros()
    users = np.flatnonzero(np.diff(relevant.indptr))
    if len(users) > max_users:
        users = np.sort(np.random.default_rng(seed).choice(users, max_users, replace=False))
    history = np.diff(train.values.indptr)[users]
    segments = np.select([history == 0, history < heavy_user], ["cold", "warm"], "heavy")
    return TestSet(
        users, sparse.csr_array(relevant[users]), sparse.csr_array(seen[users]), segments
    )


test_set.__test__ = False  # type: ignore[attr-defined]


def recommend(
    recommender: Scorer, users: NDArray[np.integer], seen: sparse.csr_array, k: int
) -> NDArray[np.int64]:
    """The k best new items of each user, shape (len(users), k), -1 where there are fewer.

    Ties go to the lower item index, so that a run can be repeated.

    Args:
        seen: shape (len(users), items): what is not new.

    Raises:
        NotFiniteError: a score is NaN or +inf. At -inf an item is never recommended.
    """
    n_items = seen.shape[1]
    k = min(k, n_items)
    block = max(1, BLOCK_SCORES // max(n_items, 1))
    parts = []
    for start in range(0, len(users), block):
        rows = users[start : start + block]
        scores = recommender.score(rows).astype(np.float32, copy=True)
        if not (scores < np.inf).all():  # nor NaN; -inf: never recommended
            raise NotFiniteError("some of the scores are NaN or infinite")
        hidden = seen[start : start + block]
        scores[np.repeat(np.arange(len(rows)), np.diff(hidden.indptr)), hidden.indices] = -np.inf
        best = np.array([top_places(of_user, k) for of_user in scores])
        best[np.take_along_axis(scores, best, axis=1) == -np.inf] = -1
        parts.append(best)
    return np.concatenate(parts) if parts else np.zeros((0, k), np.int64)


def ranking_metrics(
    hits: NDArray[np.bool_], relevant: NDArray[np.integer]
) -> dict[str, NDArray[np.float64]]:
    """nDCG (Järvelin and Kekäläinen 2002, binary gain), recall, MAP, MRR and hit rate of each
    user.

    Args:
        hits: shape (users, k): whether the item at each rank is relevant.
        relevant: shape (users,), at least 1: how many relevant items there are.
    """
    k = hits.shape[1]
    ranks = np.arange(1, k + 1)
    discount = 1 / np.log2(ranks + 1)
    ideal = np.concatenate(([0], np.cumsum(discount)))[np.minimum(relevant, k)]
    reachable = np.minimum(relevant, k)
    precision = np.cumsum(hits, axis=1) / ranks
    any_hit = hits.any(axis=1)
    return {
        "ndcg": (hits * discount).sum(axis=1) / ideal,
        "recall": hits.sum(axis=1) / reachable,
        "map": (hits * precision).sum(axis=1) / reachable,
        "mrr": np.where(any_hit, 1 / (hits.argmax(axis=1) + 1), 0.0),
        "hit_rate": any_hit.astype(np.float64),
    }


def ndcg_and_coverage(
    recommender: Scorer, test: TestSet, *, k: int
) -> tuple[NDArray[np.float64], float]:
    """nDCG@k of each judged user, and the share of items in any list: as ``evaluate`` does."""
    top = recommend(recommender, test.users, test.seen, k)
    return ndcg_of(top, test), len(np.unique(top[top >= 0])) / max(test.relevant.shape[1], 1)


def ndcg_of(top: NDArray[np.integer], test: TestSet) -> NDArray[np.float64]:
    """nDCG of each judged user's list, shape (t,).

    Args:
        top: items, best first, shape (t, k), -1: none.
    """
    relevant = np.diff(test.relevant.indptr)
    return ranking_metrics(hits_of(top, test.relevant), relevant)["ndcg"]


def random_ndcg(test: TestSet, *, k: int) -> NDArray[np.float64]:
    """nDCG@k that a random order of the unseen items has on average, of each judged user."""
    relevant = np.diff(test.relevant.indptr)
    unseen = test.seen.shape[1] - np.diff(test.seen.indptr)
    discounts = np.concatenate(([0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))))
    shown, ideal = np.minimum(unseen, k), np.minimum(relevant, k)
    return relevant / np.maximum(unseen, 1) * discounts[shown] / discounts[ideal]


def hits_of(top: NDArray[np.integer], relevant: sparse.csr_array) -> NDArray[np.bool_]:
    """Whether each recommended item is relevant, shape of ``top``."""
    n_items = relevant.shape[1]
    rows = np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr))
    wanted = rows * n_items + relevant.indices
    given = np.arange(len(top))[:, None] * n_items + top
    return np.isin(given, wanted) & (top >= 0)


def not_worse(
    candidate: NDArray[np.floating], incumbent: NDArray[np.floating], *, z: float = 1.96
) -> tuple[bool, float, float]:
    """Paired comparison over the same users: is the candidate not worse beyond the noise?

    Returns:
        (verdict, mean difference, half width of its 95 % normal interval).
    """
    difference = np.asarray(candidate) - np.asarray(incumbent)
    if len(difference) < 2:
        mean = float(difference.sum())
        return mean >= 0, mean, float("inf")
    half = z * float(difference.std(ddof=1)) / len(difference) ** 0.5
    mean = float(difference.mean())
    return mean + half >= 0, mean, half
