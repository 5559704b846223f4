"""The first stage: several recommenders, what they score, and honest folds for a ranker.

A ranker learns from (scores, outcome). Were the outcome among what the recommenders were trained
on, one that memorises would look perfect, and the ranker would trust it. So the scores of a fold
come from recommenders that have not seen its outcome: it was hidden (out of fold), or it came later
(out of time). Stacked generalisation, Wolpert 1992; for recommenders, Covington et al. 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.data.splits import folds
from models.recommenders.base import Dataset, Progress, Scorer
from models.recommenders.folds import knowing, only, pattern


class Learner(Scorer, Protocol):
    """What a recommender of the first stage must do."""

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self: ...


Makers = Mapping[str, Callable[[], Learner]]
"""Name of each recommender of the first stage, and what makes it, untrained."""
Scores = dict[str, NDArray[np.float32]]
"""Name of each recommender → its scores, shape (users, items)."""


@dataclass(frozen=True)
class Fold:
    """
    Attributes:
        known: all that the first stage may learn from.
        wanted: bool CSR, shape (users, items): what users took to besides. Nothing of it is in
            ``known``.
    """

    known: Dataset
    wanted: sparse.csr_array


def out_of_fold(dataset: Dataset, count: int, *, seed: int = 0) -> Iterator[Fold]:
    """A part of the pairs is hidden in each, at random. For data that are split at random.

    Popularity loses each item's hidden share of weight. ``catalogue.engagement`` stays whole, so
    a recommender that reads it (the heuristic) does not belong in this first stage.
    """
    values = dataset.matrix.values
    fold = folds(count, values.nnz, seed=seed)
    for one in range(count):
        hidden = fold == one
        wanted = pattern(only(values, hidden & (values.data > 0)))
        yield Fold(knowing(dataset, only(values, ~hidden)), wanted)


def out_of_time(moments: Sequence[Dataset]) -> Iterator[Fold]:
    """One fold for each two neighbours of ``moments``, datasets of rising ``as_of``: what
    users newly liked between them.

    Raises:
        ValueError: fewer than two moments, or not in order.
    """
    if len(moments) < 2:
        raise ValueError("out_of_time: needs datasets of at least two moments")
    for known, later in pairwise(moments):
        if known.as_of >= later.as_of:
            raise ValueError("out_of_time: the moments must rise")
        liked = pattern(later.matrix.positive)
        seen = liked.multiply(pattern(known.matrix.values))
        wanted = sparse.csr_array(liked.astype(np.int8) - seen.astype(np.int8))
        wanted.eliminate_zeros()
        yield Fold(known, wanted.astype(bool))


class FirstStage:
    """Recommenders that are trained on one dataset, by name."""

    def __init__(self, recommenders: Mapping[str, Learner]) -> None:
        self.recommenders = dict(recommenders)

    @classmethod
    def fit(cls, makers: Makers, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """Train each, one after the other."""
        fitted: dict[str, Learner] = {}
        for done, (name, make) in enumerate(makers.items(), 1):
            fitted[name] = make().fit(dataset)
            if progress is not None:
                progress(done, len(makers))
        return cls(fitted)

    def score(self, users: NDArray[np.integer]) -> Scores:
        return {
            name: np.asarray(recommender.score(users), np.float32)
            for name, recommender in self.recommenders.items()
        }


def standardised(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each user's scores with mean 0 and standard deviation 1 over the items."""
    spread = scores.std(axis=1, keepdims=True)
    return (scores - scores.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)


def ranks(scores: NDArray[np.float32], seen: sparse.csr_array) -> NDArray[np.int32]:
    """Rank of each item among those that the user has not seen, from 0; ties by column.
    What is seen comes last. O(users * items log items)."""
    masked = np.where(densepattern(seen), -np.inf, scores)
    order = np.argsort(-masked, axis=1, kind="stable")
    found = np.empty(order.shape, np.int32)
    np.put_along_axis(found, order, np.arange(order.shape[1], dtype=np.int32)[None], axis=1)
    return found


def candidates(
    ranked: Sequence[NDArray[np.int32]], count: int, seen: sparse.csr_array
) -> NDArray[np.int64]:
    """The ``count`` unseen items of the best mean reciprocal rank ``1 / (60 + rank)`` over the
    recommenders (Cormack, Clarke and Büttcher 2009), shape (users, count), -1 where a user has
    fewer."""
    fused = np.sum([1 / (np.float32(60) + of_one) for of_one in ranked], axis=0)
    fused = np.where(densepattern(seen), -1, fused)
    count = min(count, fused.shape[1])
    best = np.argpartition(-fused, count - 1, axis=1)[:, :count]
    best.sort(axis=1)
    best[np.take_along_axis(fused, best, axis=1) < 0] = -1
    return best


def densepattern(matrix: sparse.csr_array) -> NDArray[np.bool_]:
    """Where the matrix holds an entry, explicit zeros too, shape of ``matrix``."""
    found = np.zeros(matrix.shape, bool)
    found[np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)), matrix.indices] = True
    return found
