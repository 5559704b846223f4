"""Frames become columns in one order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from models.catalogue import building as catalogues
from models.catalogue.building import Catalogue, build_snapshot
from models.catalogue.snapshots.padding import MOST_TAGS, extended, with_tag_slots
from models.catalogue.snapshots.snapshot import Snapshot
from models.data.ids import IdIndex
from models.data.interactions.matrices import interaction_matrix
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
    assert items.tags[:2].tolist() == [[-1] * 8, [0, 1] + [-1] * 6]
    assert [manifest.cities[city] for city in (items.city[1], users.city[1])] == ["Bergen", "Oslo"]
    assert items.city[0] == users.city[0] == items.category[1] == items.owner[0] == -1
    assert made.owners[int(items.owner[1])] == "a"
    assert users.owner.tolist() == [items.owner[1], -1]
    assert items.owner_quality[:2].tolist() == pytest.approx([np.nan, 1], nan_ok=True)
    assert items.capacity[:2].tolist() == [-1, 3]
    assert items.applied[:2].tolist() == [0, 2]
    assert items.created_at[:2].tolist() == pytest.approx([NOW.timestamp(), np.nan], nan_ok=True)
    assert users.lat.tolist() == pytest.approx([np.nan, 59.9], nan_ok=True)
    assert not made.has_model
    assert manifest.profile == PROFILE.model_dump(mode="json")


def test_the_last_of_duplicate_ids_counts() -> None:
    once = catalogue_of(USERS, ITEMS, [{"id": "a", "average_rating": 5.0}])
    twice = Catalogue(
        pl.concat([once.users.with_columns(city=pl.lit("Rome")), once.users]),
        pl.concat([once.items.with_columns(capacity=pl.lit(1, pl.Int32)), once.items]),
        pl.concat([once.owners.with_columns(average_rating=0.0), once.owners]),
    )
    made = built(twice)
    assert made.items.capacity[:2].tolist() == [-1, 3]
    assert made.items.owner_quality[1] == 1
    assert made.manifest.cities == ["Bergen", "Oslo"]


def test_ids_without_a_row_are_nothing() -> None:
    made = built(catalogue_of(USERS, ITEMS), users=["a", "ghost"])
    assert np.isnan(made.users.lat).all()
    assert made.users.tags.row(1).tolist() == []


def test_counts_of_items() -> None:
    base = catalogue_of(USERS, ITEMS)
    counts = pl.DataFrame(
        {
            "item_id": ["2", "ghost"],
            "weighted": [7.0, 100.0],
            "impressions": [50, 1],
            "clicks": [5, 1],
        }
    )
    trending = pl.DataFrame({"item_id": ["1"], "score": [0.5]})
    made = built(Catalogue(base.users, base.items, base.owners, counts, trending))
    assert made.items.engagement[:2].tolist() == [0, 1]
    assert made.items.trending[:2].tolist() == [0.5, 0]
    assert made.items.impressions[:2].tolist() == [0, 50]
    assert made.items.clicks[:2].tolist() == [0, 5]
    assert made.popular.tolist() == [1, 0]


def test_preferences_and_titles() -> None:
    preferences = {
        "user_id": "a",
        "max_distance_km": 9.0,
        "preferred_price_max": 5.0,
        "preferred_tags": ["x", "wanted"],
        "blocked_tags": ["unwanted"],
        "blocked_owners": ["nobody"],
        "personalization_enabled": False,
    }
    titled = [ITEMS[0] | {"title": "Two 😀"}, ITEMS[1]]
    made = built(catalogue_of(USERS, titled, preferences=[preferences]))
    users, tags = made.users, made.manifest.tags
    assert made.items.titles.to_list() == ["", "Two 😀"]
    assert tags == ["unwanted", "wanted", "x", "y"]
    assert [tags[tag] for tag in users.preferred_tags.row(0)] == ["wanted", "x"]
    assert [tags[tag] for tag in users.blocked_tags.row(0)] == ["unwanted"]
    assert [made.owners[int(owner)] for owner in users.blocked_owners.row(0)] == ["nobody"]
    assert users.max_distance_km.tolist() == pytest.approx([9, np.nan], nan_ok=True)
    assert users.price_max.tolist() == pytest.approx([5, np.nan], nan_ok=True)
    assert np.isnan(users.price_min).all()
    assert users.personalized.tolist() == [False, True]
    assert users.blocked_tags.row(1).tolist() == []


def test_the_most_popular_items_of_each_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogues, "ITEMS_OF_TAG", 2)
    items = [{"id": str(n), "tags": ["x", "y"][: 1 + n % 2]} for n in range(4)]
    base = catalogue_of(USERS, items)
    counts = pl.DataFrame({"item_id": ["3", "2", "1"], "weighted": [9.0, 5.0, 1.0]}).with_columns(
        impressions=0, clicks=0
    )
    made = built(replace(base, engagement=counts))
    assert made.popular.tolist() == [3, 2, 1, 0]
    assert made.tag_items.row(0).tolist() == [3, 2]
    assert made.tag_items.row(1).tolist() == [3, 1]


def test_an_item_with_more_tags_than_rules_can_know_is_not_shown() -> None:
    many = [f"{n:02}" for n in range(MOST_TAGS + 1)]
    made = built(catalogue_of([], [{"id": "1", "tags": many}, {"id": "2", "tags": many[1:]}]))
    assert made.items.tags.shape[1] == MOST_TAGS
    assert made.items.published[:2].tolist() == [False, True]


def test_more_rows_and_wider_tags_change_nothing_else() -> None:
    items = built(catalogue_of(USERS, ITEMS)).items
    larger = with_tag_slots(extended(items, 5), 11)
    assert larger.rows == items.rows + 5
    assert larger.tags.shape == (items.rows + 5, 11)
    assert larger.tags[: items.rows, :8].tolist() == items.tags.tolist()
    assert (larger.tags[:, 8:] == -1).all()
    assert (larger.owner[items.rows :] == -1).all()
    assert larger.capacity[: items.rows].tolist() == items.capacity.tolist()
