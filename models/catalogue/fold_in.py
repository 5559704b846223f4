"""Fold-in: a vector for what a user did after training, without training.

Scores are ``user · item + bias``. Where the model is linear in what a user likes (``Linear``), each
liked item adds its row of ``fold`` to the user's vector, as training would have done::

    step = fold · (row now - row that was trained on)

Other models (``RidgeStep``) say nothing of the kind. With x the items' vectors less their mean, C
their covariance, and c how much each of the user's new items was liked (below 0: turned away
from)::

    step = spread · n / (n + 2) · v / sqrt(vᵀ C v),   v = (C + λI)⁻¹ Σ c x

v is the ridge regression of c on all items, where those without an event count 0: the solve that
folds a user into implicit factorisation (Hu, Koren and Volinsky 2008, "Collaborative filtering for
implicit feedback datasets", equation 4, with the items' own covariance for all the zeros). It is
scaled so that scores spread as those of trained users do, less so while little is known: n is
the number of items liked.

The step is added to the vector of a user whom the model knows (Rendle and Schmidt-Thieme 2008,
"Online-updating regularized kernel matrix factorization models": only the user's side moves), and
to zero, which scores by the bias alone, for one it does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import AGAINST as AGAINST

# Chosen on MovieLens 100K by the split in time; nDCG@10 changes little from half to twice of each.
RIDGE = 0.5
"""λ, in units of the mean variance of the vectors."""
DOUBT = 2.0
"""Liked items at which the step has half its length."""
SAMPLE = 2_000
LEAST_BY_RIDGE = 3
"""Items liked from which a new user is better served by a ridge step than by the heuristic with
their events: ``docs/freshness.md``. Linear models are so from the first."""


@dataclass(frozen=True)
class Linear:
    """
    Attributes:
        least: items liked from which a user who was not trained on is served by the model,
            where the profile does not say.
        weighted: the model's rows hold how much items are liked; False: 1 for each.
    """

    weighted: bool
    least = 1

    def step(
        self,
        fold: NDArray[np.floating],
        before: NDArray[np.floating],
        after: NDArray[np.floating],
    ) -> NDArray[np.float64]:
        """What to add to the user's vector, shape (dims,). O(items * dims).

        Args:
            fold: of the items that the user had to do with, shape (m, dims).
            before: how much each was liked in the row that was trained on, shape (m,); 0: not.
            after: the same by now; below 0: dismissed.
        """
        return (self._entries(after) - self._entries(before)) @ fold

    def _entries(self, liking: NDArray[np.floating]) -> NDArray[np.float64]:
        entries = liking.astype(np.float64) if self.weighted else np.sign(liking, dtype=np.float64)
        return np.where(entries > 0, entries, AGAINST * entries)


@dataclass(frozen=True)
class RidgeStep:
    """
    Attributes:
        least: as ``Linear``'s.
        mean: of the items' vectors, shape (dims,).
        covariance: of the same, shape (dims, dims).
        solver: ``(C + λI)⁻¹``.
        spread: median standard deviation, over the items, of what trained users' vectors
            add to their scores.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    solver: NDArray[np.float64]
    spread: float
    least = LEAST_BY_RIDGE

    @classmethod
    def of(cls, live: LiveCatalogue) -> Self | None:
        """For the vectors of a catalogue; None: it has no model, or one that knows no taste.
        O(dims³), and a sample of users."""
        dims = live.items.vectors.shape[1]
        covariance = live.score_statistics.covariance[:dims, :dims]
        scale = float(np.trace(covariance)) / max(dims, 1)
        trained = np.flatnonzero(np.diff(live.users.liked.indptr))
        if not scale > 0 or not len(trained):
            return None
        sample = trained[:: max(1, len(trained) // SAMPLE)]
        vectors = live.users.vectors[sample].astype(np.float64)
        taste = vectors - vectors.mean(axis=0)
        variances = np.einsum("ud,de,ue->u", taste, covariance, taste)
        spread = float(np.sqrt(np.median(np.maximum(variances, 0))))
        solver = np.linalg.inv(covariance + RIDGE * scale * np.eye(dims))
        return cls(live.score_statistics.vector, covariance, solver, spread)

    def step(
        self, vectors: NDArray[np.floating], liking: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """What to add to the user's vector, shape (dims,). O(items * dims + dims²).

        Args:
            vectors: of the items that the user had to do with, shape (m, dims).
            liking: of each, shape (m,), above 0 liked, below 0 dismissed.
        """
        count = int((liking > 0).sum())
        pull = np.where(liking > 0, liking, AGAINST * liking)
        direction = self.solver @ (pull @ (vectors - self.mean))
        length = math.sqrt(max(float(direction @ self.covariance @ direction), 0.0))
        if length == 0:
            return np.zeros(len(self.mean))
        return direction * (self.spread * count / (count + DOUBT) / length)


FoldIn = Linear | RidgeStep


def fold_in_of(live: LiveCatalogue) -> FoldIn | None:
    """As the model of a catalogue can best do it; None: it has no model, or one that knows no
    taste."""
    if live.items.fold.shape[1]:
        return Linear(live.snapshot.manifest.fold_weighted)
    return RidgeStep.of(live)
