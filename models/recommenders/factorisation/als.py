"""Implicit ALS: weighted least squares over all pairs (Hu, Koren and Volinsky 2008,
"Collaborative filtering for implicit feedback datasets"), by the library ``implicit``."""

from __future__ import annotations

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from models.catalogue.building import Vectors
from models.profile.recommender_settings import ALSSettings as ALSSettings
from models.recommenders.base import Dataset, Progress, signal, tie_break
from models.recommenders.factorisation.factorised import Factorised


class ALS(Factorised):
    """Folds in by the same least squares that it learns by."""

    name = "als"
    settings: ALSSettings
    settings_class = ALSSettings

    def _factorise(self, dataset: Dataset, progress: Progress) -> Vectors:
        rows = signal(dataset.matrix.liked, weighted=self.settings.weighted)
        total = self.settings.iterations
        # The library threads by itself, and BLAS beneath it would only be in the way.
        with threadpool_limits(1, "blas"):
            model = self._model()
            model.fit(
                sparse.csr_matrix(rows),
                show_progress=False,
                callback=lambda step, seconds, loss: progress(step + 1, total),
            )
        return Vectors(model.user_factors, model.item_factors, tie_break(dataset))

    def _users(self, liked: sparse.csr_array, vectors: Vectors) -> NDArray[np.float32]:
        rows = signal(liked, weighted=self.settings.weighted)
        with threadpool_limits(1, "blas"):
            model = self._model()
            model.item_factors = np.ascontiguousarray(vectors.items)
            return model.recalculate_user(np.arange(rows.shape[0]), sparse.csr_matrix(rows))

    def _model(self) -> AlternatingLeastSquares:
        settings = self.settings
        return AlternatingLeastSquares(
            factors=settings.dims,
            regularization=settings.ridge,
            alpha=settings.confidence,
            iterations=settings.iterations,
            num_threads=settings.threads,
            random_state=settings.seed,
        )
