"""The heuristic hybrid as a recommender: what the feed falls back to, judged like a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models import scorers
from models.catalogue import build_snapshot
from models.live_catalogue import LiveCatalogue
from models.profile import Profile
from models.ranker import score_components
from models.recommenders.base import Dataset, Progress
from models.similarities import top_neighbours


class Heuristic:
    """The weighted scorers of the profile, at the dataset's moment."""

    name = "heuristic"

    def __init__(self) -> None:
        self._live: LiveCatalogue | None = None
        self._profile: Profile | None = None
        self._now = 0.0

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        self._profile = dataset.profile
        items = dataset.catalogue.items.with_columns(
            # When an item will be made is the future's knowledge.
            created_at=pl.when(pl.col("created_at") <= dataset.as_of).then("created_at")
        )
        self._now = dataset.as_of.timestamp()
        snapshot = build_snapshot(
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
        self._live = LiveCatalogue(snapshot)
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        live, profile = self._live, self._profile
        assert live is not None, "fit comes first"
        assert profile is not None
        rows = np.arange(live.size, dtype=np.int32)
        scores = np.empty((len(users), len(rows)), np.float32)
        for place, user in enumerate(users):
            viewer = live.viewer(live.users.ids[int(user)])
            components = score_components(live, viewer, profile, rows, now=self._now)
            scores[place] = scorers.hybrid(components, profile.scorer_weights, len(rows))
        return scores
