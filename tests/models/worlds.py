"""Frames, datasets and snapshots for the tests of the maths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from models.catalogue.building import PREFERENCES, Catalogue, ModelInfo, Vectors, build_snapshot
from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.snapshot import Snapshot
from models.catalogue.viewers.viewer import Viewer
from models.data.features import item_features, user_features
from models.data.ids import IdIndex
from models.data.interactions.matrices import recent_items
from models.data.similarities import top_neighbours
from models.evaluation.comparison import build_dataset
from models.feed.candidates.shortlists import Shortlists
from models.feed.candidates.sources import Indexes
from models.feed.pipeline import FeedPipeline, Query
from models.feed.ranking import Ranker, Ranking
from models.feed.reasons import Reason, reasons
from models.feed.scoring.scores import By, explained
from models.profile.schema import Profile, load_profile
from models.recommenders.base import Dataset
from storage.loading.log import Log

NOW = datetime(2026, 11, 1, tzinfo=UTC)
MOMENT = NOW.timestamp()
PROFILE = load_profile("marketplace")
TIME = pl.Datetime("us", "UTC")
USERS: dict[str, Any] = {
    "id": pl.String,
    "lat": pl.Float64,
    "lon": pl.Float64,
    "city": pl.String,
    "tags": pl.List(pl.String),
    "attributes": pl.String,
}
ITEMS: dict[str, Any] = {
    "id": pl.String,
    "owner_id": pl.String,
    "title": pl.String,
    "tags": pl.List(pl.String),
    "category": pl.String,
    "city": pl.String,
    "lat": pl.Float64,
    "lon": pl.Float64,
    "price_min": pl.Float64,
    "price_max": pl.Float64,
    "status": pl.String,
    "capacity": pl.Int32,
    "created_at": TIME,
    "publish_at": TIME,
    "starts_at": TIME,
    "attributes": pl.String,
}
OWNERS: dict[str, Any] = {
    "id": pl.String,
    "average_rating": pl.Float64,
    "completion_rate": pl.Float64,
    "finished_jobs": pl.Int64,
}
INTERACTIONS: dict[str, Any] = {
    "user_id": pl.String,
    "item_id": pl.String,
    "type": pl.String,
    "occurred_at": TIME,
}

Interaction = tuple[str | None, str | None, str | None, datetime]


def ago(**units: float) -> datetime:
    return NOW - timedelta(**units)


def interactions_frame(rows: Sequence[Interaction]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=INTERACTIONS, orient="row")


def catalogue_of(
    users: Sequence[dict],
    items: Sequence[dict],
    owners: Sequence[dict] = (),
    preferences: Sequence[dict] = (),
) -> Catalogue:
    """A catalogue of rows; items are published unless they say otherwise."""
    return Catalogue(
        pl.DataFrame(users, schema=USERS),
        pl.DataFrame([{"status": "published"} | item for item in items], schema=ITEMS),
        pl.DataFrame(owners, schema=OWNERS),
        preferences=pl.DataFrame(preferences, schema=PREFERENCES),
    )


def catalogue_of_log(log: Log) -> Catalogue:
    def frame(rows: pl.DataFrame | None, schema: dict) -> pl.DataFrame:
        assert rows is not None
        missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items()]
        return rows.with_columns(
            column for column in missing if column.meta.output_name() not in rows.columns
        ).select(pl.col(name).cast(kind) for name, kind in schema.items())

    return Catalogue(frame(log.users, USERS), frame(log.items, ITEMS), frame(log.owners, OWNERS))


def dataset_of(
    catalogue: Catalogue,
    interactions: pl.DataFrame,
    *,
    as_of: datetime = NOW,
    profile: Profile = PROFILE,
) -> Dataset:
    users, items = IdIndex.of(catalogue.users["id"]), IdIndex.of(catalogue.items["id"])
    return build_dataset(
        interactions.lazy(),
        catalogue,
        users,
        items,
        user_features(catalogue.users, users),
        item_features(catalogue.items, items),
        profile,
        as_of=as_of,
    )


def snapshot_of(
    dataset: Dataset,
    vectors: Vectors | None = None,
    *,
    recommender: str = "lightfm_hybrid",
    interactions: pl.DataFrame | None = None,
) -> Snapshot:
    """As the pipeline makes it; what users liked last is known only with ``interactions``."""
    matrix, profile = dataset.matrix, dataset.profile
    k, share = profile.similarity.neighbours, profile.matrix.common_item_share
    return build_snapshot(
        dataset.catalogue,
        matrix,
        profile,
        now=dataset.as_of,
        vectors=vectors,
        model=ModelInfo("7", recommender, dataset.as_of),
        user_neighbours=top_neighbours(matrix.liked, k, max_share=share),
        item_neighbours=top_neighbours(matrix.liked.T.tocsr(), k),
        recent=None
        if interactions is None
        else recent_items(
            interactions,
            matrix.users,
            matrix.items,
            profile.interaction_weights,
            types=profile.interaction_types,
        ),
    )


def random_vectors(dataset: Dataset, dims: int = 4, seed: int = 0) -> Vectors:
    rng = np.random.default_rng(seed)
    users, items = dataset.matrix.values.shape
    return Vectors(
        rng.normal(size=(users, dims)).astype(np.float32),
        rng.normal(size=(items, dims)).astype(np.float32),
        rng.normal(size=items).astype(np.float32),
    )


def patient(profile: Profile = PROFILE, **sections: dict[str, Any]) -> Profile:
    """The profile with some fields changed, and with time for every source of candidates: a
    busy machine must not change what is tested."""
    sections["candidates"] = {"time_budget_ms": 60_000.0} | sections.get("candidates", {})
    return profile.model_copy(
        update={
            name: getattr(profile, name).model_copy(update=fields)
            for name, fields in sections.items()
        }
    )


PLAIN = {
    "strength": 0.0,
    "owner_penalty": 0.0,
    "category_penalty": 0.0,
    "max_run_owner": None,
    "max_run_category": None,
}
"""Settings of diversity that leave the order to the scores."""


@dataclass(frozen=True)
class Shelf:
    """A catalogue with all that a ranking needs, at ``NOW``."""

    live: LiveCatalogue
    profile: Profile
    shortlists: Shortlists
    indexes: Indexes
    ranker: Ranker | None = None

    def viewer(self, user: str | Viewer | None) -> Viewer:
        return user if isinstance(user, Viewer) else self.live.viewer(user)

    def rank(
        self,
        user: str | Viewer | None,
        by: By = "heuristic",
        weights: dict[Any, float] | None = None,
        **more: Any,
    ) -> Ranking:
        profile = self.profile
        if weights is not None:
            profile = profile.model_copy(update={"scorer_weights": weights})
        timer = more.pop("timer", None)
        pipeline = FeedPipeline(
            self.live, profile, self.shortlists, self.indexes, ranker=self.ranker
        )
        return pipeline.rank(self.viewer(user), Query(MOMENT, by, **more), timer=timer)

    def ids(self, rows: np.ndarray) -> list[str]:
        return [self.live.item_id(row) for row in rows.tolist()]

    def feed(self, user: str | Viewer | None, by: By = "heuristic", **more: Any) -> list[str]:
        """The ids of the ranking, best first."""
        return self.ids(self.rank(user, by, **more).rows)

    def reasons(
        self, user: str | Viewer | None, rows: np.ndarray, by: By = "model"
    ) -> list[Reason]:
        viewer = self.viewer(user)
        components = explained(self.live, viewer, self.profile, rows, now=MOMENT, by=by)
        return reasons(self.live, viewer, self.profile, rows, components)


def shelf_of(
    world: Snapshot | LiveCatalogue,
    profile: Profile | None = None,
    ranker: Ranker | None = None,
) -> Shelf:
    live = world if isinstance(world, LiveCatalogue) else LiveCatalogue(world)
    profile = profile or patient()
    shortlists = Shortlists.of(live, profile, MOMENT, np.random.default_rng(0))
    return Shelf(live, profile, shortlists, Indexes.of(live, profile, now=MOMENT), ranker)


def shelf_of_rows(
    users: Sequence[dict],
    items: Sequence[dict],
    owners: Sequence[dict] = (),
    preferences: Sequence[dict] = (),
    interactions: Sequence[Interaction] = (),
    *,
    profile: Profile | None = None,
) -> Shelf:
    """Without a model: what the heuristic has to go by."""
    rows = interactions_frame(interactions)
    profile = profile or patient()
    dataset = dataset_of(catalogue_of(users, items, owners, preferences), rows, profile=profile)
    return shelf_of(snapshot_of(dataset, interactions=rows), profile)
