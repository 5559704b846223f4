"""A linear filter on the graph of users and items (Shen et al. 2021, "How powerful is graph
convolution for recommendation?", GF-CF without its ideal low-pass part)::

    score = row · RᵀR,   R = D_u^-1/2 X D_i^-1/2

with the numbers of items of each user, and of users of each item, on the diagonals of D. Who likes
everything says little of what goes together, which a cosine does not know. It scales where EASE
cannot be solved.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.profile.recommender_settings import GraphFilterSettings
from models.recommenders.base import Progress
from models.recommenders.neighbours.item_to_item import ItemToItem
from models.recommenders.neighbours.strongest import strongest_products


class GraphFilter(ItemToItem):
    """O(Σ_users history²) time, and ``kept`` weights an item."""

    name = "graph_filter"
    settings: GraphFilterSettings
    settings_class = GraphFilterSettings

    def _weights(self, rows: sparse.csr_array, progress: Progress) -> sparse.csr_array:
        settings = self.settings
        scaled = normalised(rows)
        by_item, kept = sparse.csr_matrix(scaled.T), settings.kept + 1  # the item itself goes
        parts = strongest_products(
            by_item, scaled, kept, threads=settings.threads, progress=progress
        )
        related = sparse.csr_array(sparse.vstack([top for _, top in parts], format="csr"))
        related.setdiag(0)
        related.eliminate_zeros()
        return related


def normalised(likes: sparse.csr_array) -> sparse.csr_matrix:
    """Each entry divided by the roots of how many its row and its column have; float32, the shape
    of ``likes``."""
    of_users, of_items = np.diff(likes.indptr), np.bincount(likes.indices, minlength=likes.shape[1])
    scale = np.repeat(_root(of_users), of_users) * _root(of_items)[likes.indices]
    return sparse.csr_matrix(
        (likes.data * scale, likes.indices, likes.indptr), shape=likes.shape, dtype=np.float32
    )


def _root(counts: NDArray[np.integer]) -> NDArray[np.float32]:
    """1 / sqrt, 0 of none."""
    root = np.divide(1, np.sqrt(counts), out=np.zeros(len(counts)), where=counts > 0)
    return root.astype(np.float32)
