"""Recommenders that are one matrix of items by items: ``score = row · weights``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import Vectors
from models.catalogue.tables.kinds import ItemTable
from models.catalogue.tables.scores import Histories
from models.data.ragged import Ragged
from models.profile.recommender_settings import ItemToItemSettings as ItemToItemSettings
from models.recommenders import files
from models.recommenders.base import Dataset, Progress, signal, tie_break
from models.recommenders.serving import served_by_table


class ItemToItem(ABC):
    """Scores ``x @ weights`` of a user's row x: folding in is scoring.

    It is served as a score table.
    """

    name: str
    settings: ItemToItemSettings
    settings_class: ClassVar[type[ItemToItemSettings]]

    def __init__(self, settings: ItemToItemSettings | None = None) -> None:
        self.settings = settings or self.settings_class()

    @abstractmethod
    def _weights(self, rows: sparse.csr_array, progress: Progress) -> sparse.csr_array:
        """From what users like, float32 CSR of shape (users, items), shape (items, items)."""

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        for made in ("vectors", "table"):
            self.__dict__.pop(made, None)
        self._rows = signal(dataset.matrix.liked, weighted=self.settings.weighted)
        self._bias = tie_break(dataset)
        self._matrix = self._weights(self._rows, progress or (lambda done, total: None))
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        return self._scored(self._rows[users])

    def fold_in(self, liked: sparse.csr_array) -> NDArray[np.float32]:
        return self._scored(signal(liked, weighted=self.settings.weighted))

    @cached_property
    def table(self) -> ItemTable:
        return ItemTable(
            Ragged.of(self._matrix), weighted=self.settings.weighted, made_by=self._made_by
        )

    @property
    def _made_by(self) -> Mapping[str, Any] | None:
        """As ``made_by`` of ``pair_counts`` has it."""
        return None

    @cached_property
    def vectors(self) -> Vectors | None:
        return served_by_table(self.name, self.table, Histories(self._rows), self._bias)

    def save(self, folder: Path) -> None:
        arrays = {"rows": self._rows, "bias": self._bias, "weights": self._matrix}
        files.write(folder, self.name, self.settings.model_dump(), arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        settings, arrays = files.read(folder, cls.name)
        made = cls(cls.settings_class(**settings))
        made._rows, made._bias = arrays.pop("rows"), arrays.pop("bias")
        made._matrix = arrays["weights"]
        return made

    def _scored(self, rows: sparse.csr_array) -> NDArray[np.float32]:
        scores = np.asarray((rows @ self._matrix).toarray(), np.float32)
        scores += self._bias
        return scores
