"""PureSVD (Cremonesi et al. 2010) of the likes, each divided by the roots of how many the user has
and the item has: the ideal low-pass filter of GF-CF (Shen et al. 2021)::

    score = row · D_i^-1/2 V Vᵀ D_i^1/2,   D_u^-1/2 X D_i^-1/2 ≈ U S Vᵀ

It knows what goes together over many steps, where ``graph_filter`` knows one.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from sklearn.utils.extmath import randomized_svd

from models.catalogue.tables.factors import FactorTable
from models.profile.recommender_settings import PureSVDSettings
from models.recommenders.base import Dataset, Progress, signal
from models.recommenders.by_table import ByTable
from models.recommenders.neighbours.graph_filter import normalised

MOST_NUMBERS = 32_000_000
"""Of each of the two arrays (128 MB): a larger catalogue has fewer dimensions."""
ROWS_OF_DIMENSION = 10
"""Users and items that there must be for each dimension: more would be learnt by heart."""


class PureSVD(ByTable):
    """O((likes * dims + items * dims²) * iterations); ``2 * dims`` numbers an item."""

    name = "pure_svd"
    settings: PureSVDSettings
    settings_class = PureSVDSettings

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """
        Raises:
            ValueError: there are too few users, items or likes.
        """
        tell, settings = progress or (lambda done, total: None), self.settings
        likes = signal(dataset.matrix.liked, weighted=False)
        if not likes.nnz or min(likes.shape) < 2:
            raise ValueError("nothing to train on: fewer than two users or items, or no likes")
        affordable = max(MOST_NUMBERS // likes.shape[1], 1)
        dims = min(settings.dims, affordable, max(min(likes.shape) // ROWS_OF_DIMENSION, 1))
        tell(0, 4)
        scaled, used = normalised(likes), np.bincount(likes.indices, minlength=likes.shape[1])
        tell(1, 4)
        _, _, components = randomized_svd(
            scaled, dims, n_iter=settings.iterations, random_state=settings.seed
        )
        tell(3, 4)
        vectors, root = components.T.astype(np.float32), np.sqrt(np.maximum(used, 1))[:, None]
        self.histories = dataset.histories
        self.table = FactorTable(
            np.asarray(vectors / root, np.float32), np.asarray(vectors * root, np.float32)
        )
        tell(4, 4)
        return self
