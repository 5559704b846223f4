"""Frames, datasets and snapshots for the tests of the maths."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from models.catalogue import Catalogue, ModelInfo, Vectors, build_snapshot
from models.features import item_features, user_features
from models.ids import IdIndex
from models.profile import Profile, load_profile
from models.recommenders.base import Dataset
from models.similarities import top_neighbours
from models.snapshot import Snapshot
from models.training import build_dataset
from storage.log import Log

NOW = datetime(2026, 11, 1, tzinfo=UTC)
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
    users: Sequence[dict], items: Sequence[dict], owners: Sequence[dict] = ()
) -> Catalogue:
    """A catalogue of rows; items are published unless they say otherwise."""
    return Catalogue(
        pl.DataFrame(users, schema=USERS),
        pl.DataFrame([{"status": "published"} | item for item in items], schema=ITEMS),
        pl.DataFrame(owners, schema=OWNERS),
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
    dataset: Dataset, vectors: Vectors | None = None, *, recommender: str = "lightfm_hybrid"
) -> Snapshot:
    return build_snapshot(
        dataset.catalogue,
        dataset.matrix,
        dataset.profile,
        now=dataset.as_of,
        vectors=vectors,
        model=ModelInfo("7", recommender, dataset.as_of),
        user_neighbours=top_neighbours(
            dataset.matrix.liked, dataset.profile.similarity.neighbours, max_share=0.2
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
