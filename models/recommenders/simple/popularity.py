"""Popularity: the same list for everybody, what is liked now. The baseline to beat."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import Vectors
from models.recommenders import files
from models.recommenders.base import Dataset, Progress


class PopularityRecommender:
    """Scores an item by the log of its recent share of positive interactions."""

    name = "popularity"

    def __init__(self) -> None:
        self.vectors: Vectors | None = None

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        settings = dataset.profile.popularity
        users, items = dataset.matrix.values.shape
        self.vectors = Vectors(
            np.zeros((users, 0), np.float32),
            np.zeros((items, 0), np.float32),
            dataset.popularity.prior(settings.overall_share, settings.floor).astype(np.float32),
        )
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        assert self.vectors is not None, "fit comes first"
        return np.tile(self.vectors.bias, (len(users), 1))

    def fold_in(self, liked: sparse.csr_array) -> NDArray[np.float32]:
        return self.score(np.zeros(liked.shape[0], np.int64))

    def save(self, folder: Path) -> None:
        assert self.vectors is not None, "fit comes first"
        files.write(folder, self.name, {}, self.vectors.arrays())

    @classmethod
    def load(cls, folder: Path) -> Self:
        made = cls()
        made.vectors = Vectors(**files.read(folder, cls.name)[1])
        return made
