"""LightFM hybrid: factorisation of the interaction matrix over ids and features.

A user's (item's) vector is the sum of the vectors of its features, one of which is its
own indicator, so users and items without history still have a vector (Kula 2015,
"Metadata Embeddings for User and Item Cold-start Recommendations", arXiv:1507.08439).

What LightFM learns of taste is added to the popularity prior::

    score(u, i) = prior_u(i) + strength * (user_u - mean user) · item_i / sd

LightFM's own item biases are left out: they hold the popularity of all time, and the
prior knows the popularity of now. A user of whom nothing is known gets just the prior.

Where the profile has a ``lightfm.patience``, the number of epochs is found on the newest part of
the training data: what came before is learnt from, with the popularity of then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from lightfm import LightFM
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import Vectors
from models.data.features import Features
from models.data.interactions.popularity import Popularity
from models.profile.schema import Profile
from models.recommenders import files, validation
from models.recommenders.base import Dataset, Progress
from models.recommenders.factorisation.factorised import ridge_step

Flags = NDArray[np.bool_]
LEAST_SPREAD = 1e-6
"""Of products of trained vectors, which are of the order of 0.1: less is rounding alone."""


class LightFMHybrid:
    """LightFM's taste on top of popularity, as plain vectors: score = user · item + bias.

    Attributes:
        epochs: of the last training.
    """

    name = "lightfm_hybrid"
    epochs = 0

    def __init__(self) -> None:
        self.vectors: Vectors | None = None

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """Train all epochs, or as many as are best on a window of the training data, where the
        profile has a ``lightfm.patience``: O(epochs * interactions * dims) time.

        Deterministic under the profile's seed while its ``threads`` is 1.

        Raises:
            ValueError: no user liked anything, so there is nothing to learn.
        """
        settings, tell = dataset.profile.lightfm, progress or (lambda *_: None)
        self.epochs, before = settings.epochs, 0
        if settings.patience is not None:
            before = settings.epochs
            self.epochs = self._best_epochs(dataset, settings.patience, tell)
        taste = _Taste(dataset, dataset.matrix.liked, dataset.matrix.values)
        for epoch in range(self.epochs):
            taste.epoch()
            tell(before + epoch + 1, before + self.epochs)
        history = np.diff(dataset.matrix.values.indptr)
        self.vectors = _with_prior(taste, dataset.popularity, history, dataset.profile)
        return self

    def _best_epochs(self, dataset: Dataset, patience: int, progress: Progress) -> int:
        """The number with the highest nDCG on the window; all, if nobody can be judged."""
        profile = dataset.profile
        settings = profile.lightfm
        window = dataset.validation or validation.at_random(
            dataset.matrix.liked, settings.window, settings.seed
        )
        test = validation.judged(window, settings.seed)
        if not len(test.users):
            return settings.epochs
        taste = _Taste(dataset, window.earlier, window.earlier)
        history = np.diff(window.earlier.indptr)
        popular = window.popularity or dataset.popularity

        def epoch() -> float:
            taste.epoch()
            self.vectors = _with_prior(taste, popular, history, profile)
            return validation.ndcg(self, test)

        return validation.best_epochs(settings.epochs, patience, epoch, progress)

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
        files.write(folder, self.name, {}, self.vectors.arrays())

    @classmethod
    def load(cls, folder: Path) -> Self:
        made = cls()
        made.vectors = Vectors(**files.read(folder, cls.name)[1])
        return made


class _Taste:
    """What LightFM learns of taste, an epoch at a time."""

    def __init__(
        self, dataset: Dataset, liking: sparse.csr_array, touched: sparse.csr_array
    ) -> None:
        """
        Args:
            liking: what is learnt, shape (users, items), as ``InteractionMatrix.liked``.
            touched: of the same shape: which items anybody had to do with.

        Raises:
            ValueError: no user liked anything.
        """
        settings = dataset.profile.lightfm
        liked = sparse.coo_array(liking)
        if liked.nnz == 0:
            raise ValueError("no interaction with a positive weight: nothing to train on")
        self._trained = np.bincount(liked.coords[0], minlength=len(dataset.users)) > 0
        trained = np.bincount(touched.indices, minlength=len(dataset.items)) > 0
        self._trained_items = trained
        self._users = _representation(dataset.user_features, self._trained, everybody=True)
        self._items = _representation(dataset.item_features, trained)
        # Items that nobody has touched are left out, or they would be drawn as negatives.
        self._learnt_items = self._items[trained]
        column = np.cumsum(trained) - 1
        pairs = (liked.coords[0], column[liked.coords[1]])
        shape = (len(dataset.users), int(trained.sum()))
        self._positives = sparse.coo_matrix((np.ones(liked.nnz, np.float32), pairs), shape=shape)
        self._weights = sparse.coo_matrix(
            ((liked.data / liked.data.mean()).astype(np.float32), pairs), shape=shape
        )
        self._threads = settings.threads
        self._model = LightFM(
            no_components=settings.dims,
            loss=settings.loss,
            learning_rate=settings.learning_rate,
            item_alpha=settings.item_alpha,
            user_alpha=settings.user_alpha,
            max_sampled=settings.max_sampled,
            random_state=settings.seed,
        )

    def epoch(self) -> None:
        self._model.fit_partial(
            self._positives,
            user_features=self._users,
            item_features=self._learnt_items,
            sample_weight=self._weights,
            epochs=1,
            num_threads=self._threads,
        )

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """Of users, shape (users, dims), and items, shape (items, dims), so that the products of
        trained users and known items have a standard deviation of 1."""
        of_items = self._items @ self._model.item_embeddings
        of_users = _centred(self._users, self._model.user_embeddings, self._trained)
        spread = _spread(of_users[self._trained], of_items[self._trained_items])
        return of_users / (spread if spread > LEAST_SPREAD else 1.0), of_items


def _with_prior(
    taste: _Taste, popular: Popularity, history: NDArray[np.integer], profile: Profile
) -> Vectors:
    """Taste on top of what is popular.

    Args:
        history: how many items each user touched, shape (users,).
    """
    users, items = taste.vectors()
    rules = profile.popularity
    prior = popular.prior(rules.overall_share, rules.floor)
    # One more dimension switches the prior of users with a long history to the trend.
    trend = popular.trend(rules.trend_penalty, rules.floor)
    seasoned = history >= profile.evaluation.heavy_user
    return Vectors(
        users=np.column_stack([users * profile.lightfm.strength, seasoned]).astype(np.float32),
        items=np.column_stack([items, trend - prior]).astype(np.float32),
        bias=prior.astype(np.float32),
    )


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
