"""Transitions: what users liked next, after an item, counted or learnt.

``F[j, i] = Σ exp(-(steps from j to i - 1) / scale)`` over the users' pairs in which i came after j,
up to ``reach`` items later, and ``score(i) = Σ_j exp(-n_j / fade) F[j, i] / (count(j) + 2)``, where
j is the user's n-th newest item: sequential rules (Kamehkhosh, Jannach and Ludewig 2017, "A
comparison of frequent pattern techniques and a deep learning method for session-based
recommendation"). What came at the same moment follows by half, in both directions.

Two others solve for the weights of the most used items, with nearness in time, ``G = F + Fᵀ +
diag(count) + λI``, in the place of EASE's counts of co-occurrence:

- ``LinearTransitions`` learns what follows by ridge regression, ``B = G⁻¹ F`` (Choi et al. 2021,
  "Session-aware linear item-item models for session-based recommendation");
- ``SessionEASE`` what is used together, ``B_ij = -P_ij / P_jj`` with ``P = G⁻¹`` (Steck 2019, as
  ``ease.py``): it knows which page or search items share, which the same basket does not tell.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from models.catalogue.tables.scores import Histories
from models.data.arrays import entries_at, top_places
from models.profile.recommender_settings import (
    LinearTransitionsSettings,
    SessionEASESettings,
    TransitionsSettings,
)
from models.recommenders.base import Dataset, Progress
from models.recommenders.by_table import ByTable
from models.recommenders.neighbours.strongest import over_catalogue, strongest

SMOOTHING = 2.0


class Transitions(ByTable):
    """O(liked pairs * reach)."""

    name = "transitions"
    settings: TransitionsSettings
    settings_class: ClassVar[type[TransitionsSettings]] = TransitionsSettings

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """
        Raises:
            ValueError: the times of what users liked tell no order.
        """
        settings = self.settings
        users, items, steps = _in_order(dataset.histories)
        tell = progress or (lambda done, total: None)
        follows = _following(users, items, steps, settings.scale, settings.reach, tell)
        n_items = dataset.matrix.values.shape[1]
        total = sparse.csr_array((follows[2], (follows[0], follows[1])), shape=(n_items, n_items))
        total.setdiag(0)
        total.eliminate_zeros()
        related = self._related(total, np.bincount(items, minlength=n_items))
        self._keep(dataset.histories, strongest(related, settings.kept))
        tell(settings.reach + 1, settings.reach + 1)
        return self

    def _related(self, follows: sparse.csr_array, counts: NDArray[np.int64]) -> sparse.csr_array:
        """From F and how many users like each item, shape (items, items)."""
        rare = sparse.diags_array((1 / (counts + SMOOTHING)).astype(np.float32))
        return sparse.csr_array(rare @ follows)


class _Solved(Transitions, ABC):
    """O(liked pairs * reach + dense_items³)."""

    settings: LinearTransitionsSettings

    @abstractmethod
    def _weights(
        self, inverse: NDArray[np.float32], follows: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """B from ``G⁻¹``, which may be overwritten, and F: each of shape (solved, solved)."""

    def _related(self, follows: sparse.csr_array, counts: NDArray[np.int64]) -> sparse.csr_array:
        settings = self.settings
        used = np.sort(top_places(counts, settings.dense_items))
        after = follows[used][:, used].toarray()
        gram = after + after.T
        gram[np.diag_indices_from(gram)] = counts[used] + settings.ridge
        # Quicker than ``solve``, whose symmetric form is not blocked.
        inverse = linalg.inv(gram, overwrite_a=True, check_finite=False)
        weights = self._weights(inverse, after)
        np.fill_diagonal(weights, 0)
        strong = strongest(weights.astype(np.float32, copy=False), settings.kept)
        return over_catalogue(strong, used, len(counts))


class LinearTransitions(_Solved):
    name = "linear_transitions"
    settings_class = LinearTransitionsSettings

    def _weights(
        self, inverse: NDArray[np.float32], follows: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return inverse @ follows


class SessionEASE(_Solved):
    name = "session_ease"
    settings_class = SessionEASESettings

    def _weights(
        self, inverse: NDArray[np.float32], follows: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        inverse /= -np.diag(inverse)
        return inverse


def _in_order(
    histories: Histories,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Users, items and steps (distinct moments) of all liked pairs, each user's oldest first."""
    liked, times = histories.liked, histories.times
    users = np.repeat(np.arange(liked.shape[0]), np.diff(liked.indptr))
    items = liked.indices.astype(np.int64)
    when = np.zeros(len(users)) if times is None else entries_at(times, users, items)
    order = np.lexsort((items, when, users))
    users, items, when = users[order], items[order], when[order]
    same = users[1:] == users[:-1]
    if not (np.diff(when)[same] > 0).any():
        raise ValueError("the times of what users liked tell no order: there are no transitions")
    steps = np.concatenate(([0], np.cumsum((np.diff(when) != 0) | ~same)))
    return users, items, steps[: len(users)]


def _following(
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    steps: NDArray[np.int64],
    scale: float,
    reach: int,
    progress: Progress,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Entries of F: item, the one that followed, and how near."""
    before, after, near = [items[:0]], [items[:0]], [np.zeros(0, np.float32)]
    for lag in range(1, min(reach, len(users) - 1) + 1):
        same = np.flatnonzero(users[lag:] == users[:-lag])
        if not len(same):
            break
        distance = steps[same + lag] - steps[same]
        tied = distance == 0
        weight = np.where(tied, 0.5, np.exp(-(distance - 1) / scale)).astype(np.float32)
        before += [items[same], items[same + lag][tied]]
        after += [items[same + lag], items[same][tied]]
        near += [weight, weight[tied]]
        progress(lag, reach + 1)
    return np.concatenate(before), np.concatenate(after), np.concatenate(near)
