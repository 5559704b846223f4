"""LightFM alone: factorisation of ids by WARP (Weston, Bengio and Usunier 2011, "WSABIE") or BPR,
with no features and no prior. It overfits, so the number of epochs is found on a window of the
training data.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from lightfm import LightFM as Library
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import Vectors
from models.profile.recommender_settings import LightFMAloneSettings as LightFMAloneSettings
from models.recommenders import validation
from models.recommenders.base import Dataset, Progress
from models.recommenders.factorisation.factorised import Factorised, ridge_step


class LightFM(Factorised):
    """Who is new gets the mean user's vector and the step to his taste.

    Attributes:
        epochs: of the last training.
    """

    name = "lightfm"
    settings: LightFMAloneSettings
    settings_class = LightFMAloneSettings
    epochs = 0

    def _factorise(self, dataset: Dataset, progress: Progress) -> Vectors:
        liked = dataset.matrix.liked
        most = self.epochs = self.settings.epochs
        before = 0
        if self.settings.patience is not None:
            before = most
            self.epochs = self._best_epochs(dataset, self.settings.patience, progress)
        model, pairs = self._model(), _ones(liked)
        for epoch in range(self.epochs):
            self._epoch(model, pairs)
            progress(before + epoch + 1, before + self.epochs)
        vectors, trained = _vectors(model), np.diff(liked.indptr) > 0
        users = np.where(trained[:, None], vectors.users, vectors.users[trained].mean(axis=0))
        return replace(vectors, users=users)

    def _users(self, liked: sparse.csr_array, vectors: Vectors) -> NDArray[np.float32]:
        return vectors.users.mean(axis=0) + ridge_step(liked, vectors)

    def _best_epochs(self, dataset: Dataset, patience: int, progress: Progress) -> int:
        """The number with the highest nDCG on the window; all, if nobody can be judged."""
        settings = self.settings
        window = dataset.validation or validation.at_random(
            dataset.matrix.liked, settings.window, settings.seed
        )
        test = validation.judged(window, settings.seed)
        if not len(test.users):
            return settings.epochs
        model, pairs = self._model(), _ones(window.earlier)

        def epoch() -> float:
            self._epoch(model, pairs)
            self.vectors = _vectors(model)
            return validation.ndcg(self, test)

        return validation.best_epochs(settings.epochs, patience, epoch, progress)

    def _model(self) -> Library:
        settings = self.settings
        return Library(
            no_components=settings.dims,
            loss=settings.loss,
            learning_rate=settings.learning_rate,
            item_alpha=settings.ridge,
            user_alpha=settings.ridge,
            max_sampled=settings.max_sampled,
            random_state=settings.seed,
        )

    def _epoch(self, model: Library, pairs: sparse.coo_matrix) -> None:
        model.fit_partial(pairs, epochs=1, num_threads=self.settings.threads)


def _vectors(model: Library) -> Vectors:
    return Vectors(model.user_embeddings, model.item_embeddings, model.item_biases)


def _ones(liked: sparse.csr_array) -> sparse.coo_matrix:
    made = sparse.coo_matrix(liked)
    return sparse.coo_matrix(
        (np.ones(made.nnz, np.float32), (made.row.astype(np.int32), made.col.astype(np.int32))),
        shape=made.shape,
    )
