"""LightFM hybrid: factorisation of the interaction matrix over ids and features.

A user's (item's) vector is the sum of the vectors of its features, one of which is its
own indicator, so users and items without history still have a vector (Kula 2015,
"Metadata Embeddings for User and Item Cold-start Recommendations", arXiv:1507.08439).

What LightFM learns of taste is added to the popularity prior::

    score(u, i) = prior_u(i) + strength * (user_u - mean user) · item_i / sd

LightFM's own item biases are left out: they hold the popularity of all time, and the
prior knows the popularity of now. A user of whom nothing is known gets just the prior.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from lightfm import LightFM
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue import Vectors
from models.features import Features
from models.recommenders import files
from models.recommenders.base import Dataset, Progress
from models.recommenders.factorised import ridge_step

Flags = NDArray[np.bool_]


class LightFMHybrid:
    """LightFM's taste on top of popularity, as plain vectors: score = user · item + bias."""

    name = "lightfm_hybrid"

    def __init__(self) -> None:
        self.vectors: Vectors | None = None

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """Train all epochs: O(epochs * interactions * dims) time.

        Deterministic under the profile's seed while its ``threads`` is 1.

        Raises:
            ValueError: no user liked anything, so there is nothing to learn.
        """
        settings, popular = dataset.profile.lightfm, dataset.profile.popularity
        taste_of_users, taste_of_items = _taste(dataset, progress)
        # One more dimension switches the prior of users with a long history to the trend.
        prior = dataset.popularity.prior(popular.overall_share, popular.floor)
        trend = dataset.popularity.trend(popular.trend_penalty, popular.floor)
        history = np.diff(dataset.matrix.values.indptr)
        seasoned = history >= dataset.profile.evaluation.heavy_user
        self.vectors = Vectors(
            users=np.column_stack([taste_of_users * settings.strength, seasoned]).astype(
                np.float32
            ),
            items=np.column_stack([taste_of_items, trend - prior]).astype(np.float32),
            bias=prior.astype(np.float32),
        )
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        assert self.vectors is not None, "fit comes first"
        scores = self.vectors.users[users] @ self.vectors.items.T
        scores += self.vectors.bias
        return scores

    def fold_in(self, liked: sparse.csr_array) -> NDArray[np.float32]:
        """The popularity prior, and the step to what is liked."""
        assert self.vectors is not None, "fit comes first"
        return ridge_step(liked, self.vectors) @ self.vectors.items.T + self.vectors.bias

    def save(self, folder: Path) -> None:
        assert self.vectors is not None, "fit comes first"
        files.write(folder, self.name, {}, vars(self.vectors))

    @classmethod
    def load(cls, folder: Path) -> Self:
        made = cls()
        made.vectors = Vectors(**files.read(folder, cls.name)[1])
        return made


def _taste(dataset: Dataset, progress: Progress | None) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of users, shape (users, dims), and items, shape (items, dims), so that the
    products of trained users and known items have a standard deviation of 1."""
    settings = dataset.profile.lightfm
    liked = sparse.coo_array(dataset.matrix.liked)
    if liked.nnz == 0:
        raise ValueError("no interaction with a positive weight: nothing to train on")
    trained = np.bincount(liked.coords[0], minlength=len(dataset.users)) > 0
    known = np.bincount(dataset.matrix.values.indices, minlength=len(dataset.items)) > 0
    users = _representation(dataset.user_features, trained, everybody=True)
    items = _representation(dataset.item_features, known)
    # Items that nobody has touched are left out, or they would be drawn as negatives.
    column = np.cumsum(known) - 1
    pairs = (liked.coords[0], column[liked.coords[1]])
    shape = (len(dataset.users), int(known.sum()))
    positives = sparse.coo_matrix((np.ones(liked.nnz, np.float32), pairs), shape=shape)
    weights = sparse.coo_matrix(
        ((liked.data / liked.data.mean()).astype(np.float32), pairs), shape=shape
    )
    model = LightFM(
        no_components=settings.dims,
        loss=settings.loss,
        learning_rate=settings.learning_rate,
        item_alpha=settings.item_alpha,
        user_alpha=settings.user_alpha,
        max_sampled=settings.max_sampled,
        random_state=settings.seed,
    )
    for epoch in range(settings.epochs):
        model.fit_partial(
            positives,
            user_features=users,
            item_features=items[known],
            sample_weight=weights,
            epochs=1,
            num_threads=settings.threads,
        )
        if progress is not None:
            progress(epoch + 1, settings.epochs)
    of_items = items @ model.item_embeddings
    of_users = _centred(users, model.user_embeddings, trained)
    spread = _spread(of_users[trained], of_items[known])
    return of_users / (spread or 1.0), of_items


def _representation(
    features: Features, has_history: Flags, *, everybody: bool = False
) -> sparse.csr_matrix:
    """Indicators of the rows, then of their features, and one that all rows share.

    Who has no history gets no indicator: an untrained vector would only add noise.
    """
    rows = len(has_history)
    parts = [
        sparse.diags_array(has_history.astype(np.float32), format="csr"),
        features.values.astype(bool).astype(np.float32),
    ]
    if everybody:
        parts.append(sparse.csr_array(np.ones((rows, 1), np.float32)))
    matrix = sparse.csr_matrix(sparse.hstack(parts, format="csr"))
    matrix.eliminate_zeros()
    # LightFM reads 32-bit indices only.
    matrix.indptr, matrix.indices = (
        matrix.indptr.astype(np.int32),
        matrix.indices.astype(np.int32),
    )
    return matrix


def _centred(users: sparse.csr_matrix, embeddings: np.ndarray, trained: Flags) -> np.ndarray:
    """Vectors of users less the mean user's: taste, without what all have in common.

    Cold users have no vector of their own, so their mean is that of features alone.
    """
    rows = users.shape[0]
    whole = users @ embeddings
    of_features = users[:, rows:] @ embeddings[rows:]
    centred = np.where(
        trained[:, None],
        whole - whole[trained].mean(axis=0),
        of_features - of_features[trained].mean(axis=0),
    )
    nothing_known = ~trained & (np.diff(users.indptr) <= 1)
    centred[nothing_known] = 0
    return centred


def _spread(users: np.ndarray, items: np.ndarray) -> float:
    """Standard deviation over all products user · item, without making them.

    O((users + items) * dims²): ``E[(u·v)²] = sum(E[u uᵀ] * E[v vᵀ])``.
    """
    if not len(users) or not len(items):
        return 0.0
    second = ((users.T @ users / len(users)) * (items.T @ items / len(items))).sum()
    mean = float(users.mean(axis=0) @ items.mean(axis=0))
    return float(np.sqrt(max(second - mean**2, 0.0)))
