"""Who is like whom: top-k cosine neighbours of users and of items."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sparse_dot_topn import sp_matmul_topn


class Neighbours(NamedTuple):
    """The k most similar rows of each of n rows, most similar first.

    Attributes:
        indices: int32, shape (n, k), -1 where there are fewer.
        scores: float32, shape (n, k), cosine in (0, 1], 0 where there are fewer.
    """

    indices: NDArray[np.int32]
    scores: NDArray[np.float32]


def unit_rows(matrix: sparse.csr_array) -> sparse.csr_array:
    """Each row over its Euclidean length; empty rows stay empty. CSR, same shape and dtype."""
    # Here: scikit-learn takes two seconds to import, and most processes compare nothing.
    from sklearn.preprocessing import normalize

    return normalize(matrix, copy=True)


def top_neighbours(
    matrix: sparse.csr_array, k: int, *, max_share: float = 1.0, threads: int = 2
) -> Neighbours:
    """The k most similar rows of each row, by cosine.

    Only the k best are ever held: memory is O(rows * k), time is the number of
    products between rows that share a column.

    Args:
        matrix: float32 CSR, shape (n, m).
        max_share: columns that more than this share of the rows touch are left out.
            They cost most (quadratic in their count) and tell least.
    """
    rows = matrix.shape[0]
    indices = np.full((rows, k), -1, np.int32)
    scores = np.zeros((rows, k), np.float32)
    if rows == 0 or matrix.nnz == 0:
        return Neighbours(indices, scores)
    counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
    # A handful of rows is no evidence that a column is common.
    kept = np.flatnonzero(counts <= max(max_share * rows, 10))
    if not len(kept):  # everything is common to all: nobody differs from anybody
        return Neighbours(indices, scores)
    unit = sparse.csr_matrix(unit_rows(matrix[:, kept]).astype(np.float32))
    top = sp_matmul_topn(unit, sparse.csr_matrix(unit.T), top_n=k + 1, sort=True, n_threads=threads)
    row = np.repeat(np.arange(rows), np.diff(top.indptr))
    other = top.indices != row
    row, column, value = row[other], top.indices[other], top.data[other]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    inside = rank < k
    indices[row[inside], rank[inside]] = column[inside]
    scores[row[inside], rank[inside]] = np.minimum(value[inside], 1.0)
    return Neighbours(indices, scores)
