"""Recommenders that are vectors: ``score = user · item + bias``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import Vectors
from models.catalogue.fold_in import DOUBT, RIDGE
from models.recommenders import files
from models.recommenders.base import Dataset, Progress, Settings


class Factorised(ABC):
    """Factorisations of what users like. Who likes nothing gets the bias, by zero vectors."""

    name: str
    settings: Settings
    settings_class: ClassVar[type[Settings]]

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or self.settings_class()
        self.vectors: Vectors | None = None

    @abstractmethod
    def _factorise(self, dataset: Dataset, progress: Progress) -> Vectors:
        """Learn; the dataset has at least one liked pair."""

    @abstractmethod
    def _users(self, liked: sparse.csr_array, vectors: Vectors) -> NDArray[np.float32]:
        """Vectors of users that training has not seen, shape (n, dims)."""

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """
        Raises:
            ValueError: no user liked anything, so there is nothing to learn.
        """
        if not dataset.matrix.liked.nnz:
            raise ValueError("no interaction with a positive weight: nothing to train on")
        self.vectors = self._factorise(dataset, progress or (lambda done, total: None))
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        assert self.vectors is not None, "fit comes first"
        return self._scored(self.vectors.users[users])

    def fold_in(self, liked: sparse.csr_array) -> NDArray[np.float32]:
        assert self.vectors is not None, "fit comes first"
        return self._scored(self._users(liked, self.vectors))

    def save(self, folder: Path) -> None:
        assert self.vectors is not None, "fit comes first"
        files.write(folder, self.name, self.settings.model_dump(), self.vectors.arrays())

    @classmethod
    def load(cls, folder: Path) -> Self:
        settings, arrays = files.read(folder, cls.name)
        made = cls(cls.settings_class(**settings))
        made.vectors = Vectors(**arrays)
        return made

    def _scored(self, users: NDArray[np.float32]) -> NDArray[np.float32]:
        assert self.vectors is not None
        scores = users @ self.vectors.items.T
        scores += self.vectors.bias
        return scores


def ridge_step(liked: sparse.csr_array, vectors: Vectors) -> NDArray[np.float32]:
    """What is liked, as vectors: the step of ``models.catalogue.fold_in``, for many users at once.

    For factorisations whose own loss has no closed form for a user. 0 where a row is empty.
    O(interactions * dims + n * dims²).

    Args:
        liked: shape (n, items), above 0.

    Returns:
        shape (n, dims).
    """
    dims = vectors.items.shape[1]
    mean = vectors.items.mean(axis=0, dtype=np.float64)
    covariance = np.cov(vectors.items, rowvar=False, bias=True).reshape(dims, dims)
    scale = float(np.trace(covariance)) / max(dims, 1)
    if not scale > 0:
        return np.zeros((liked.shape[0], dims), np.float32)
    solver = np.linalg.inv(covariance + RIDGE * scale * np.eye(dims))
    pull = liked @ vectors.items - np.outer(liked.sum(axis=1), mean)
    direction = pull @ solver
    length = _spread(direction, covariance)
    count = np.diff(liked.indptr)
    trained = vectors.users[vectors.users.any(axis=1)]
    spread = np.median(_spread(trained - trained.mean(axis=0), covariance)) if len(trained) else 0.0
    size = np.divide(spread * count / (count + DOUBT), length, where=length > 0, out=0 * length)
    return (direction * size[:, None]).astype(np.float32)


def _spread(users: NDArray, covariance: NDArray) -> NDArray[np.float64]:
    """Standard deviation, over the items, of what each vector scores, shape (users,)."""
    return np.sqrt(np.maximum(np.einsum("ud,ud->u", users @ covariance, users), 0))
