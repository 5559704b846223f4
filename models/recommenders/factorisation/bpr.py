"""BPR: what is liked above what is not, pair by pair (Rendle et al. 2009, "BPR: Bayesian
personalized ranking from implicit feedback"), by the library ``implicit``."""

from __future__ import annotations

import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from models.catalogue.building import Vectors
from models.profile.recommender_settings import BPRSettings as BPRSettings
from models.recommenders.base import Dataset, Progress, signal
from models.recommenders.factorisation.factorised import Factorised, ridge_step


class BPR(Factorised):
    """Has a bias of its own. Who is new gets the mean user's vector and the step to his taste."""

    name = "bpr"
    settings: BPRSettings
    settings_class = BPRSettings

    def _factorise(self, dataset: Dataset, progress: Progress) -> Vectors:
        settings, liked = self.settings, dataset.matrix.liked
        with threadpool_limits(1, "blas"):
            model = BayesianPersonalizedRanking(
                factors=settings.dims,
                learning_rate=settings.learning_rate,
                regularization=settings.ridge,
                iterations=settings.iterations,
                num_threads=settings.threads,
                random_state=settings.seed,
            )
            model.fit(
                sparse.csr_matrix(signal(liked, weighted=False)),
                show_progress=False,
                callback=lambda step, *_: progress(step + 1, settings.iterations),
            )
        users, items = model.user_factors, model.item_factors
        trained = np.diff(liked.indptr) > 0
        # The last dimension is the bias of items.
        taste = np.where(trained[:, None], users[:, :-1], users[trained, :-1].mean(axis=0))
        return Vectors(taste, np.ascontiguousarray(items[:, :-1]), items[:, -1].copy())

    def _users(self, liked: sparse.csr_array, vectors: Vectors) -> NDArray[np.float32]:
        return vectors.users.mean(axis=0) + ridge_step(liked, vectors)
