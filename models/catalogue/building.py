"""Build a snapshot from frames: columns of items and users, with or without a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.snapshots.padding import MOST_TAGS, TAG_SLOTS, extended
from models.catalogue.snapshots.snapshot import Items, Manifest, Snapshot, Users
from models.catalogue.tables.scores import ScoreTable
from models.catalogue.tables.stored import Blend, table_settings
from models.data import scorers
from models.data.ids import IdIndex
from models.data.interactions.matrices import InteractionMatrix
from models.data.ragged import Ragged
from models.data.similarities import Neighbours
from models.data.texts import Texts
from models.profile.schema import Profile

ITEMS_OF_TAG = 500
ROOM = 1_024
ROOM_SHARE = 0.05
"""Empty rows for items that are made after the snapshot: that many, or that share if more."""


ENGAGEMENT = {
    "item_id": pl.String,
    "weighted": pl.Float64,
    "impressions": pl.Int64,
    "clicks": pl.Int64,
}
TRENDING = {"item_id": pl.String, "score": pl.Float64}
PREFERENCES: dict[str, Any] = {
    "user_id": pl.String,
    "max_distance_km": pl.Float64,
    "preferred_price_min": pl.Float64,
    "preferred_price_max": pl.Float64,
    "preferred_tags": pl.List(pl.String),
    "blocked_tags": pl.List(pl.String),
    "blocked_owners": pl.List(pl.String),
    "personalization_enabled": pl.Boolean,
}


class NotFiniteError(ValueError):
    """Vectors or scores that nobody can be served by."""


@dataclass(frozen=True)
class Vectors:
    """What a recommender that factorises gives: score = user · item + item bias.

    Attributes:
        users: float32, shape (users, dims). ``dims`` may be 0: the bias alone ranks.
        items: float32, shape (items, dims).
        bias: float32, shape (items,).
        fold: float32, shape (items, dims): what each item that a user likes adds to the user's
            vector, for models that are linear in the user's row, ``user = row · fold``, or
            nearly so. None: ``models.catalogue.fold_in`` finds a step by ridge regression.
        weighted: the row holds how much each item is liked, as ``InteractionMatrix.liked``;
            False: 1 for each.
        tables: score tables beside the vectors, by name; with any, ``blend`` weighs them, and
            the vectors, and is what ranks.

    Raises:
        NotFiniteError: a number is NaN or infinite, or the scores could be.
    """

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    bias: NDArray[np.float32]
    fold: NDArray[np.float32] | None = None
    weighted: bool = False
    tables: Mapping[str, ScoreTable] = field(default_factory=dict)
    blend: Blend = field(default_factory=Blend)

    def __post_init__(self) -> None:
        largest = {name: _largest(name, value) for name, value in self.arrays().items()}
        of_users = max(largest["users"], largest.get("fold", 0.0))
        score = self.items.shape[1] * of_users * largest["items"] + largest["bias"]
        if score > float(np.finfo(np.float32).max):
            raise NotFiniteError(f"the vectors are so long that scores overflow: up to {score:.1e}")

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Those that it has, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}


@dataclass(frozen=True)
class ModelInfo:
    """Which model version a snapshot is of."""

    version: str
    recommender: str
    trained_at: datetime
    features: str | None = None  # digest of what it was trained on
    train_seconds: float | None = None


@dataclass(frozen=True)
class Catalogue:
    """The product's users, items and owners, and what is counted of items.

    Attributes:
        users: id, lat, lon, city, tags.
        items: id, owner_id, tags, category, city, lat, lon, price_min, price_max, status,
            capacity, created_at, publish_at, starts_at.
            Optional: title.
        owners: id, average_rating, completion_rate, finished_jobs.
        engagement: item_id, weighted (sum of the engagement weights of all time),
            impressions, clicks (counts).
        trending: item_id, score in [0, 1].
        preferences: user_id, max_distance_km, preferred_price_min, preferred_price_max,
            preferred_tags, blocked_tags, blocked_owners, personalization_enabled.
        position: of the change log, before any of it was read; None: unknown.
    """

    users: pl.DataFrame
    items: pl.DataFrame
    owners: pl.DataFrame
    engagement: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ENGAGEMENT))
    trending: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TRENDING))
    preferences: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=PREFERENCES))
    position: str | None = None


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
    recent: tuple[NDArray[np.int32], NDArray[np.int8]] | None = None,
) -> Snapshot:
    """Lay everything out in the order of ``matrix.users`` and ``matrix.items``.

    O(users + items + interactions). Without ``vectors`` and ``model`` the result is the
    catalogue that the heuristic serves from.

    Args:
        recent: the items that each user liked last, as ``recent_items`` makes them.
    """
    n_users, n_items = len(matrix.users), len(matrix.items)
    preferences = _aligned(catalogue.preferences.rename({"user_id": "id"}), matrix.users)
    owner_ids = IdIndex.of(
        pl.concat(
            [
                catalogue.owners["id"],
                catalogue.items["owner_id"].drop_nulls(),
                _flat(preferences["blocked_owners"]),
            ]
        )
    )
    users = _aligned(catalogue.users, matrix.users)
    items = _aligned(catalogue.items, matrix.items)
    tags = IdIndex.of(
        pl.concat(
            [
                _flat(frame[name])
                for frame, name in (
                    (users, "tags"),
                    (items, "tags"),
                    (preferences, "preferred_tags"),
                    (preferences, "blocked_tags"),
                )
            ]
        )
    )
    cities = IdIndex.of(pl.concat([users["city"], items["city"]]))
    categories = IdIndex.of(items["category"])
    if vectors is None:
        vectors = Vectors(
            np.zeros((n_users, 0), np.float32),
            np.zeros((n_items, 0), np.float32),
            np.zeros(n_items, np.float32),
        )
    applied = matrix.applied
    counted = catalogue.engagement
    prices = _number(items["price_min"]), _number(items["price_max"])
    tagged = _listed(items["tags"], tags)
    neighbours = _neighbours(item_neighbours, n_items)
    item_columns = Items(
        ids=matrix.items,
        titles=Texts.in_order(
            items["title"] if "title" in items.columns else pl.Series([""] * n_items)
        ),
        vectors=vectors.items,
        bias=vectors.bias,
        fold=np.zeros((n_items, 0), np.float32) if vectors.fold is None else vectors.fold,
        published=(items["status"] == "published").fill_null(False).to_numpy()
        & (np.diff(tagged.indptr) <= MOST_TAGS),
        created_at=_epoch(items["created_at"]),
        publish_at=_epoch(items["publish_at"]),
        starts_at=_epoch(items["starts_at"]),
        lat=_number(items["lat"]),
        lon=_number(items["lon"]),
        price_min=prices[0],
        price_max=prices[1],
        price_band=scorers.price_band(*prices),
        capacity=items["capacity"].cast(pl.Int32).fill_null(-1).to_numpy(),
        applied=np.bincount(applied.indices, minlength=n_items).astype(np.int32),
        impressions=_counted(counted, "impressions", matrix.items).astype(np.int32),
        clicks=_counted(counted, "clicks", matrix.items).astype(np.int32),
        owner=owner_ids.indices(items["owner_id"]),
        owner_quality=_owner_quality(catalogue.owners, items["owner_id"]),
        category=categories.indices(items["category"]),
        city=cities.indices(items["city"]),
        engagement=scorers.engagement(_counted(counted, "weighted", matrix.items)),
        trending=_counted(catalogue.trending, "score", matrix.items).astype(np.float32),
        tags=_padded(tagged),
        **neighbours,
    )
    popular = np.argsort(-_prior(item_columns), kind="stable").astype(np.int32)
    with_room = extended(item_columns, max(ROOM, int(n_items * ROOM_SHARE)))
    recent_items, recent_types = recent or (
        np.zeros((n_users, 0), np.int32),
        np.zeros((n_users, 0), np.int8),
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
        recent=recent_items,
        recent_types=recent_types,
        max_distance_km=_number(preferences["max_distance_km"]),
        price_min=_number(preferences["preferred_price_min"]),
        price_max=_number(preferences["preferred_price_max"]),
        personalized=preferences["personalization_enabled"].fill_null(True).to_numpy(),
        preferred_tags=_listed(preferences["preferred_tags"], tags),
        blocked_tags=_listed(preferences["blocked_tags"], tags),
        blocked_owners=_listed(preferences["blocked_owners"], owner_ids),
        **_neighbours(user_neighbours, n_users),
    )
    manifest = Manifest(
        model_version=model.version if model else None,
        recommender=model.recommender if model else None,
        trained_at=model.trained_at.isoformat() if model else None,
        built_at=now.isoformat(),
        profile=profile.model_dump(mode="json"),
        tags=tags.to_list(),
        categories=categories.to_list(),
        cities=cities.to_list(),
        catalogue_position=catalogue.position,
        features=model.features if model else None,
        train_seconds=model.train_seconds if model else None,
        interaction_types=list(profile.interaction_types.names),
        fold_weighted=vectors.weighted,
        tables={name: table_settings(table) for name, table in vectors.tables.items()},
        blend=asdict(vectors.blend),
    )
    return Snapshot(
        manifest,
        with_room,
        user_columns,
        owner_ids,
        _owner_quality(catalogue.owners, owner_ids.to_series()),
        popular,
        _items_of_tags(tagged, popular, len(tags)),
        tables=vectors.tables,
    )


def _largest(name: str, values: NDArray[np.floating]) -> float:
    """The largest absolute value; 0 of none. No copy: they may be a gigabyte."""
    largest = max(float(values.max(initial=0)), -float(values.min(initial=0)))
    if not np.isfinite(largest):
        raise NotFiniteError(f"{name}: some of the numbers are not finite")
    return largest


def _prior(items: Items) -> NDArray[np.float32]:
    """How popular each item is: the model's own prior, or engagement where there is none."""
    return items.bias if items.vectors.shape[1] or items.bias.any() else items.engagement


def _items_of_tags(tagged: Ragged, popular: NDArray[np.int32], n_tags: int) -> Ragged:
    """The ``ITEMS_OF_TAG`` most popular items of each tag, best first. O(n log n) in the tags."""
    rank = np.empty(len(popular), np.int64)
    rank[popular] = np.arange(len(popular))
    rows = tagged.row_of_entry()
    order = np.lexsort((rank[rows], tagged.indices))
    tag, row = tagged.indices[order], rows[order].astype(np.int32)
    kept = np.arange(len(tag)) - np.searchsorted(tag, tag) < ITEMS_OF_TAG
    tag, row = tag[kept], row[kept]
    indptr = np.searchsorted(tag, np.arange(n_tags + 1)).astype(np.int64)
    return Ragged(indptr, row, np.ones(len(row), np.float32))


def _padded(tagged: Ragged) -> NDArray[np.int32]:
    """Rows as a matrix, -1 where there are fewer; at most ``MOST_TAGS`` of each."""
    counts = np.diff(tagged.indptr)
    width = int(np.clip(counts.max(initial=0), TAG_SLOTS, MOST_TAGS))
    padded = np.full((tagged.rows, width), -1, np.int32)
    row = tagged.row_of_entry()
    slot = np.arange(len(row)) - tagged.indptr[row]
    kept = slot < width
    padded[row[kept], slot[kept]] = tagged.indices[kept]
    return padded


def _flat(lists: pl.Series) -> pl.Series:
    return lists.explode().drop_nulls().cast(pl.String)


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
