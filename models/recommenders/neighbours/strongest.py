"""The strongest entries of each row, of weights and of products that are too large to keep."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sparse_dot_topn import sp_matmul_topn

from models.recommenders.base import Progress

ROWS = 1_000  # of a dense matrix that are looked at once
PARTS = 8  # of a product, between which progress is reported


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
    strong = sparse.csr_array(
        (matrix.data[kept].astype(np.float32), matrix.indices[kept], indptr), shape=matrix.shape
    )
    strong.sort_indices()
    return strong


def over_catalogue(
    weights: sparse.csr_array, items: NDArray[np.integer], n_items: int
) -> sparse.csr_array:
    """Weights among some items, shape (len(items), len(items)), as weights among all of them."""
    entries = weights.tocoo()
    rows, columns = entries.coords
    return sparse.csr_array((entries.data, (items[rows], items[columns])), shape=(n_items, n_items))


def strongest_products(
    left: sparse.csr_matrix,
    right: sparse.csr_matrix,
    count: int,
    *,
    threads: int,
    progress: Progress,
) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """The ``count`` largest entries of each row of ``left @ right``: some rows at a time, with the
    index of the first of them."""
    rows = left.shape[0]
    starts = range(0, rows, -(-rows // PARTS))
    for done, start in enumerate(starts, 1):
        part = left[start : start + starts.step]
        yield start, sp_matmul_topn(part, right, top_n=count, n_threads=threads)
        progress(done, len(starts))


def _cut(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    if count >= rows.shape[1]:
        return rows
    size = np.abs(rows)
    least = np.partition(size, -count, axis=1)[:, -count]
    return np.where(size >= least[:, None], rows, 0)
