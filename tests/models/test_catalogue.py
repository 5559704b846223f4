"""Frames become columns in one order."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from models.catalogue import Catalogue, build_snapshot
from models.ids import IdIndex
from models.matrices import interaction_matrix
from models.snapshot import Snapshot
from tests.models.worlds import NOW, PROFILE, Interaction, ago, catalogue_of, interactions_frame

USERS: list[dict] = [
    {"id": "b", "city": "Oslo", "tags": ["x"], "lat": 59.9, "lon": 10.7},
    {"id": "a"},
]
ITEMS: list[dict] = [
    {"id": "2", "tags": ["y", "x", "y"], "city": "Bergen", "owner_id": "a", "capacity": 3},
    {"id": "1", "category": "c", "created_at": NOW, "price_min": 5.0},
]
ROWS: list[Interaction] = [("a", "2", "apply", ago(days=1)), ("b", "2", "apply", ago(days=1))]


def built(catalogue: Catalogue, users: list[str] | None = None) -> Snapshot:
    user_ids = IdIndex.of(users if users is not None else catalogue.users["id"])
    matrix = interaction_matrix(
        interactions_frame(ROWS),
        user_ids,
        IdIndex.of(catalogue.items["id"]),
        PROFILE.interaction_weights,
    )
    made = build_snapshot(catalogue, matrix, PROFILE, now=NOW)
    made.check()
    return made


def test_columns_follow_the_ids() -> None:
    made = built(catalogue_of(USERS, ITEMS, [{"id": "a", "average_rating": 5.0}]))
    items, users, manifest = made.items, made.users, made.manifest
    assert items.ids.to_list() == ["1", "2"]
    assert users.ids.to_list() == ["a", "b"]
    assert manifest.tags == ["x", "y"]
    assert items.tags.row(1).tolist() == [0, 1]
    assert items.tags.row_values(1).tolist() == [1, 1]
    assert [manifest.cities[city] for city in (items.city[1], users.city[1])] == ["Bergen", "Oslo"]
    assert items.city[0] == users.city[0] == items.category[1] == items.owner[0] == -1
    assert made.owners[int(items.owner[1])] == "a"
    assert users.owner.tolist() == [items.owner[1], -1]
    assert items.owner_quality.tolist() == pytest.approx([np.nan, 1], nan_ok=True)
    assert items.capacity.tolist() == [-1, 3]
    assert items.applied.tolist() == [0, 2]
    assert items.created_at.tolist() == pytest.approx([NOW.timestamp(), np.nan], nan_ok=True)
    assert users.lat.tolist() == pytest.approx([np.nan, 59.9], nan_ok=True)
    assert not made.has_model
    assert manifest.profile == PROFILE.model_dump()


def test_the_last_of_duplicate_ids_counts() -> None:
    once = catalogue_of(USERS, ITEMS, [{"id": "a", "average_rating": 5.0}])
    twice = Catalogue(
        pl.concat([once.users.with_columns(city=pl.lit("Rome")), once.users]),
        pl.concat([once.items.with_columns(capacity=pl.lit(1, pl.Int32)), once.items]),
        pl.concat([once.owners.with_columns(average_rating=0.0), once.owners]),
    )
    made = built(twice)
    assert made.items.capacity.tolist() == [-1, 3]
    assert made.items.owner_quality[1] == 1
    assert made.manifest.cities == ["Bergen", "Oslo"]


def test_ids_without_a_row_are_nothing() -> None:
    made = built(catalogue_of(USERS, ITEMS), users=["a", "ghost"])
    assert np.isnan(made.users.lat).all()
    assert made.users.tags.row(1).tolist() == []


def test_counts_of_items() -> None:
    base = catalogue_of(USERS, ITEMS)
    counts = pl.DataFrame({"item_id": ["2", "ghost"], "weighted": [7.0, 100.0]})
    trending = pl.DataFrame({"item_id": ["1"], "score": [0.5]})
    made = built(Catalogue(base.users, base.items, base.owners, counts, trending))
    assert made.items.engagement.tolist() == [0, 1]
    assert made.items.trending.tolist() == [0.5, 0]
