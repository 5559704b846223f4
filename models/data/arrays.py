"""Small questions to arrays: the highest of many, and which are among some."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


def top_places(scores: NDArray[np.number], count: int) -> NDArray[np.intp]:
    """Positions of the ``count`` highest scores, best first, ties by position. O(n).

    ``scores`` has no NaN.
    """
    if 0 < count < len(scores):
        threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
        chosen = np.flatnonzero(scores >= threshold)
    else:
        chosen = np.arange(len(scores))
    return chosen[np.argsort(-scores[chosen], kind="stable")][:count]


def entries_at(
    matrix: sparse.csr_array, rows: NDArray[np.integer], columns: NDArray[np.integer]
) -> NDArray[np.floating]:
    """The entries at those places, 0 where there is none, shape of ``rows``."""
    if not len(rows):  # SciPy answers with a sparse array
        return np.zeros(0, matrix.dtype)
    return np.asarray(matrix[rows, columns]).ravel()


def among(values: NDArray[np.integer], some: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which of the values are in ``some``, which ascends. O(n log m)."""
    if len(some) == 0:
        return np.zeros(len(values), bool)
    index = np.minimum(np.searchsorted(some, values), len(some) - 1)
    return some[index] == values
