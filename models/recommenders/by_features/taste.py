"""Taste: items described as what the user likes is, beyond what everybody likes."""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy import sparse

from models.catalogue.tables.kinds import TasteTable
from models.data.ragged import Ragged
from models.profile.recommender_settings import TasteSettings
from models.recommenders.base import Dataset, Progress, signal
from models.recommenders.by_features.kinds import mean_rows, of_kinds
from models.recommenders.by_table import ByTable


class Taste(ByTable):
    """O(features of the liked pairs)."""

    name = "taste"
    settings_class = TasteSettings

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """
        Raises:
            ValueError: nothing is known of any item.
        """
        tell = progress or (lambda done, total: None)
        kinds, parts = of_kinds(dataset.item_features)
        if not len(kinds):
            raise ValueError("items have no tags, categories or other features")
        tell(1, 4)
        described = sparse.csr_array(sparse.hstack([mean_rows(p) for p in parts], format="csr"))
        tell(2, 4)
        liked = signal(dataset.matrix.liked, weighted=False)
        used = np.bincount(liked.indices, minlength=liked.shape[1]).astype(np.float32)
        held = np.asarray(used @ described)
        tell(3, 4)
        shares = held / np.maximum(np.bincount(kinds, held)[kinds], 1e-9)
        self.histories = dataset.histories
        self.table = TasteTable(Ragged.of(described), shares.astype(np.float32), kinds)
        tell(4, 4)
        return self
