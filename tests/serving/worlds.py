"""Small random snapshots for the tests of serving."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from scipy import sparse

from models.ids import IdIndex
from models.profile import load_profile
from models.ragged import Ragged
from models.snapshot import Items, Manifest, Snapshot, Users

PROFILE = load_profile("marketplace")
TAGS = sorted(["art", "books", "café", "games", "music", "sport"])
CITIES = ["Lisbon", "Oslo"]


def make_snapshot(
    version: str | None = "1",
    *,
    users: int = 30,
    items: int = 60,
    dims: int = 8,
    seed: int = 0,
    trained_at: datetime | None = None,
) -> Snapshot:
    """A snapshot of users ``u0000``… and items ``i0000``…; every version ranks differently."""
    rng = np.random.default_rng([seed, *(version or "").encode()])
    now = datetime.now(UTC)
    if version is None:
        dims = 0

    def floats(*shape: int) -> np.ndarray:
        return rng.random(shape, dtype=np.float32)

    def ragged(rows: int, columns: int, per_row: int) -> Ragged:
        indices = rng.integers(0, columns, rows * per_row)
        rows_of = np.repeat(np.arange(rows), per_row)
        matrix = sparse.csr_array((np.ones(len(indices)), (rows_of, indices)), (rows, columns))
        matrix.sum_duplicates()
        return Ragged.of(matrix)

    def neighbours(rows: int, k: int) -> np.ndarray:
        return rng.integers(0, rows, (rows, k)).astype(np.int32)

    ages = rng.random(items) * 30 * 86_400
    unset = np.full(items, np.nan)
    return Snapshot(
        Manifest(
            model_version=version,
            recommender="lightfm" if version else None,
            trained_at=(trained_at or now - timedelta(hours=1)).isoformat() if version else None,
            built_at=now.isoformat(),
            profile={},
            tags=TAGS,
            categories=["thing"],
            cities=CITIES,
        ),
        Items(
            ids=IdIndex.of([f"i{n:04}" for n in range(items)]),
            vectors=floats(items, dims) - np.float32(0.5),
            bias=floats(items) * np.float32(0.1),
            published=np.arange(items) % 10 != 9,
            created_at=now.timestamp() - ages,
            publish_at=unset,
            starts_at=unset,
            lat=(38.7 + floats(items)).astype(np.float32),
            lon=(-9.1 + floats(items)).astype(np.float32),
            price_min=unset.astype(np.float32),
            price_max=unset.astype(np.float32),
            capacity=np.full(items, -1, np.int32),
            applied=np.zeros(items, np.int32),
            owner=np.arange(items, dtype=np.int32) % 5,
            owner_quality=floats(items),
            category=np.zeros(items, np.int32),
            city=rng.integers(-1, len(CITIES), items).astype(np.int32),
            engagement=floats(items),
            trending=np.where(rng.random(items) < 0.3, floats(items), 0).astype(np.float32),
            tags=ragged(items, len(TAGS), 2),
            neighbours=neighbours(items, 5),
            neighbour_scores=floats(items, 5),
        ),
        Users(
            ids=IdIndex.of([f"u{n:04}" for n in range(users)]),
            vectors=floats(users, dims) - np.float32(0.5),
            lat=(38.7 + floats(users)).astype(np.float32),
            lon=(-9.1 + floats(users)).astype(np.float32),
            city=np.zeros(users, np.int32),
            owner=np.where(np.arange(users) < 5, np.arange(users), -1).astype(np.int32),
            tags=ragged(users, len(TAGS), 2),
            seen=ragged(users, items, 8),
            liked=ragged(users, items, 4),
            applied=ragged(users, items, 2),
            neighbours=neighbours(users, 10),
            neighbour_scores=floats(users, 10),
        ),
        IdIndex.of([f"o{n}" for n in range(5)]),
    )


def with_bad_vectors(snapshot: Snapshot) -> Snapshot:
    """The same, but its model gives no numbers (``Snapshot.check`` would refuse it)."""
    vectors = np.full_like(snapshot.items.vectors, np.nan)
    return replace(snapshot, items=replace(snapshot.items, vectors=vectors))
