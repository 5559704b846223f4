"""The strongest entries of each row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

ROWS = 1_000  # of a dense matrix that are looked at once


def strongest(matrix: sparse.csr_array | NDArray[np.float32], count: int) -> sparse.csr_array:
    """The ``count`` entries of each row that are furthest from 0. O(entries log entries).

    Args:
        matrix: shape (rows, columns).

    Returns:
        float32 CSR of that shape, indices ascending.
    """
    if not sparse.issparse(matrix):
        parts = [
            strongest(sparse.csr_array(_cut(matrix[start : start + ROWS], count)), count)
            for start in range(0, len(matrix), ROWS)
        ]
        return sparse.csr_array(sparse.vstack(parts, format="csr"))
    lengths = np.diff(matrix.indptr)
    row = np.repeat(np.arange(matrix.shape[0]), lengths)
    order = np.lexsort((-np.abs(matrix.data), row))
    kept = np.sort(order[np.arange(len(order)) - matrix.indptr[row] < count])
    indptr = np.concatenate(([0], np.cumsum(np.minimum(lengths, count))))
    found = sparse.csr_array(
        (matrix.data[kept].astype(np.float32), matrix.indices[kept], indptr), shape=matrix.shape
    )
    found.sort_indices()
    return found


def _cut(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    if count >= rows.shape[1]:
        return rows
    size = np.abs(rows)
    least = np.partition(size, -count, axis=1)[:, -count]
    return np.where(size >= least[:, None], rows, 0)
