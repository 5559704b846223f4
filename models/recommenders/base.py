"""The protocol of every recommender, and the dataset that it learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.catalogue import Catalogue
from models.features import Features
from models.ids import IdIndex
from models.matrices import InteractionMatrix
from models.popularity import Popularity
from models.profile import Profile

Progress = Callable[[int, int], None]
"""Told (steps done, steps in all) while a recommender trains."""


@dataclass(frozen=True)
class Dataset:
    """All that a recommender may learn from. Rows follow ``matrix.users`` and ``matrix.items``.

    Attributes:
        as_of: nothing that happened after this moment is in it.
    """

    matrix: InteractionMatrix
    popularity: Popularity
    user_features: Features
    item_features: Features
    catalogue: Catalogue
    profile: Profile
    as_of: datetime

    @property
    def users(self) -> IdIndex:
        return self.matrix.users

    @property
    def items(self) -> IdIndex:
        return self.matrix.items


class Recommender(Protocol):
    """A model that scores (user, item). Scores of one user are comparable, no more."""

    name: str

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self: ...

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        """Scores of all items for the given user rows, shape (len(users), items)."""
        ...
