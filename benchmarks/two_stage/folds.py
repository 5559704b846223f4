"""Folds for a ranker where a user is asked what comes next: the newest of each user is hidden.

``first_stage.out_of_time`` cuts everybody at the same moments, which leaves no fold where users
come once and do all they do in an hour. Here each user is cut in his own time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.two_stage.first_stage import Fold
from benchmarks.two_stage.sessions import Histories
from models.recommenders.base import Dataset, Validation
from models.recommenders.folds import knowing

Mask = NDArray[np.bool_]


def not_last(users: NDArray[np.integer], seconds: NDArray[np.floating], share: float) -> Mask:
    """False for the newest ``share`` of each user's n interactions, rounded down; what came at the
    same moment stays together, on the older side. O(n log n).

    Args:
        users, seconds: of each interaction, shape (n,).
    """
    order = np.lexsort((seconds, users))
    of, when = users[order], seconds[order]
    start = np.searchsorted(of, of)
    count = np.searchsorted(of, of, side="right") - start
    last_kept = start + np.maximum(np.ceil(count * (1 - share)).astype(np.int64) - 1, 0)
    kept = np.zeros(len(users), bool)
    kept[order] = when <= when[last_kept]
    return kept


def last_of_users(
    dataset: Dataset, times: sparse.csr_array, *, share: float = 0.2, count: int = 2
) -> Iterator[Fold]:
    """``count`` folds: the newest ``share`` of each user is wanted and the rest known; then the
    newest of that rest, and so on.

    A fold knows what others did after the hidden moments, as leave-last-out does. For data in
    which the past of one user is not the past of all.

    Args:
        times: epoch seconds of each pair, shape (users, items); it may know more pairs.
    """
    for _ in range(count):
        values = dataset.matrix.values
        histories = Histories.of(values, times)
        kept = not_last(histories.users, histories.seconds, share)
        known = _only(values, histories.users[kept], histories.items[kept])
        hidden = _only(values, histories.users[~kept], histories.items[~kept])
        dataset = knowing(dataset, known)
        yield Fold(dataset, sparse.csr_array(hidden > 0))


def with_newest_as_validation(
    dataset: Dataset, times: sparse.csr_array, *, share: float = 0.1
) -> Dataset:
    """The dataset with each user's newest ``share`` as the window that tells when to stop."""
    liked = dataset.matrix.liked
    histories = Histories.of(liked, times)
    kept = not_last(histories.users, histories.seconds, share)
    earlier, later = (
        _only(liked, histories.users[of], histories.items[of]) for of in (kept, ~kept)
    )
    return replace(dataset, validation=Validation(earlier, later))


def _only(
    values: sparse.csr_array, users: NDArray[np.integer], items: NDArray[np.integer]
) -> sparse.csr_array:
    """The entries of some pairs."""
    data = np.asarray(values[users, items]).ravel()
    return sparse.csr_array((data, (users, items)), shape=values.shape)
