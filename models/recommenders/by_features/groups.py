"""Groups: what people of the same city, age or interests like, beyond what everybody likes."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.tables.kinds import GroupTable
from models.profile.recommender_settings import GroupsSettings
from models.recommenders.base import Dataset, Progress, signal
from models.recommenders.by_features.kinds import mean_rows
from models.recommenders.by_table import ByTable


class Groups(ByTable):
    """O(features * (items + liked pairs))."""

    name = "groups"
    settings: GroupsSettings
    settings_class = GroupsSettings

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """
        Raises:
            ValueError: nothing is known of any user.
        """
        tell = progress or (lambda done, total: None)
        settings, features = self.settings, dataset.user_features.values
        tell(1, 4)
        having = np.bincount(features.indices, minlength=features.shape[1])
        common = np.argsort(-having, kind="stable")[: settings.features]
        common = np.sort(common[having[common] >= settings.least_users])
        if not len(common):
            raise ValueError("users tell too little: no feature is shared by enough of them")
        members = mean_rows(sparse.csr_array(features[:, common]))
        tell(2, 4)
        liked = signal(dataset.matrix.liked, weighted=False)
        held = np.asarray((members.T @ liked).toarray())
        tell(3, 4)
        share = held.sum(axis=0) / max(float(held.sum()), 1e-9)
        smoothing = settings.smoothing
        mixed = (held + smoothing * share) / (held.sum(axis=1, keepdims=True) + smoothing)
        lifts = np.log((mixed + 1e-6) / (share + 1e-6)).astype(np.float32)
        self.histories = dataset.histories
        self.table = GroupTable(np.asarray(members.toarray()), np.ascontiguousarray(lifts.T))
        tell(4, 4)
        return self

    def fold_in(self, liked: sparse.csr_array) -> NDArray[np.float32]:
        """Nothing: what is liked does not tell who likes it."""
        return np.zeros(liked.shape, np.float32)
