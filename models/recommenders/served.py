"""A recommender as a snapshot serves it: by vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import Vectors
from models.catalogue.snapshots.snapshot import Snapshot
from models.catalogue.tables.scores import Histories
from models.catalogue.tables.stored import VECTORS
from models.recommenders.base import Dataset, Plan, Recommender, Scorer
from models.recommenders.serving import standard
from models.recommenders.simple.popularity import PopularityRecommender


@dataclass
class ByVectors:
    """Scores ``user · item + bias``, or the blend of its tables.

    Attributes:
        histories: of the vectors' users, which tables are asked with.
        plan: of a blend.
    """

    name: str
    vectors: Vectors
    histories: Histories
    plan: Plan | None = None

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        vectors, weights = self.vectors, self.vectors.blend.weights
        scores = vectors.users[users] @ vectors.items.T
        scores += vectors.bias
        if not vectors.tables:
            return scores
        total = np.float32(weights.get(VECTORS, 0.0)) * standard(scores)
        for name, table in vectors.tables.items():
            asked = self.histories.asked(users, table.fade, weighted=table.weighted)
            of_table = table.scores(asked, users, self.histories.liked)
            total += np.float32(weights.get(name, 0.0)) * standard(of_table)
        if not vectors.items.shape[1]:
            total += vectors.bias  # decides between items that are level otherwise
        return total


def of_snapshot(snapshot: Snapshot) -> ByVectors:
    """What a snapshot serves, over its own users and items."""
    items, users, n_items = snapshot.items, snapshot.users, len(snapshot.items.ids)
    vectors = Vectors(
        users.vectors,
        items.vectors[:n_items],
        items.bias[:n_items],
        tables=snapshot.tables,
        blend=snapshot.blend,
    )
    liked = sparse.csr_array(users.liked.to_csr(n_items))
    name = snapshot.manifest.recommender or "unknown"
    return ByVectors(name, vectors, Histories(liked, recent=users.recent))


def as_served(recommender: Recommender, dataset: Dataset) -> Scorer:
    """What users would get of a recommender that was fitted on a dataset: what a snapshot holds of
    it. The heuristic has nothing there, and is served as it is."""
    vectors = recommender.vectors
    if vectors is None:
        return recommender
    plan: Plan | None = getattr(recommender, "plan", None)
    return ByVectors(recommender.name, vectors, dataset.histories, plan)


def vectors_of(recommender: Recommender, dataset: Dataset) -> Vectors:
    """The vectors of a fitted recommender. For the heuristic, which has none, popularity's stand
    in where only vectors can."""
    vectors = recommender.vectors or PopularityRecommender().fit(dataset).vectors
    assert vectors is not None
    return vectors
