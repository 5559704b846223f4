"""Features by their kind: what their names have before the colon, as ``tag`` or ``city``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.data.features import Features


def of_kinds(features: Features) -> tuple[NDArray[np.int32], list[sparse.csr_array]]:
    """The columns sorted by kind: number of the kind of each, int32, and a matrix a kind."""
    named = np.array([name.partition(":")[0] for name in features.names], dtype=object)
    names, kinds = np.unique(named.astype(str), return_inverse=True)
    parts = [
        sparse.csr_array(features.values[:, np.flatnonzero(kinds == kind)])
        for kind in range(len(names))
    ]
    return np.sort(kinds).astype(np.int32), parts


def mean_rows(part: sparse.csr_array) -> sparse.csr_array:
    """Each row's features with equal weights that sum to 1; a row without any stays empty."""
    counts = np.diff(part.indptr)
    data = np.repeat(1 / np.maximum(counts, 1), counts).astype(np.float32)
    return sparse.csr_array((data, part.indices, part.indptr), shape=part.shape)
