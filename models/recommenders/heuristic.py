"""The heuristic hybrid as a recommender: what the feed falls back to, judged like a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.catalogue import build_snapshot
from models.profile import Profile
from models.ranker import heuristic_scores, viewer_of
from models.recommenders.base import Dataset, Progress
from models.similarities import top_neighbours
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
        items = dataset.catalogue.items.with_columns(
            # When an item will be made is the future's knowledge.
            created_at=pl.when(pl.col("created_at") <= dataset.as_of).then("created_at")
        )
        self._now = dataset.as_of.timestamp()
        self._snapshot = build_snapshot(
            replace(dataset.catalogue, items=items),
            dataset.matrix,
            dataset.profile,
            now=dataset.as_of,
            user_neighbours=top_neighbours(
                dataset.matrix.liked,
                dataset.profile.similarity.neighbours,
                max_share=dataset.profile.matrix.common_item_share,
            ),
        )
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        snapshot, profile = self._snapshot, self._profile
        assert snapshot is not None, "fit comes first"
        assert profile is not None
        candidates = np.arange(len(snapshot.items.ids), dtype=np.int32)
        scores = np.empty((len(users), len(candidates)), np.float32)
        for place, user in enumerate(users):
            viewer = viewer_of(snapshot, snapshot.users.ids[int(user)])
            scores[place] = heuristic_scores(snapshot, viewer, profile, candidates, now=self._now)
        return scores
