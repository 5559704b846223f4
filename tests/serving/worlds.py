"""Small random snapshots for the tests of serving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import polars as pl
from scipy import sparse

from models.catalogue.building import Catalogue, ModelInfo, Vectors, build_snapshot
from models.catalogue.snapshots.snapshot import Snapshot
from models.catalogue.tables.kinds import ConstantTable, ItemTable
from models.catalogue.tables.scores import ScoreTable
from models.catalogue.tables.stored import Blend
from models.data.ids import IdIndex
from models.data.interactions.matrices import InteractionMatrix
from models.data.ragged import Ragged
from models.data.similarities import Neighbours
from models.profile.schema import load_profile
from models.ranking.calibration import Calibration
from models.ranking.features.event_features import FEATURES
from models.ranking.learned import LearnedRanker
from models.ranking.rankers.logistic import LogisticRanker

PROFILE = load_profile("marketplace")
TAGS = sorted(["art", "books", "café", "games", "music", "sport"])
CITIES = ["Lisbon", "Oslo"]
TAGS_FIRST = LearnedRanker(
    "logistic",
    FEATURES,
    LogisticRanker(FEATURES, np.array([-1.0, 3, 1, 0, 0, 0, 0.5, 0])),
    Calibration(1.0, -1.0),
)


@cache
def make_snapshot(
    version: str | None = "1",
    *,
    users: int = 30,
    items: int = 60,
    dims: int = 8,
    seed: int = 0,
    trained_at: datetime | None = None,
    recommender: str = "lightfm_hybrid",
    position: str | None = None,
    tables: Mapping[str, ScoreTable] | None = None,
    blend: Blend | None = None,
) -> Snapshot:
    """A snapshot of users ``u0000``… and items ``i0000``…; every version ranks differently.

    Users ``u0000`` to ``u0004`` own the items; every tenth item is not published.
    """
    rng = np.random.default_rng([seed, *(version or "").encode()])
    now = datetime.now(UTC)
    user_ids = [f"u{n:04}" for n in range(users)]
    item_ids = [f"i{n:04}" for n in range(items)]

    def some_tags(rows: int) -> list[list[str]]:
        return [sorted({TAGS[n] for n in rng.integers(0, len(TAGS), 2)}) for _ in range(rows)]

    def matrix(per_row: int) -> sparse.csr_array:
        columns = rng.integers(0, items, users * per_row)
        rows = np.repeat(np.arange(users), per_row)
        made = sparse.csr_array((np.ones(len(columns)), (rows, columns)), (users, items))
        made.sum_duplicates()
        return made.astype(np.float32)

    def neighbours(rows: int, k: int) -> Neighbours:
        return Neighbours(
            rng.integers(0, rows, (rows, k)).astype(np.int32),
            rng.random((rows, k), dtype=np.float32),
        )

    catalogue = Catalogue(
        users=pl.DataFrame(
            {
                "id": user_ids,
                "lat": 38.7 + rng.random(users),
                "lon": -9.1 + rng.random(users),
                "city": [CITIES[0]] * users,
                "tags": some_tags(users),
            }
        ),
        items=pl.DataFrame(
            {
                "id": item_ids,
                "owner_id": [f"u{n % 5:04}" for n in range(items)],
                "title": [f"Item {n}" for n in range(items)],
                "tags": some_tags(items),
                "category": ["thing"] * items,
                "city": [[*CITIES, None][n] for n in rng.integers(0, 3, items)],
                "lat": 38.7 + rng.random(items),
                "lon": -9.1 + rng.random(items),
                "price_min": [None] * items,
                "price_max": [None] * items,
                "status": ["draft" if n % 10 == 9 else "published" for n in range(items)],
                "capacity": [None] * items,
                "created_at": [now - timedelta(days=30 * float(x)) for x in rng.random(items)],
                "publish_at": pl.Series([None] * items, dtype=pl.Datetime("us", "UTC")),
                "starts_at": pl.Series([None] * items, dtype=pl.Datetime("us", "UTC")),
            }
        ),
        owners=pl.DataFrame(
            {
                "id": user_ids[:5],
                "average_rating": 5 * rng.random(len(user_ids[:5])),
                "completion_rate": rng.random(len(user_ids[:5])),
                "finished_jobs": rng.integers(0, 30, len(user_ids[:5])),
            }
        ),
        engagement=pl.DataFrame(
            {
                "item_id": item_ids,
                "weighted": 50 * rng.random(items),
                "impressions": rng.integers(0, 300, items),
                "clicks": rng.integers(0, 20, items),
            }
        ),
        trending=pl.DataFrame({"item_id": item_ids[::3], "score": rng.random(len(item_ids[::3]))}),
        position=position,
    )
    return build_snapshot(
        catalogue,
        InteractionMatrix(IdIndex.of(user_ids), IdIndex.of(item_ids), matrix(8), matrix(2)),
        PROFILE,
        now=now,
        vectors=Vectors(
            rng.random((users, dims), dtype=np.float32) - np.float32(0.5),
            rng.random((items, dims), dtype=np.float32) - np.float32(0.5),
            rng.random(items, dtype=np.float32) * np.float32(0.1),
            tables=tables or {},
            blend=blend or Blend(),
        )
        if version
        else None,
        model=ModelInfo(version, recommender, trained_at or now - timedelta(hours=1))
        if version
        else None,
        user_neighbours=neighbours(users, 10),
        item_neighbours=neighbours(items, 5),
        recent=(
            rng.integers(0, items, (users, 4)).astype(np.int32),
            np.full((users, 4), 5, np.int8),
        ),
    )


def with_ranker(version: str, ranker: LearnedRanker = TAGS_FIRST) -> Snapshot:
    return replace(make_snapshot(version), ranker=ranker.to_bytes())


def with_tables(version: str, items: int = 60) -> Snapshot:
    """Served by a blend of what is related and of what is popular."""
    rng = np.random.default_rng(1)
    related = sparse.csr_array(rng.random((items, items)) * (rng.random((items, items)) < 0.3))
    tables: dict[str, ScoreTable] = {
        "ease": ItemTable(Ragged.of(related)),
        "popularity": ConstantTable(rng.random(items, dtype=np.float32)),
    }
    blend = Blend({"ease": 2.0, "popularity": 1.0})
    new = make_snapshot.__wrapped__  # tables are no keys of a cache
    return new(version, items=items, recommender="blend", tables=tables, blend=blend)


def with_bad_vectors(snapshot: Snapshot) -> Snapshot:
    """The same, but its model gives no numbers (``Snapshot.check`` would refuse it)."""
    vectors = np.full_like(snapshot.items.vectors, np.nan)
    return replace(snapshot, items=replace(snapshot.items, vectors=vectors))
