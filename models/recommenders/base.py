"""The protocol of every recommender, and the dataset that it learns from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import Catalogue, Vectors
from models.catalogue.tables.scores import Histories
from models.data.features import Features
from models.data.ids import IdIndex
from models.data.interactions.matrices import InteractionMatrix
from models.data.interactions.popularity import Popularity
from models.profile.recommender_settings import Above as Above
from models.profile.recommender_settings import Count as Count
from models.profile.recommender_settings import Seed as Seed
from models.profile.recommender_settings import Settings as Settings
from models.profile.schema import Profile

Progress = Callable[[int, int], None]
"""Told (steps done, steps in all) while a recommender trains; what it raises ends the training."""
ProgressOf = Callable[[str], Progress]
"""Gives what to call with the progress of something, by its name."""

TIE = 1e-6
"""What popularity adds to a score at most: it decides between items that are level otherwise."""


@dataclass(frozen=True)
class Validation:
    """The training data in two parts, for recommenders that must see when to stop.

    Attributes:
        earlier, later: float32 CSR, shape (users, items), as ``InteractionMatrix.liked``.
        popularity: as it was between them; None: their times are not known.
    """

    earlier: sparse.csr_array
    later: sparse.csr_array
    popularity: Popularity | None = None


@dataclass(frozen=True)
class Dataset:
    """All that a recommender may learn from. Rows follow ``matrix.users`` and ``matrix.items``.

    Attributes:
        as_of: nothing that happened after this moment is in it.
        validation: the same interactions, split in time; None: it was not split.
        times: when each pair was last liked, float64 CSR of epoch seconds; pairs that the matrix
            does not have may be in it. None: not known.
    """

    matrix: InteractionMatrix
    popularity: Popularity
    user_features: Features
    item_features: Features
    catalogue: Catalogue
    profile: Profile
    as_of: datetime
    validation: Validation | None = None
    times: sparse.csr_array | None = None

    @property
    def histories(self) -> Histories:
        return Histories(self.matrix.liked, self.times)

    @property
    def users(self) -> IdIndex:
        return self.matrix.users

    @property
    def items(self) -> IdIndex:
        return self.matrix.items


@dataclass(frozen=True)
class Plan:
    """What a blend is made of, as it was found on one dataset; others are then trained by it.

    Attributes:
        settings: that were chosen, by recommender.
        fades: by part, of those that are tables.
        weights: by part.
    """

    settings: Mapping[str, Mapping[str, float]]
    fades: Mapping[str, float | None]
    weights: Mapping[str, float]


class Scorer(Protocol):
    """What can be judged: scores of one user are comparable, no more."""

    name: str

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        """Scores of all items for the given user rows, shape (len(users), items)."""
        ...


class Recommender(Scorer, Protocol):
    """A model that learns to score (user, item), made without arguments by its defaults."""

    @property
    def vectors(self) -> Vectors | None:
        """Vectors whose product ranks new items as ``score`` does, exactly or, where the
        class says so, nearly. None: it has none."""
        ...

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self: ...

    def fold_in(self, liked: sparse.csr_array) -> NDArray[np.float32]:
        """Scores for users that training has not seen, shape (n, items).

        Args:
            liked: what each of them likes, shape (n, items), in units of
                ``InteractionMatrix.liked``. An empty row gets what is popular.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write all that ``load`` needs into ``folder``, as arrays and JSON."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What ``save`` wrote: it scores the same.

        Raises:
            RecommenderFileError: the folder does not hold a whole recommender of this kind.
        """
        ...


def signal(liked: sparse.csr_array, *, weighted: bool) -> sparse.csr_array:
    """How much each pair was liked; not ``weighted``: 1 for each that was. float32 CSR."""
    if weighted:
        return liked
    ones = np.ones(liked.nnz, np.float32)
    return sparse.csr_array((ones, liked.indices, liked.indptr), shape=liked.shape)


def tie_break(dataset: Dataset) -> NDArray[np.float32]:
    """``TIE`` times each item's rank in popularity, in [0, 1), shape (items,).

    Added to scores, it orders the items of which a model knows nothing for a user, and so
    makes the whole list of a user without history.
    """
    settings = dataset.profile.popularity
    prior = dataset.popularity.prior(settings.overall_share, settings.floor)
    below = np.searchsorted(np.sort(prior), prior)
    return (below * (TIE / max(len(prior), 1))).astype(np.float32)
