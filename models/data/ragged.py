"""Rows of different length in two arrays, as in a CSR matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


class Ragged(NamedTuple):
    """Row ``r`` holds ``indices[indptr[r]:indptr[r + 1]]``, ascending.

    Attributes:
        indptr: int64, shape (rows + 1,).
        indices: int32.
        values: float32, same shape as ``indices``.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, matrix: sparse.csr_array) -> Ragged:
        matrix.sort_indices()
        return cls(
            matrix.indptr.astype(np.int64),
            matrix.indices.astype(np.int32),
            matrix.data.astype(np.float32),
        )

    @classmethod
    def empty(cls, rows: int) -> Ragged:
        return cls(np.zeros(rows + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))

    @property
    def rows(self) -> int:
        return len(self.indptr) - 1

    def row(self, index: int) -> NDArray[np.int32]:
        return self.indices[self.indptr[index] : self.indptr[index + 1]]

    def row_values(self, index: int) -> NDArray[np.float32]:
        return self.values[self.indptr[index] : self.indptr[index + 1]]

    def gather(self, rows: NDArray[np.integer]) -> Ragged:
        """The given rows, in that order. O(entries gathered), no Python loop."""
        starts = self.indptr[rows]
        lengths = self.indptr[np.asarray(rows) + 1] - starts
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        where = np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
        return Ragged(indptr, self.indices[where], self.values[where])

    def row_of_entry(self) -> NDArray[np.int64]:
        """The row that each entry belongs to, shape of ``indices``."""
        return np.repeat(np.arange(self.rows), np.diff(self.indptr))

    def to_csr(self, columns: int) -> sparse.csr_array:
        return sparse.csr_array(
            (self.values, self.indices, self.indptr), shape=(self.rows, columns)
        )
