"""EASE^R: a linear autoencoder in closed form (Steck 2019, "Embarrassingly shallow autoencoders
for sparse data", arXiv:1905.03375).

The weights B minimise ``|X - X B|² + λ |B|²`` with a zero diagonal. With ``P = (XᵀX + λI)⁻¹``::

    B_ij = -P_ij / P_jj,  B_jj = 0

P is dense. Where the catalogue is too large for it, X is replaced by its first ``rank``
singular triplets ``U S Vᵀ``, and the same closed form needs no matrix of items by items::

    D = S² / (S² + λ),  h_j = Σ D_d V_jd²,  B = V D (V / (1 - h))ᵀ - diag(h / (1 - h))

Directions with S² far below λ have no part in B, so that little is lost by leaving them out.
Measured (nDCG@10, λ 500 on MovieLens 100K, 300 on the MovieLens with 9,724 films, random 75/25):

    rank      64      128     256     512     whole
    100K      0.474   0.475   0.481   0.483   0.483
    9,724     0.376   0.386   0.399   0.403   0.402
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import linalg, sparse
from sklearn.utils.extmath import randomized_svd

from models.recommenders.base import Above, Count, Progress, Seed
from models.recommenders.item_to_item import Factors, ItemToItem, ItemToItemSettings, Weights

BLOCK = 2_000  # columns of the Gram matrix that are made at once


class EASESettings(ItemToItemSettings):
    ridge: Above = Field(default=500.0, description="λ.")
    dense_items: Count = Field(
        default=10_000,
        description="A catalogue of at most so many items is solved whole, in "
        "4 * items² bytes (0.4 GB at 10,000); a larger one by low rank.",
    )
    large_rank: Count = Field(
        default=256,
        description="Rank for larger catalogues; about 16 * (users + items) * rank bytes.",
    )
    seed: Seed = 42


class EASE(ItemToItem):
    """Dense or of low rank, as the size of the catalogue asks for."""

    name = "ease"
    settings: EASESettings
    settings_class = EASESettings

    def _weights(self, rows: sparse.csr_array, progress: Progress) -> Weights:
        if rows.shape[1] <= self.settings.dense_items:
            weights: Weights = _whole(rows, self.settings.ridge)
        else:
            weights = _truncated(
                rows, self.settings.ridge, self.settings.large_rank, self.settings.seed
            )
        progress(1, 1)
        return weights


def _whole(rows: sparse.csr_array, ridge: float) -> NDArray[np.float32]:
    """B, float32, shape (items, items). O(items³) time, in the memory of B and a few blocks.

    Raises:
        ValueError: ``ridge`` is so small that the matrix cannot be inverted.
    """
    items = rows.shape[1]
    gram = np.empty((items, items), np.float32)
    columns, transposed = rows.tocsc(), rows.T.tocsr()
    for start in range(0, items, BLOCK):
        block = slice(start, start + BLOCK)
        gram[:, block] = (transposed @ columns[:, block]).toarray()
    gram[np.diag_indices(items)] += ridge
    try:
        weights = linalg.inv(gram, overwrite_a=True, check_finite=False, assume_a="pos")
    except linalg.LinAlgError as error:
        raise ValueError(f"ridge: {ridge:g} is too small for this data; raise it") from error
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0)
    return weights


def _truncated(rows: sparse.csr_array, ridge: float, rank: int, seed: int) -> Factors:
    """B as factors. O(rank * interactions + (users + items) * rank²) time."""
    rank = min(rank, *rows.shape)
    _, singular, axes = randomized_svd(rows, rank, n_iter=4, random_state=seed)
    shrunk = singular**2 / (singular**2 + ridge)
    axes = axes.T.astype(np.float32)
    leverage = (axes**2) @ shrunk
    return Factors(
        np.ascontiguousarray(axes * shrunk, np.float32),
        np.ascontiguousarray(axes / (1 - leverage)[:, None], np.float32),
        (leverage / (1 - leverage)).astype(np.float32),
    )
