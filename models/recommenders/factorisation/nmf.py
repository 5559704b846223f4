"""NMF: what users like as a sum of parts that are never negative (Lee and Seung 1999, "Learning
the parts of objects by non-negative matrix factorization"), by scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import Vectors
from models.profile.recommender_settings import NMFSettings as NMFSettings
from models.recommenders.base import Dataset, Progress, signal, tie_break
from models.recommenders.factorisation.factorised import Factorised

STEPS = 5  # iterations between two reports of progress


class NMF(Factorised):
    """Folds in by the same least squares that it learns by."""

    name = "nmf"
    settings: NMFSettings
    settings_class = NMFSettings

    def _factorise(self, dataset: Dataset, progress: Progress) -> Vectors:
        rows = signal(dataset.matrix.liked, weighted=self.settings.weighted)
        total = self.settings.iterations
        start: dict[str, Any] = {"init": "random"}
        for done in range(0, total, STEPS):
            steps = min(STEPS, total - done)
            users, parts = self._solved(rows, steps, **start)
            start = {"init": "custom", "W": users, "H": parts}
            progress(done + steps, total)
            if not (users.any() and parts.any()):
                break  # the ridge outweighs so little data: popularity alone ranks
        return Vectors(users, np.ascontiguousarray(parts.T), tie_break(dataset))

    def _users(self, liked: sparse.csr_array, vectors: Vectors) -> NDArray[np.float32]:
        if not (liked.nnz and vectors.items.any()):
            return np.zeros((liked.shape[0], vectors.items.shape[1]), np.float32)
        rows = signal(liked, weighted=self.settings.weighted)
        parts = np.ascontiguousarray(vectors.items.T)
        return self._solved(rows, self.settings.iterations, H=parts, update_H=False)[0]

    def _solved(
        self, rows: sparse.csr_array, iterations: int, **start: Any
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Users, shape (n, dims), and parts, shape (dims, items), after so many iterations."""
        # Here: scikit-learn takes two seconds to import, and most processes fit nothing.
        from sklearn.decomposition import non_negative_factorization

        settings, (n, items) = self.settings, rows.shape
        users, parts, _ = non_negative_factorization(
            rows,
            n_components=settings.dims,
            max_iter=iterations,
            tol=0,  # or it would warn that it has not converged
            alpha_W=settings.ridge / items,  # the library multiplies by the shape
            alpha_H=settings.ridge / n,
            random_state=settings.seed,
            **start,
        )
        return users, parts
