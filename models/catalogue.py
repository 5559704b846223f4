"""Build a snapshot from frames: columns of items and users, with or without a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from models import scorers
from models.ids import IdIndex
from models.matrices import InteractionMatrix
from models.profile import Profile
from models.ragged import Ragged
from models.similarities import Neighbours
from models.snapshot import Items, Manifest, Snapshot, Users


@dataclass(frozen=True)
class Vectors:
    """What a recommender that factorises gives: score = user · item + item bias.

    Attributes:
        users: float32, shape (users, dims). ``dims`` may be 0: the bias alone ranks.
        items: float32, shape (items, dims).
        bias: float32, shape (items,).
    """

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True)
class ModelInfo:
    """Which model version a snapshot is of."""

    version: str
    recommender: str
    trained_at: datetime


@dataclass(frozen=True)
class Catalogue:
    """What the product told about users, items and owners, and what is counted of items.

    Attributes:
        users: id, lat, lon, city, tags.
        items: id, owner_id, tags, category, city, lat, lon, price_min, price_max, status,
            capacity, created_at, publish_at, starts_at.
        owners: id, average_rating, completion_rate, finished_jobs.
        engagement: item_id, weighted (sum of the engagement weights of all time).
        trending: item_id, score in [0, 1].
    """

    users: pl.DataFrame
    items: pl.DataFrame
    owners: pl.DataFrame
    engagement: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema={"item_id": pl.String, "weighted": pl.Float64})
    )
    trending: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema={"item_id": pl.String, "score": pl.Float64})
    )


def build_snapshot(
    catalogue: Catalogue,
    matrix: InteractionMatrix,
    profile: Profile,
    *,
    now: datetime,
    vectors: Vectors | None = None,
    model: ModelInfo | None = None,
    user_neighbours: Neighbours | None = None,
    item_neighbours: Neighbours | None = None,
) -> Snapshot:
    """Lay everything out in the order of ``matrix.users`` and ``matrix.items``.

    O(users + items + interactions). Without ``vectors`` and ``model`` the result is the
    catalogue that the heuristic serves from.
    """
    owner_ids = IdIndex.of(
        pl.concat([catalogue.owners["id"], catalogue.items["owner_id"].drop_nulls()])
    )
    users = _aligned(catalogue.users, matrix.users)
    items = _aligned(catalogue.items, matrix.items)
    tags = IdIndex.of(
        pl.concat([users["tags"].explode().drop_nulls(), items["tags"].explode().drop_nulls()])
    )
    cities = IdIndex.of(pl.concat([users["city"], items["city"]]))
    categories = IdIndex.of(items["category"])
    n_users, n_items = len(matrix.users), len(matrix.items)
    if vectors is None:
        vectors = Vectors(
            np.zeros((n_users, 0), np.float32),
            np.zeros((n_items, 0), np.float32),
            np.zeros(n_items, np.float32),
        )
    applied = matrix.applied
    item_columns = Items(
        ids=matrix.items,
        vectors=vectors.items,
        bias=vectors.bias,
        published=(items["status"] == "published").fill_null(False).to_numpy(),
        created_at=_epoch(items["created_at"]),
        publish_at=_epoch(items["publish_at"]),
        starts_at=_epoch(items["starts_at"]),
        lat=_number(items["lat"]),
        lon=_number(items["lon"]),
        price_min=_number(items["price_min"]),
        price_max=_number(items["price_max"]),
        capacity=items["capacity"].cast(pl.Int32).fill_null(-1).to_numpy(),
        applied=np.bincount(applied.indices, minlength=n_items).astype(np.int32),
        owner=owner_ids.indices(items["owner_id"]),
        owner_quality=_owner_quality(catalogue.owners, items["owner_id"]),
        category=categories.indices(items["category"]),
        city=cities.indices(items["city"]),
        engagement=scorers.engagement(_counted(catalogue.engagement, "weighted", matrix.items)),
        trending=_counted(catalogue.trending, "score", matrix.items).astype(np.float32),
        tags=_listed(items["tags"], tags),
        **_neighbours(item_neighbours, n_items),
    )
    user_columns = Users(
        ids=matrix.users,
        vectors=vectors.users,
        lat=_number(users["lat"]),
        lon=_number(users["lon"]),
        city=cities.indices(users["city"]),
        owner=owner_ids.indices(users["id"]),
        tags=_listed(users["tags"], tags),
        seen=Ragged.of(matrix.values),
        liked=Ragged.of(matrix.liked),
        applied=Ragged.of(applied),
        **_neighbours(user_neighbours, n_users),
    )
    manifest = Manifest(
        model_version=model.version if model else None,
        recommender=model.recommender if model else None,
        trained_at=model.trained_at.isoformat() if model else None,
        built_at=now.isoformat(),
        profile=profile.model_dump(),
        tags=tags.to_list(),
        categories=categories.to_list(),
        cities=cities.to_list(),
    )
    return Snapshot(manifest, item_columns, user_columns, owner_ids)


def _aligned(frame: pl.DataFrame, ids: IdIndex) -> pl.DataFrame:
    """One row an id, in the order of ``ids``: nulls if it has none, the last if it has many."""
    return pl.DataFrame({"id": ids.to_series()}).join(
        frame.unique("id", keep="last"), on="id", how="left", maintain_order="left"
    )


def _number(values: pl.Series) -> NDArray[np.float32]:
    return values.cast(pl.Float32).fill_null(float("nan")).to_numpy()


def _epoch(times: pl.Series) -> NDArray[np.float64]:
    seconds = times.cast(pl.Datetime("us", "UTC")).dt.timestamp("us").cast(pl.Float64) / 1e6
    return seconds.fill_null(float("nan")).to_numpy()


def _counted(counts: pl.DataFrame, column: str, ids: IdIndex) -> NDArray[np.float64]:
    result = np.zeros(len(ids))
    where = ids.indices(counts["item_id"])
    result[where[where >= 0]] = counts[column].cast(pl.Float64).to_numpy()[where >= 0]
    return result


def _listed(lists: pl.Series, vocabulary: IdIndex) -> Ragged:
    long = (
        pl.DataFrame({"row": np.arange(len(lists)), "value": lists})
        .explode("value")
        .drop_nulls()
        .unique()
    )
    columns = vocabulary.indices(long["value"])
    shape = (len(lists), max(len(vocabulary), 1))
    ones = np.ones(len(long), np.float32)
    return Ragged.of(sparse.csr_array((ones, (long["row"].to_numpy(), columns)), shape=shape))


def _owner_quality(owners: pl.DataFrame, owner_id: pl.Series) -> NDArray[np.float32]:
    joined = pl.DataFrame({"id": owner_id}).join(
        owners.unique("id", keep="last"), on="id", how="left", maintain_order="left"
    )
    return scorers.owner_quality(
        *(_number(joined[name]) for name in ("average_rating", "completion_rate", "finished_jobs"))
    )


def _neighbours(neighbours: Neighbours | None, rows: int) -> dict[str, NDArray]:
    indices, scores = neighbours or (np.zeros((rows, 0), np.int32), np.zeros((rows, 0), np.float32))
    return {"neighbours": indices, "neighbour_scores": scores}
