"""Content: items with similar descriptions.

Each item is a TF-IDF row of its features (tags, category, owner, city, attributes, price) and of
the words of its title (Salton and Buckley 1988, "Term-weighting approaches in automatic text
retrieval"); the cosine of two rows is how much liking one speaks for the other (Pazzani and Billsus
2007, "Content-based recommendation systems"). It knows items that nobody has touched.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import polars as pl
from scipy import sparse
from sparse_dot_topn import sp_matmul_topn

from models.data.ids import IdIndex
from models.data.similarities import unit_rows
from models.profile.recommender_settings import ContentSettings
from models.recommenders.base import Dataset, Progress
from models.recommenders.by_table import ByTable

COMMON = 0.5
"""A feature that a greater share of the items has says nothing."""


class Content(ByTable):
    """O(Σ_features items²) time, and k similarities an item."""

    name = "content"
    settings: ContentSettings
    settings_class = ContentSettings

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """
        Raises:
            ValueError: nothing is known of any item.
        """
        settings = self.settings
        tell = progress or (lambda done, total: None)
        described = sparse.csr_array(
            sparse.hstack(
                [dataset.item_features.values, _words(dataset.catalogue.items, dataset.items)],
                format="csr",
            )
        )
        tell(1, 4)
        unit = sparse.csr_matrix(unit_rows(_tfidf(described)))
        tell(2, 4)
        if not unit.nnz:
            raise ValueError("items have no tags, categories, titles or other features")
        related = sp_matmul_topn(
            unit,
            sparse.csr_matrix(unit.T),
            top_n=settings.neighbours + 1,
            n_threads=settings.threads,
        )
        tell(3, 4)
        related.setdiag(0)
        related.eliminate_zeros()
        self._keep(dataset.histories, sparse.csr_array(related))
        tell(4, 4)
        return self


def _words(items: pl.DataFrame, index: IdIndex) -> sparse.csr_array:
    """Words of the titles, ones, float32 CSR, shape (items, words)."""
    if "title" not in items.columns:
        return sparse.csr_array(np.zeros((len(index), 0), np.float32))
    long = (
        items.select("id", word=pl.col("title").str.to_lowercase().str.extract_all(r"\w+"))
        .explode("word")
        .drop_nulls()
        .unique()
    )
    words = long["word"].unique().sort()
    row, column = index.indices(long["id"]), IdIndex.of(words).indices(long["word"])
    indexed = row >= 0
    ones = np.ones(int(indexed.sum()), np.float32)
    return sparse.csr_array(
        (ones, (row[indexed], column[indexed])), shape=(len(index), max(len(words), 1))
    )


def _tfidf(rows: sparse.csr_array) -> sparse.csr_array:
    n = rows.shape[0]
    having = np.bincount(rows.indices, minlength=rows.shape[1])
    rarity = np.log((n + 1) / (having + 1))
    rarity[(having > COMMON * n) | (having < 2)] = 0  # what one item alone has links it to none
    ones = sparse.csr_array(
        (rarity[rows.indices].astype(np.float32), rows.indices, rows.indptr), shape=rows.shape
    )
    ones.eliminate_zeros()
    return ones
