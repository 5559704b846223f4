"""The heuristic hybrid as a recommender: what the feed falls back to, judged like a model."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.catalogue import build_snapshot
from models.profile import Profile
from models.ranker import heuristic_scores, viewer_of
from models.recommenders.base import Dataset, Progress
from models.snapshot import Snapshot


class Heuristic:
    """The weighted scorers of the profile, at the dataset's moment."""

    name = "heuristic"

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._profile: Profile | None = None
        self._now = 0.0

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        self._profile = dataset.profile
        self._now = dataset.as_of.timestamp()
        self._snapshot = build_snapshot(
            dataset.catalogue,
            dataset.matrix,
            dataset.profile,
            now=dataset.as_of,
            user_neighbours=dataset.user_neighbours,
        )
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        assert self._snapshot is not None and self._profile is not None, "fit comes first"
        candidates = np.arange(len(self._snapshot.items.ids), dtype=np.int32)
        return np.stack(
            [
                heuristic_scores(
                    self._snapshot,
                    viewer_of(self._snapshot, self._snapshot.users.ids[int(user)]),
                    self._profile,
                    candidates,
                    now=self._now,
                )
                for user in users
            ]
        )
