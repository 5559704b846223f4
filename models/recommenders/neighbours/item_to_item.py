"""Recommenders that are one matrix of items by items: ``score = row · weights``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from models.catalogue.building import Vectors
from models.profile.recommender_settings import ItemToItemSettings as ItemToItemSettings
from models.recommenders import files
from models.recommenders.base import Dataset, Progress, signal, tie_break
from models.recommenders.factorisation import low_rank


class Factors(NamedTuple):
    """Weights too large to be held: ``left rightᵀ - diag(diagonal)``.

    Attributes:
        left, right: float32, shape (items, rank).
        diagonal: float32, shape (items,).
    """

    left: NDArray[np.float32]
    right: NDArray[np.float32]
    diagonal: NDArray[np.float32]


Weights = NDArray[np.float32] | sparse.csr_array | Factors


class ItemToItem(ABC):
    """Scores ``x @ weights`` of a user's row x: folding in is scoring.

    Its vectors are a low-rank form (see ``low_rank.py``), made when they are first asked for.
    """

    name: str
    settings: ItemToItemSettings
    settings_class: ClassVar[type[ItemToItemSettings]]

    def __init__(self, settings: ItemToItemSettings | None = None) -> None:
        self.settings = settings or self.settings_class()

    @abstractmethod
    def _weights(self, rows: sparse.csr_array, progress: Progress) -> Weights:
        """From what users like, float32 CSR of shape (users, items), shape (items, items)."""

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        self.__dict__.pop("vectors", None)
        self._rows = signal(dataset.matrix.liked, weighted=self.settings.weighted)
        self._bias = tie_break(dataset)
        self._matrix = self._weights(self._rows, progress or (lambda done, total: None))
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        return self._scored(self._rows[users])

    def fold_in(self, liked: sparse.csr_array) -> NDArray[np.float32]:
        return self._scored(signal(liked, weighted=self.settings.weighted))

    @cached_property
    def vectors(self) -> Vectors | None:
        weighted = self.settings.weighted
        if isinstance(self._matrix, Factors):
            # Without the diagonal, which only lowers the score of what the user has liked.
            left, right, _ = self._matrix
            return Vectors(self._rows @ left, right, self._bias, left, weighted)
        return low_rank.linear(
            self._rows,
            aslinearoperator(self._matrix),
            self.settings.rank,
            self._bias,
            weighted=weighted,
        )

    def save(self, folder: Path) -> None:
        weights = self._matrix
        parts = weights._asdict() if isinstance(weights, Factors) else {"weights": weights}
        arrays = {"rows": self._rows, "bias": self._bias} | parts
        files.write(folder, self.name, self.settings.model_dump(), arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        settings, arrays = files.read(folder, cls.name)
        made = cls(cls.settings_class(**settings))
        made._rows, made._bias = arrays.pop("rows"), arrays.pop("bias")
        made._matrix = arrays["weights"] if "weights" in arrays else Factors(**arrays)
        return made

    def _scored(self, rows: sparse.csr_array) -> NDArray[np.float32]:
        if isinstance(self._matrix, Factors):
            left, right, diagonal = self._matrix
            scores = (rows @ left) @ right.T
            row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
            scores[row, rows.indices] -= rows.data * diagonal[rows.indices]
        else:
            product = rows @ self._matrix
            scores = product.toarray() if sparse.issparse(product) else product
        scores += self._bias
        return scores
