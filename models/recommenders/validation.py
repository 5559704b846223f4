"""A window of the training data that tells a recommender when to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
from scipy import sparse

from models.data.interactions.matrices import interaction_matrix
from models.data.interactions.popularity import popularity
from models.data.interactions.splits import of_known, split_moment
from models.recommenders.base import Dataset, Progress, Recommender, Validation
from models.recommenders.judging import TestSet, ndcg_and_coverage

K = 10
USERS = 1_000
"""At most so many users are judged after an epoch."""


def with_validation(dataset: Dataset, interactions: pl.LazyFrame, share: float = 0.1) -> Dataset:
    """The dataset with the newest ``share`` of its interactions set apart. O(interactions).

    Args:
        interactions: columns user_id, item_id, type, occurred_at; what came at
            ``dataset.as_of`` or later is left out.

    Raises:
        ValueError: there are no interactions.
    """
    past = interactions.filter(pl.col("occurred_at") < dataset.as_of)
    moment = split_moment(of_known(past, dataset.users, dataset.items), share)
    profile = dataset.profile
    earlier, later = (
        interaction_matrix(
            past.filter(part),
            dataset.users,
            dataset.items,
            profile.interaction_weights,
            profile.interaction_types,
            half_life_days=profile.matrix.half_life_days,
            now=dataset.as_of,
        ).liked
        for part in (pl.col("occurred_at") < moment, pl.col("occurred_at") >= moment)
    )
    popular = popularity(
        past.filter(pl.col("occurred_at") < moment),
        dataset.items,
        profile.interaction_weights,
        profile.popularity.half_life_share,
    )
    return replace(dataset, validation=Validation(earlier, later, popular))


def at_random(liked: sparse.csr_array, share: float, seed: int) -> Validation:
    """Each pair is later with probability ``share``: where times are not known."""
    later = np.random.default_rng(seed).random(liked.nnz) < share
    row, column = liked.tocoo().coords

    def part(kept: np.ndarray) -> sparse.csr_array:
        return sparse.csr_array((liked.data[kept], (row[kept], column[kept])), shape=liked.shape)

    return Validation(part(~later), part(later))


def judged(validation: Validation, seed: int) -> TestSet:
    """Users who liked something new later, at most ``USERS``, as the evaluation judges."""
    earlier, later = validation.earlier, validation.later
    relevant = sparse.csr_array(later - later.multiply(earlier > 0))
    relevant.eliminate_zeros()
    users = np.flatnonzero((np.diff(relevant.indptr) > 0) & (np.diff(earlier.indptr) > 0))
    if len(users) > USERS:
        users = np.sort(np.random.default_rng(seed).choice(users, USERS, replace=False))
    return TestSet(users, relevant[users], earlier[users], np.full(len(users), "warm"))


def ndcg(recommender: Recommender, test: TestSet) -> float:
    """Mean nDCG@10; 0 where nobody can be judged."""
    return float(ndcg_and_coverage(recommender, test, k=K)[0].mean()) if len(test.users) else 0.0


def best_epochs(most: int, patience: int, epoch: Callable[[], float], progress: Progress) -> int:
    """The number of epochs with the highest nDCG, at most ``most``; ends ``patience`` after it.

    Args:
        epoch: trains one more, and gives the nDCG so far.
        progress: called for ``2 * most`` steps, as training is done again for that number.
    """
    best, best_score = 0, -1.0
    for done in range(1, most + 1):
        reached = epoch()
        if reached > best_score:
            best, best_score = done, reached
        progress(done, 2 * most)
        if done - best >= patience:
            break
    return best
