"""EASE^R: a linear autoencoder in closed form (Steck 2019, "Embarrassingly shallow autoencoders
for sparse data", arXiv:1905.03375).

The weights B minimise ``|X - X B|² + λ |B|²`` with a zero diagonal. With ``P = (XᵀX + λI)⁻¹``::

    B_ij = -P_ij / P_jj,  B_jj = 0

P is dense and its cost grows with items³. In a large catalogue it is solved for the most used
items, which hold most of the interactions; the others are left to other recommenders.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from models.data.arrays import top_places
from models.profile.recommender_settings import EASESettings as EASESettings
from models.recommenders.base import Progress
from models.recommenders.neighbours.item_to_item import ItemToItem
from models.recommenders.neighbours.strongest import over_catalogue, strongest

BLOCK, BLOCKS = 2_000, 4  # columns of the Gram matrix that are made at once; blocks at least


class EASE(ItemToItem):
    """O(items³) time for the items that are solved, and ``kept`` weights an item."""

    name = "ease"
    settings: EASESettings
    settings_class = EASESettings

    def _weights(self, rows: sparse.csr_array, progress: Progress) -> sparse.csr_array:
        settings, n_items = self.settings, rows.shape[1]
        counts = np.bincount(rows.indices, minlength=n_items)
        used = np.sort(top_places(counts, settings.dense_items))
        weights = _whole(sparse.csr_array(rows[:, used]), settings.ridge, progress)
        return over_catalogue(strongest(weights, settings.kept), used, n_items)


def _whole(rows: sparse.csr_array, ridge: float, progress: Progress) -> NDArray[np.float32]:
    """B, float32, shape (items, items). O(items³) time, in the memory of B and a few blocks.

    Raises:
        ValueError: ``ridge`` is so small that the matrix cannot be inverted.
    """
    items = rows.shape[1]
    gram = np.empty((items, items), np.float32)
    columns, transposed = rows.tocsc(), rows.T.tocsr()
    starts = range(0, items, min(BLOCK, -(-items // BLOCKS)))
    for done, start in enumerate(starts, 1):
        block = slice(start, start + starts.step)
        gram[:, block] = (transposed @ columns[:, block]).toarray()
        progress(done, len(starts) + 1)
    gram[np.diag_indices(items)] += ridge
    try:
        weights = linalg.inv(gram, overwrite_a=True, check_finite=False, assume_a="pos")
    except linalg.LinAlgError as error:
        raise ValueError(f"ridge: {ridge:g} is too small for this data; raise it") from error
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0)
    progress(len(starts) + 1, len(starts) + 1)
    return weights
