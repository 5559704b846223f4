"""The heuristic hybrid as a recommender: what the feed falls back to, judged like a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import build_snapshot
from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.snapshot import Snapshot, SnapshotError
from models.catalogue.viewers.viewer import Viewer
from models.data import scorers
from models.data.ragged import Ragged
from models.data.similarities import top_neighbours
from models.feed.scoring.scores import score_components
from models.profile.schema import Profile
from models.recommenders import files
from models.recommenders.base import Dataset, Progress


class Heuristic:
    """The weighted scorers of the profile, at the dataset's moment."""

    name = "heuristic"
    vectors = None

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
        live = self._catalogue
        return self._scored(live.viewer(live.users.ids[int(user)]) for user in users)

    def fold_in(self, liked: sparse.csr_array) -> NDArray[np.float32]:
        """Of the user only the items are known: no place, no chosen tags, no similar users."""
        rows = Ragged.of(liked)
        return self._scored(
            Viewer(seen=rows.row(user), liked=rows.row(user), liked_weights=rows.row_values(user))
            for user in range(rows.rows)
        )

    def save(self, folder: Path) -> None:
        self._catalogue.snapshot.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        try:
            snapshot = Snapshot.load(folder)
        except SnapshotError as error:
            raise files.RecommenderFileError(str(error)) from error
        made = cls()
        made._live = LiveCatalogue(snapshot)
        made._profile = Profile(**snapshot.manifest.profile)
        made._now = datetime.fromisoformat(snapshot.manifest.built_at).timestamp()
        return made

    @property
    def _catalogue(self) -> LiveCatalogue:
        assert self._live is not None, "fit comes first"
        return self._live

    def _scored(self, viewers: Iterable[Viewer]) -> NDArray[np.float32]:
        live, profile = self._catalogue, self._profile
        assert profile is not None
        rows = np.arange(live.size, dtype=np.int32)
        scores = [
            scorers.hybrid(
                score_components(live, viewer, profile, rows, now=self._now),
                profile.scorer_weights,
                len(rows),
            )
            for viewer in viewers
        ]
        return np.array(scores, np.float32).reshape(len(scores), len(rows))
