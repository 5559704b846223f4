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
from typing import ClassVar, NamedTuple, Self

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
from models.recommenders.neighbours.pair_counts import PairCounts, exact, made_by, with_rows
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
        histories, tell = dataset.histories, progress or (lambda done, total: None)
        ordered = _in_order(histories)
        if not ordered.tells_an_order:
            raise ValueError(
                "the times of what users liked tell no order: there are no transitions"
            )
        counts = self._counted(ordered, histories.liked.shape[1], tell)
        made = made_by(self, histories.liked.shape[1])
        self._keep(histories, self._table(counts), made)
        tell(self.settings.reach + 1, self.settings.reach + 1)
        return self

    @property
    def countable(self) -> bool:
        return True

    def entries(self, histories: Histories) -> int:
        lengths = np.diff(histories.liked.indptr).astype(np.int64)
        return int((lengths * np.minimum(lengths, self.settings.reach)).sum())

    def counts(self, histories: Histories, n_items: int) -> PairCounts:
        """F, and how many users like each item."""
        return self._counted(_in_order(histories), histories.liked.shape[1])

    def related(
        self, counts: PairCounts, before: sparse.csr_array | None, changed: NDArray[np.integer]
    ) -> sparse.csr_array:
        """As ``Countable``: a row of the table is of the row of F alone."""
        if before is None:
            return self._table(counts)
        rows = PairCounts(counts.pairs[changed], counts.of_items[changed])
        return with_rows(before, changed, self._table(rows))

    def _counted(
        self, ordered: _Ordered, n_items: int, progress: Progress = lambda done, total: None
    ) -> PairCounts:
        settings = self.settings
        before, after, near = _following(ordered, settings.scale, settings.reach, progress)
        follows = sparse.csr_array((near, (before, after)), shape=(n_items, n_items))
        return PairCounts.of(follows, np.bincount(ordered.items, minlength=n_items))

    def _table(self, counts: PairCounts) -> sparse.csr_array:
        rare = sparse.diags_array(1 / (counts.of_items + SMOOTHING))
        return strongest(sparse.csr_array(rare @ counts.pairs), self.settings.kept)


class _Solved(Transitions, ABC):
    """O(liked pairs * reach + dense_items³)."""

    settings: LinearTransitionsSettings

    @property
    def countable(self) -> bool:
        return False  # every number is of all counts

    @abstractmethod
    def _weights(
        self, inverse: NDArray[np.float32], follows: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """B from ``G⁻¹``, which may be overwritten, and F: each of shape (solved, solved)."""

    def _table(self, counts: PairCounts) -> sparse.csr_array:
        settings, follows = self.settings, counts.pairs
        used = np.sort(top_places(counts.of_items, settings.dense_items))
        after = follows[used][:, used].astype(np.float32).toarray()
        gram = after + after.T
        gram[np.diag_indices_from(gram)] = counts.of_items[used] + settings.ridge
        # Quicker than ``solve``, whose symmetric form is not blocked.
        inverse = linalg.inv(gram, overwrite_a=True, check_finite=False)
        weights = self._weights(inverse, after)
        np.fill_diagonal(weights, 0)
        strong = strongest(weights.astype(np.float32, copy=False), settings.kept)
        return over_catalogue(strong, used, len(counts.of_items))


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


class _Ordered(NamedTuple):
    """All liked pairs, each user's oldest first; ``steps`` counts distinct moments."""

    users: NDArray[np.int64]
    items: NDArray[np.int32]
    steps: NDArray[np.int64]

    @property
    def tells_an_order(self) -> bool:
        """Whether any user liked something after something else."""
        same = self.users[1:] == self.users[:-1]
        return bool((np.diff(self.steps)[same] > 0).any())


def _in_order(histories: Histories) -> _Ordered:
    liked, times = histories.liked, histories.times
    users = np.repeat(np.arange(liked.shape[0]), np.diff(liked.indptr))
    items = liked.indices.astype(np.int32)
    when = np.zeros(len(users)) if times is None else entries_at(times, users, items)
    order = np.lexsort((items, when, users))
    users, items, when = users[order], items[order], when[order]
    changes = (np.diff(when) != 0) | (np.diff(users) != 0)
    return _Ordered(users, items, np.concatenate(([0], np.cumsum(changes)))[: len(users)])


def _following(
    ordered: _Ordered, scale: float, reach: int, progress: Progress
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Entries of F: item, the one that followed, and how near."""
    users, items, steps = ordered
    before, after, near = [items[:0]], [items[:0]], [np.zeros(0)]
    for lag in range(1, min(reach, len(users) - 1) + 1):
        same = np.flatnonzero(users[lag:] == users[:-lag])
        if not len(same):
            break
        distance = steps[same + lag] - steps[same]
        tied = distance == 0
        weight = exact(np.where(tied, 0.5, np.exp(-(distance - 1) / scale)))
        before += [items[same], items[same + lag][tied]]
        after += [items[same + lag], items[same][tied]]
        near += [weight, weight[tied]]
        progress(lag, reach + 1)
    return np.concatenate(before), np.concatenate(after), np.concatenate(near)
