"""A reason claims only what is true."""

from __future__ import annotations

import numpy as np
import pytest

from models.ranker import By, Ranking, Viewer, rank, viewer_of
from models.reasons import ENGLISH, Reason, reasons
from models.scorers import haversine_km
from models.snapshot import Snapshot
from tests.models.worlds import (
    NOW,
    PROFILE,
    ago,
    catalogue_of,
    dataset_of,
    interactions_frame,
    snapshot_of,
)

MOMENT = NOW.timestamp()


def check(snapshot: Snapshot, viewer: Viewer, item: int, reason: Reason) -> None:
    items, manifest = snapshot.items, snapshot.manifest
    tags = {manifest.tags[tag] for tag in items.tags.row(item)}
    named = set(filter(None, reason.parameters.get("tags", "").split(", ")))
    if reason.code in ("near_city", "near"):
        distance = haversine_km(viewer.lat, viewer.lon, items.lat[[item]], items.lon[[item]])[0]
        assert distance <= PROFILE.scorers.max_distance_km + 0.01
    if reason.code == "near_city":
        assert reason.parameters["city"] == manifest.cities[items.city[item]]
    elif reason.code == "matches_tags":
        assert named
        assert named <= tags & {manifest.tags[tag] for tag in viewer.tags}
    elif reason.code == "because_you_liked":
        assert viewer.user is not None
        liked = snapshot.items.tags.gather(snapshot.users.liked.row(viewer.user))
        assert named
        assert named <= tags & {manifest.tags[tag] for tag in liked.indices}
    elif reason.code == "similar_users":
        assert viewer.user is not None
        alike = snapshot.users.neighbours[viewer.user]
        assert item in snapshot.users.liked.gather(alike[alike >= 0]).indices
    elif reason.code == "new":
        age_days = (MOMENT - items.created_at[item]) / 86_400
        assert age_days <= PROFILE.scorers.recency_half_life_days
    elif reason.code == "trusted_owner":
        assert items.owner_quality[item] >= 0.8
    elif reason.code == "popular":
        assert items.trending[item] >= 0.8
    elif reason.code == "well_liked":
        assert items.engagement[item] >= 0.5


@pytest.mark.parametrize("by", ["model", "heuristic"])
def test_reasons_of_whole_feeds_are_true(snapshot: Snapshot, by: By) -> None:
    codes = set()
    for user in range(0, 300, 13):
        viewer = viewer_of(snapshot, snapshot.users.ids[user])
        ranking = rank(snapshot, viewer, PROFILE, now=MOMENT, by=by, limit=1_000)
        for item, reason in zip(
            ranking.items.tolist(), reasons(snapshot, viewer, PROFILE, ranking), strict=True
        ):
            check(snapshot, viewer, item, reason)
            assert reason.text
            codes.add(reason.code)
    assert {"near_city", "matches_tags", "because_you_liked", "similar_users"} <= codes
    assert codes <= set(ENGLISH)


@pytest.fixture(scope="module")
def small() -> Snapshot:
    catalogue = catalogue_of(
        [{"id": "u", "lat": 0.0, "lon": 0.0}],
        [
            {"id": "far", "lat": 0.0, "lon": 1.0, "city": "Far", "created_at": ago(days=40)},
            {"id": "liked", "tags": ["a"]},
            {"id": "mixed", "tags": ["a", "b"]},
            {"id": "poor", "owner_id": "bad"},
            {"id": "bare"},
        ],
        [{"id": "bad", "average_rating": 1.0}],
    )
    return snapshot_of(
        dataset_of(catalogue, interactions_frame([("u", "liked", "apply", ago(days=1))]))
    )


def codes(snapshot: Snapshot, user: str | None) -> dict[str, Reason]:
    viewer = viewer_of(snapshot, user)
    ranking = rank(snapshot, viewer, PROFILE, now=MOMENT, by="heuristic", limit=99)
    said = reasons(snapshot, viewer, PROFILE, ranking)
    return {
        snapshot.items.ids[int(i)]: reason for i, reason in zip(ranking.items, said, strict=True)
    }


def test_weak_components_claim_nothing(small: Snapshot) -> None:
    said = codes(small, "u")
    assert said["far"].code == "for_you"  # 111 km away, and 40 days old
    assert said["poor"].code == "for_you"
    assert said["bare"].code == "for_you"


def test_only_liked_tags_are_named(small: Snapshot) -> None:
    assert codes(small, "u")["mixed"] == Reason("because_you_liked", {"tags": "a"})


def test_an_empty_page_has_no_reasons(small: Snapshot) -> None:
    nothing = Ranking(np.zeros(0, np.int32), np.zeros(0, np.float32), 0, {})
    assert reasons(small, viewer_of(small, None), PROFILE, nothing) == []
