"""k nearest neighbours, of users and of items, exact and without a dense matrix of them.

    items: score(u, i) = Σ_j x_uj sim(j, i), over the k items j that are most like i
    users: score(u, i) = Σ_v sim(u, v) x_vi, over the k users v that are most like u

(Sarwar et al. 2001, "Item-based collaborative filtering"; Resnick et al. 1994, "GroupLens".)
sim is the cosine of rows that are weighted first, as texts are: what few have in common tells
more of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sparse_dot_topn import sp_matmul_topn

from models.catalogue.building import Vectors
from models.catalogue.tables.kinds import UserTable
from models.catalogue.tables.scores import Histories
from models.data.ragged import Ragged
from models.data.similarities import unit_rows
from models.profile.recommender_settings import ItemKNNSettings, Weighting
from models.profile.recommender_settings import KNNSettings as KNNSettings
from models.recommenders import files
from models.recommenders.base import Dataset, Progress, signal, tie_break
from models.recommenders.neighbours.item_to_item import ItemToItem
from models.recommenders.neighbours.pair_counts import PairCounts, exact, made_by
from models.recommenders.neighbours.strongest import strongest_products
from models.recommenders.serving import served_by_table

K1, B = 1.2, 0.75  # of BM25, as published


@dataclass(frozen=True)
class Terms:
    """What a row is weighted by, counted in all rows: columns are its terms.

    Attributes:
        rarity: float32, shape (columns,): how much having the column in common says.
        length: mean sum of a row.
    """

    weighting: Weighting
    rarity: NDArray[np.float32]
    length: float

    @classmethod
    def of(cls, rows: sparse.csr_array, settings: KNNSettings) -> Self:
        n, columns = rows.shape
        rarity = rarity_of(np.bincount(rows.indices, minlength=columns), n, settings)
        length = float(rows.sum()) / max(n, 1)
        return cls(settings.weighting, rarity.astype(np.float32), length or 1.0)

    def weighted(self, rows: sparse.csr_array) -> sparse.csr_array:
        """``x · rarity``; BM25 (Robertson and Zaragoza 2009) also lets x saturate."""
        values = rows.data
        if self.weighting == "bm25":
            lengths = np.asarray(rows.sum(axis=1)).ravel() / self.length
            norm = (K1 * (1 - B + B * lengths)).astype(np.float32)
            values = values * (K1 + 1) / (values + np.repeat(norm, np.diff(rows.indptr)))
        values = values * self.rarity[rows.indices]
        weighted = sparse.csr_array((values, rows.indices, rows.indptr), shape=rows.shape)
        if not self.rarity.all():
            weighted = weighted.copy()  # the indices are still those of rows
            weighted.eliminate_zeros()
        return weighted


def rarity_of(having: NDArray[np.integer], n: int, settings: KNNSettings) -> NDArray[np.float64]:
    """How much it says to have a column in common that ``having`` of ``n`` rows have."""
    if settings.weighting == "tfidf":  # smooth, as scikit-learn has it
        rarity = np.log((n + 1) / (having + 1)) + 1
    elif settings.weighting == "bm25":  # never below 0, as Lucene has it
        rarity = np.log1p(np.maximum(n - having + 0.5, 0) / (having + 0.5))
    else:
        rarity = np.ones(len(having))
    # A handful of rows is no evidence that a column is common.
    rarity[having > max(settings.common_share * n, 10)] = 0
    return rarity


class ItemKNN(ItemToItem):
    """O(Σ_users history²) time, and k weights an item.

    Where only counts whether an item is liked, the cosine is ``C_ij / sqrt(C_ii C_jj)`` of counts
    ``C_ij = Σ_users rarity²`` over the users who like both: BM25's factor of an item cancels out.
    """

    name = "item_knn"
    settings: KNNSettings
    settings_class = ItemKNNSettings

    def _weights(self, rows: sparse.csr_array, progress: Progress) -> sparse.csr_array:
        items = rows.T.tocsr()
        weighted = Terms.of(items, self.settings).weighted(items)
        return _similar(weighted, self.settings, progress).T.tocsr()

    @property
    def countable(self) -> bool:
        return not self.settings.weighted

    @property
    def _made_by(self) -> Mapping[str, Any] | None:
        return made_by(self, self._matrix.shape[1])

    def entries(self, histories: Histories) -> int:
        return int(np.square(np.diff(histories.liked.indptr), dtype=np.int64).sum())

    def counts(self, histories: Histories, n_items: int) -> PairCounts:
        """C, and its diagonal apart. O(Σ_users history²)."""
        liked = signal(histories.liked, weighted=False).astype(np.float64)
        rarity = rarity_of(np.diff(liked.indptr), n_items, self.settings)
        by_user = sparse.diags_array(exact(rarity**2)) @ liked
        pairs = sparse.csr_array(liked.T @ by_user)
        lengths = pairs.diagonal()
        pairs.setdiag(0)
        return PairCounts.of(pairs, lengths)

    def related(
        self, counts: PairCounts, before: sparse.csr_array | None, changed: NDArray[np.integer]
    ) -> sparse.csr_array:
        """As ``Countable``: an item's length is in the rows of all that go with it, so all are made
        anew. O(entries of C)."""
        pairs, root = counts.pairs, np.sqrt(counts.of_items)
        shares = np.divide(1, root, out=np.zeros_like(root), where=root > 0)
        by_row = (pairs.data * np.repeat(shares, np.diff(pairs.indptr))).astype(np.float32)
        similar = sp_matmul_topn(
            sparse.csr_matrix((by_row, pairs.indices, pairs.indptr), shape=pairs.shape),
            sparse.csr_matrix(sparse.diags_array(shares), dtype=np.float32),
            top_n=self.settings.neighbours,
            n_threads=self.settings.threads,
        )
        return sparse.csr_array(similar.T.tocsr())


class UserKNN:
    """O(Σ_items users²) time, and k similarities a user.

    Who is new is compared with all users that were trained on. It is served as a score table, in
    which the fans of one item are at most ``most_fans``, drawn evenly.
    """

    name = "user_knn"

    def __init__(self, settings: KNNSettings | None = None) -> None:
        self.settings = settings or KNNSettings()

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        settings = self.settings
        for made in ("vectors", "table", "_terms", "_by_item"):
            self.__dict__.pop(made, None)
        self._rows = signal(dataset.matrix.liked, weighted=settings.weighted)
        self._bias = tie_break(dataset)
        weighted = self._terms.weighted(self._rows)
        self._similar = _similar(weighted, settings, progress or (lambda done, total: None))
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        return self._scored(self._similar[users])

    def fold_in(self, liked: sparse.csr_array) -> NDArray[np.float32]:
        if not liked.nnz:
            return np.tile(self._bias, (liked.shape[0], 1))
        rows = signal(liked, weighted=self.settings.weighted)
        near = sp_matmul_topn(
            sparse.csr_matrix(unit_rows(self._terms.weighted(rows))),
            self._by_item,
            top_n=self.settings.neighbours,
            n_threads=self.settings.threads,
        )
        return self._scored(sparse.csr_array(near))

    @cached_property
    def table(self) -> UserTable:
        fans = _at_most(sparse.csr_array(self._by_item), self.settings.most_fans)
        return UserTable(
            Ragged.of(fans),
            self._terms.rarity,
            self.settings.neighbours,
            weighted=self.settings.weighted,
        )

    @cached_property
    def vectors(self) -> Vectors | None:
        return served_by_table(self.name, self.table, Histories(self._rows), self._bias)

    def save(self, folder: Path) -> None:
        arrays = {"rows": self._rows, "bias": self._bias, "similar": self._similar}
        files.write(folder, self.name, self.settings.model_dump(), arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        settings, arrays = files.read(folder, cls.name)
        made = cls(KNNSettings(**settings))
        made._rows, made._bias, made._similar = (
            arrays[name] for name in ("rows", "bias", "similar")
        )
        return made

    @cached_property
    def _terms(self) -> Terms:
        return Terms.of(self._rows, self.settings)

    @cached_property
    def _by_item(self) -> sparse.csr_matrix:
        """All users' rows, weighted, of length 1, and transposed: what the new are held against."""
        return sparse.csr_matrix(unit_rows(self._terms.weighted(self._rows)).T)

    def _scored(self, similar: sparse.csr_array) -> NDArray[np.float32]:
        scores = (similar @ self._rows).toarray()
        scores += self._bias
        return scores


def _at_most(matrix: sparse.csr_array, count: int) -> sparse.csr_array:
    """At most so many entries of each row, drawn evenly."""
    lengths = np.diff(matrix.indptr)
    row = np.repeat(np.arange(matrix.shape[0]), lengths)
    rank = np.arange(matrix.nnz) - matrix.indptr[row]
    share = np.minimum(count / np.maximum(lengths, 1), 1)[row]
    kept = np.floor((rank + 1) * share) > np.floor(rank * share)
    indptr = np.concatenate(([0], np.cumsum(np.bincount(row[kept], minlength=len(lengths)))))
    return sparse.csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)


def _similar(
    weighted: sparse.csr_array, settings: KNNSettings, progress: Progress
) -> sparse.csr_array:
    """The similarities of each row to its nearest, float32 CSR, shape (rows, rows)."""
    rows, k = weighted.shape[0], settings.neighbours
    if not weighted.nnz:
        nothing = np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(rows + 1, np.int32)
        return sparse.csr_array(nothing, shape=(rows, rows))
    unit = sparse.csr_matrix(unit_rows(weighted))
    parts = strongest_products(
        unit, sparse.csr_matrix(unit.T), k + 1, threads=settings.threads, progress=progress
    )
    return sparse.vstack([_others(top, start, k) for start, top in parts], format="csr")


def _others(top: sparse.csr_matrix, start: int, k: int) -> sparse.csr_array:
    """The ``k + 1`` nearest of the rows from ``start`` on, without the row itself."""
    rows, counts = top.shape[0], np.diff(top.indptr)
    row = np.repeat(np.arange(start, start + rows, dtype=top.indices.dtype), counts)
    kept = top.indices != row
    # A row that is not among its own nearest has more than k twins: any of them may go.
    others = counts - np.bincount(row[~kept] - start, minlength=rows)
    kept[top.indptr[1:][others > k] - 1] = False
    indptr = np.concatenate(([0], np.cumsum(np.minimum(others, k))))
    return sparse.csr_array((top.data[kept], top.indices[kept], indptr), shape=top.shape)
