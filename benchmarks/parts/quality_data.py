"""Ratings of films as datasets to learn from, and what was held out, by protocol."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import Catalogue
from models.data.features import Features, item_features, user_features
from models.data.ids import IdIndex
from models.data.matrices import InteractionMatrix
from models.evaluation.comparison import build_dataset
from models.profile.schema import Profile, load_profile
from models.recommenders.base import Dataset, Validation
from models.recommenders.judging import TestSet
from storage.loading.samples import movielens
from storage.loading.values.times import to_times

TIME = pl.Datetime("us", "UTC")
PROFILE = load_profile("marketplace")
Mask = NDArray[np.bool_]
WINDOW = 0.1


@dataclass(frozen=True)
class Ratings:
    """n ratings, in the order of the file.

    Attributes:
        rows, columns: of the user and the item of each, shape (n,).
        values: the ratings, float32, shape (n,).
        seconds: epoch seconds, shape (n,).
        frame: the same as interactions; every rating is a ``like``, as Microsoft's table has no
            filter of ratings.
    """

    users: IdIndex
    items: IdIndex
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float32]
    seconds: NDArray[np.float64]
    frame: pl.DataFrame
    catalogue: Catalogue
    user_features: Features
    item_features: Features
    profile: Profile

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """Of a folder of MovieLens; None: MovieLens 100K as the sample's wheel carries it. All
        films are published."""
        log = movielens.read(path or movielens.sample_path())
        raw = log.raw["interactions"]
        frame = raw.select(
            "user_id",
            "item_id",
            type=pl.lit("like"),
            occurred_at=to_times(raw["timestamp"], "epoch_s").cast(TIME),
        )
        rated = frame["item_id"].unique()
        items = pl.DataFrame({"id": rated}) if log.items is None else log.items
        items = items.filter(pl.col("id").is_in(rated.implode()))
        items = items.with_columns(status=pl.lit("published"))
        people = frame.select(id=pl.col("user_id").unique())
        if log.users is not None:
            people = people.join(log.users, on="id", how="left")
        users_index, items_index = IdIndex.of(people["id"]), IdIndex.of(items["id"])
        catalogue = Catalogue(_whole(people, _USERS), _whole(items, _ITEMS), _whole(None, _OWNERS))
        return cls(
            users_index,
            items_index,
            users_index.indices(frame["user_id"]).astype(np.int64),
            items_index.indices(frame["item_id"]).astype(np.int64),
            raw["rating"].cast(pl.Float32).to_numpy(),
            frame["occurred_at"].dt.epoch("us").to_numpy() / 1e6,
            frame,
            catalogue,
            user_features(catalogue.users, users_index),
            item_features(catalogue.items, items_index),
            PROFILE,
        )

    @property
    def times(self) -> sparse.csr_array:
        """Epoch seconds of every rating, those held out too: shape (users, items)."""
        return self._csr(np.ones(len(self.rows), bool), self.seconds)

    def dataset(self, kept: Mask, *, window: bool = False) -> Dataset:
        """What the ratings of a mask teach; the values are the ratings. With ``window`` the newest
        tenth is kept apart, for models that must see when to stop."""
        none = self._csr(np.zeros(len(self.rows), bool), self.values)
        matrix = InteractionMatrix(self.users, self.items, self._csr(kept, self.values), none)
        end = float(self.seconds[kept].max()) + 1
        # Where the split is not in time, what is popular now is no better a guess than of all time.
        profile = self.profile if window else _timeless(self.profile)
        early = kept & (self.seconds < np.quantile(self.seconds[kept], 1 - WINDOW))
        dataset = build_dataset(
            self.frame.filter(pl.Series(kept)).lazy(),
            self.catalogue,
            self.users,
            self.items,
            self.user_features,
            self.item_features,
            profile,
            as_of=datetime.fromtimestamp(end, UTC),
            matrix=matrix,
        )
        if not window:
            return dataset
        earlier, later = (self._csr(part, self.values).log1p() for part in (early, kept & ~early))
        return replace(dataset, validation=Validation(earlier, later))

    def test_set(self, train: Mask, test: Mask) -> TestSet:
        """Users in both parts, and all that they rated in the second."""
        seen = self._csr(train, np.ones(len(self.rows), np.float32))
        relevant = self._csr(test, np.ones(len(self.rows), np.float32))
        both = np.flatnonzero((np.diff(seen.indptr) > 0) & (np.diff(relevant.indptr) > 0))
        history = np.diff(seen.indptr)[both]
        segments = np.where(history < self.profile.evaluation.heavy_user, "warm", "heavy")
        return TestSet(both, relevant[both], seen[both], segments)

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.users), len(self.items)

    def _csr(self, kept: Mask, values: NDArray) -> sparse.csr_array:
        pairs = (self.rows[kept], self.columns[kept])
        return sparse.csr_array((values[kept], pairs), shape=self._shape)


_USERS = {
    "id": pl.String,
    "lat": pl.Float64,
    "lon": pl.Float64,
    "city": pl.String,
    "tags": pl.List(pl.String),
    "attributes": pl.String,
}
_ITEMS = {
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
_OWNERS = {
    "id": pl.String,
    "average_rating": pl.Float64,
    "completion_rate": pl.Float64,
    "finished_jobs": pl.Int64,
}


def _timeless(profile: Profile) -> Profile:
    popularity = profile.popularity.model_copy(update={"overall_share": 1.0})
    return profile.model_copy(update={"popularity": popularity})


def _whole(frame: pl.DataFrame | None, schema: dict) -> pl.DataFrame:
    """The frame with all columns of the schema, null where it has none."""
    if frame is None:
        return pl.DataFrame(schema=schema)
    missing = [
        pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in frame.columns
    ]
    return frame.with_columns(missing).select(
        pl.col(name).cast(kind) for name, kind in schema.items()
    )
