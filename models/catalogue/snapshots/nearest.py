"""The items with the highest ``user · item + bias`` among very many: an inverted file of vectors.

Items are laid in cells about centres found by k-means, and a search looks only into the cells
whose centres score highest. That misses some items; how many cells it looks into is chosen by
measuring, when the index is built, so that few enough are missed.

The bias is one more dimension, in which every query has a 1. Cells are made by Euclidean
distance although scores are inner products: were an item put into the cell that scores highest
with it, the cell with the longest centre would take nearly all of them.

Source: H. Jégou, M. Douze, C. Schmid, Product Quantization for Nearest Neighbor Search, PAMI 2011
(the inverted file), as faiss has it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

TRAINING_POINTS = 64  # items a cell that its centre is found from
ROUNDS = 5  # of k-means; more find no better cells
BLOCK = 65_536  # items copied at once


class NearestError(RuntimeError):
    """A file that is not a whole, usable index; the message says what is wrong."""


class Nearest:
    """An immutable index of items. Searches may run in many threads at once."""

    def __init__(self, index: faiss.IndexIVFFlat) -> None:
        self._index = index

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def cells(self) -> int:
        return int(self._index.nlist)

    @property
    def probes(self) -> int:
        """How many cells a search looks into."""
        return int(self._index.nprobe)

    def search(self, query: Floats, count: int) -> tuple[Ints, Floats]:
        """The items that score highest, of those in the cells that are looked into.

        Args:
            query: the user's vector, shape (dims,).
            count: how many to find, at least 1.

        Returns:
            Rows of the items and their scores, best first, ``count`` of them or what is found.

        Raises:
            ValueError: the vector's width is not that of the items.
        """
        if len(query) != self._index.d - 1:
            raise ValueError(f"query: {len(query)} dimensions, the items have {self._index.d - 1}")
        faiss.omp_set_num_threads(1)  # of the calling thread
        scores, rows = self._index.search(_widened(query[None], np.float32(1)), count)
        hits = int(np.count_nonzero(rows[0] >= 0))
        return rows[0, :hits].astype(np.int32), scores[0, :hits]

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    @classmethod
    def open(cls, path: Path) -> Nearest:
        """Map the index in ``path``: processes that open the same file share its pages.

        Raises:
            NearestError: the file is missing, damaged or too short.
        """
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise NearestError(f"{path.name} is missing, damaged or no index") from error
        if not isinstance(index, faiss.IndexIVFFlat):
            raise NearestError(f"{path.name} is an index of another kind")
        return cls(index)


def build(
    vectors: Floats,
    bias: Floats,
    rows: Ints,
    *,
    sample_queries: Floats,
    count: int = 400,
    recall: float = 0.97,
    seed: int = 0,
    threads: int = 2,
) -> Nearest:
    """Index some of the items.

    As many cells as ``4 * sqrt(n)``, fewer where they would be nearly empty. The result is the
    same for the same arguments.

    Args:
        vectors: of all items, shape (n_items, dims).
        bias: of all items, shape (n_items,).
        rows: those to index, shape (n,).
        sample_queries: vectors of some users, shape (q, dims); a few hundred tell enough. None
            (q = 0): a search will look into all cells.
        count: how many items a search will ask for.
        recall: the share of the true ``count`` best that searches find at least, as the mean over
            ``sample_queries``. Other users may have 0.01 to 0.02 less.

    Raises:
        ValueError: widths differ, or a value is not finite.
    """
    if sample_queries.shape[1] != vectors.shape[1]:
        raise ValueError(
            f"sample_queries: {sample_queries.shape[1]} dimensions, items {vectors.shape[1]}"
        )
    for name, values in (("vectors", vectors), ("bias", bias)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: a value is not finite")
    dims = vectors.shape[1] + 1
    cells = max(1, min(round(4 * len(rows) ** 0.5), len(rows) // 39))  # 39: as faiss advises
    rng = np.random.default_rng(seed)
    with _threads(threads):
        centres = faiss.IndexFlatL2(dims)
        index = faiss.IndexIVFFlat(centres, dims, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.cp.niter, index.cp.spherical = seed, ROUNDS, False
        index.cp.min_points_per_centroid = 1  # of less than 39 items it would warn
        chosen = rng.permutation(rows)[: cells * TRAINING_POINTS]
        points = _widened(vectors[chosen], bias[chosen])
        index.train(points if len(rows) else np.zeros((1, dims), np.float32))
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            points = _widened(vectors[block], bias[block])
            index.add_with_ids(points, block.astype(np.int64))
        # Cells are looked into by what their centres score.
        probe = faiss.IndexFlatIP(dims)
        probe.add(centres.reconstruct_n(0, cells))
        index.quantizer, index.own_fields = probe, True
        probe.this.disown()  # type: ignore[attr-defined]  # freed with the index
        queries = _widened(sample_queries, np.float32(1))
        index.nprobe = _probes(index, queries, count, recall) if len(queries) else cells
    return Nearest(index)


def _probes(index: faiss.IndexIVFFlat, queries: Floats, count: int, recall: float) -> int:
    """The fewest cells to look into. With more cells, nothing that was found is lost."""

    def hits(probes: int) -> NDArray[np.int64]:
        index.nprobe = probes
        _, rows = index.search(queries, count)
        return np.where(rows >= 0, rows * len(queries) + np.arange(len(queries))[:, None], -1)

    best = hits(index.nlist)
    best = best[best >= 0]
    return 1 + bisect_left(
        range(1, index.nlist), recall, key=lambda probes: np.isin(best, hits(probes)).mean()
    )


def _widened(vectors: Floats, last: Floats | np.float32) -> Floats:
    """``vectors`` with one more dimension, shape (n, dims + 1)."""
    wide = np.empty((len(vectors), vectors.shape[1] + 1), np.float32)
    wide[:, :-1] = vectors
    wide[:, -1] = last
    return wide


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
