"""A recommender as a snapshot serves it: by vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.catalogue.building import Vectors
from models.recommenders.base import Dataset, Recommender, Scorer
from models.recommenders.simple.popularity import PopularityRecommender


@dataclass
class ByVectors:
    """Scores ``user · item + bias``."""

    name: str
    vectors: Vectors

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        scores = self.vectors.users[users] @ self.vectors.items.T
        scores += self.vectors.bias
        return scores


def as_served(recommender: Recommender) -> Scorer:
    """What users would get of a fitted recommender: where its vectors are not exact, they are
    what counts. The heuristic has none, and is served as it is."""
    vectors = recommender.vectors
    return recommender if vectors is None else ByVectors(recommender.name, vectors)


def vectors_of(recommender: Recommender, dataset: Dataset) -> Vectors:
    """The vectors of a fitted recommender. For the heuristic, which has none, popularity's stand
    in where only vectors can."""
    vectors = recommender.vectors or PopularityRecommender().fit(dataset).vectors
    assert vectors is not None
    return vectors
