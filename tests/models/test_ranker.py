"""Eligibility, order and pages of a feed."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.profile import SCORERS
from models.ranker import By, Viewer, eligible, rank, top_places, unit_scores, viewer_of
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


@given(st.lists(st.integers(0, 4) | st.just(-np.inf), max_size=30), st.integers(0, 40))
def test_top_places_is_a_stable_sort(scores: list[float], count: int) -> None:
    array = np.array(scores, np.float32)
    expected = sorted(range(len(scores)), key=lambda place: -scores[place])[:count]
    assert top_places(array, count).tolist() == expected


@pytest.mark.parametrize("by", get_args(By))
@pytest.mark.parametrize("page", [1, 7, 100])
def test_pages_make_one_long_list(snapshot: Snapshot, by: By, page: int) -> None:
    viewer = viewer_of(snapshot, "u5")
    whole = rank(snapshot, viewer, PROFILE, now=MOMENT, by=by, limit=10_000, exclude_seen=True)
    assert len(whole.items) == whole.total == len(set(whole.items.tolist()))
    assert (np.diff(whole.scores) <= 0).all()
    assert ((whole.scores >= 0) & (whole.scores <= 1)).all()
    pages = [
        rank(
            snapshot,
            viewer,
            PROFILE,
            now=MOMENT,
            by=by,
            limit=page,
            offset=offset,
            exclude_seen=True,
        )
        for offset in range(0, min(whole.total, 20 * page) + page, page)
    ]
    items = np.concatenate([one.items for one in pages])
    scores = np.concatenate([one.scores for one in pages])
    assert items.tolist() == whole.items[: len(items)].tolist()
    assert scores == pytest.approx(whole.scores[: len(items)])
    assert {one.total for one in pages} == {whole.total}


def test_components_are_those_of_the_profile(snapshot: Snapshot) -> None:
    ranking = rank(
        snapshot, viewer_of(snapshot, "u5"), PROFILE, now=MOMENT, by="heuristic", limit=9
    )
    assert set(ranking.components) == set(SCORERS)
    assert {len(scores) for scores in ranking.components.values()} == {9}
    nobody = rank(snapshot, viewer_of(snapshot, None), PROFILE, now=MOMENT, by="heuristic", limit=9)
    for name in ("location", "tags", "collaborative", "content"):
        assert np.isnan(nobody.components[name]).all()


def test_the_model_knows_only_its_users(snapshot: Snapshot) -> None:
    with pytest.raises(ValueError, match="does not know"):
        rank(snapshot, viewer_of(snapshot, "?"), PROFILE, now=MOMENT, by="model", limit=5)
    broken = replace(snapshot, items=replace(snapshot.items, bias=snapshot.items.bias * np.nan))
    with pytest.raises(FloatingPointError, match="not finite"):
        rank(broken, viewer_of(broken, "u5"), PROFILE, now=MOMENT, by="model", limit=5)


def test_few_candidates_score_as_many(snapshot: Snapshot) -> None:
    """Below a quarter of the catalogue, vectors are gathered first."""
    viewer = viewer_of(snapshot, "u5")
    whole = rank(snapshot, viewer, PROFILE, now=MOMENT, by="model", limit=1_000)
    few = np.zeros(len(snapshot.items.ids), bool)
    few[whole.items[:40]] = True
    narrow = replace(
        snapshot, items=replace(snapshot.items, published=snapshot.items.published & few)
    )
    ranking = rank(narrow, viewer, PROFILE, now=MOMENT, by="model", limit=1_000)
    assert ranking.items.tolist() == whole.items[:40].tolist()


@pytest.fixture(scope="module")
def shelf() -> Snapshot:
    """One item for every rule."""
    catalogue = catalogue_of(
        [{"id": "anna", "tags": ["a"]}, {"id": "ben"}],
        [
            {"id": "fine", "created_at": ago(days=3)},
            {"id": "draft", "status": "draft"},
            {"id": "no status", "status": None},
            {"id": "later", "publish_at": ago(days=-1)},
            {"id": "since", "publish_at": ago(days=1)},
            {"id": "started", "starts_at": ago(days=1)},
            {"id": "starts", "starts_at": ago(days=-1)},
            {"id": "full", "capacity": 1},
            {"id": "free", "capacity": 2},
            {"id": "closed", "capacity": 0},
            {"id": "own", "owner_id": "anna"},
            {"id": "other", "owner_id": "ben"},
            {"id": "seen"},
            {"id": "disliked"},
        ],
        [{"id": "anna"}],
    )
    rows = interactions_frame(
        [
            ("ben", "full", "apply", ago(days=2)),
            ("ben", "free", "apply", ago(days=2)),
            ("anna", "seen", "view", ago(days=2)),
            ("anna", "disliked", "dismiss", ago(days=2)),
            ("anna", "since", "apply", ago(days=2)),
        ]
    )
    return snapshot_of(dataset_of(catalogue, rows))


def shown(snapshot: Snapshot, user: str | None, **more: bool) -> set[str]:
    allowed = eligible(snapshot, viewer_of(snapshot, user), PROFILE, now=MOMENT, **more)
    return {snapshot.items.ids[int(item)] for item in np.flatnonzero(allowed)}


def test_eligibility(shelf: Snapshot) -> None:
    anyone = {"fine", "since", "starts", "free", "own", "other", "seen", "disliked"}
    assert shown(shelf, None) == anyone
    assert shown(shelf, "anna") == anyone - {"own"}
    assert shown(shelf, "anna", exclude_applied=True) == anyone - {"own", "since"}
    assert shown(shelf, "anna", exclude_seen=True) == anyone - {"own", "since", "seen", "disliked"}
    rules = {"exclude_own": False, "exclude_started": False, "exclude_full": False}
    lax = PROFILE.model_copy(update={"eligibility": PROFILE.eligibility.model_copy(update=rules)})
    allowed = eligible(shelf, viewer_of(shelf, "anna"), lax, now=MOMENT)
    assert allowed.sum() == len(anyone | {"started", "full", "closed"})


def test_by_time_is_newest_first_and_undated_last(shelf: Snapshot) -> None:
    ranking = rank(shelf, viewer_of(shelf, None), PROFILE, now=MOMENT, by="time", limit=3)
    ids = [shelf.items.ids[int(item)] for item in ranking.items]
    assert ids[:2] == ["since", "fine"]
    assert ranking.scores[2] == 0


def test_what_is_given_goes_before_what_is_known(shelf: Snapshot) -> None:
    assert viewer_of(shelf, "anna").tags.tolist() == [0]
    assert viewer_of(shelf, "anna", tags=[]).tags.tolist() == []
    assert viewer_of(shelf, None, tags=["a", "no such tag"]).tags.tolist() == [0]
    assert viewer_of(shelf, "anna", lat=1, lon=2).lat == 1
    assert np.isnan(viewer_of(shelf, "anna", lat=1).lat)  # half a place is none
    assert viewer_of(shelf, "\ud800").user is None
    assert isinstance(viewer_of(shelf, None), Viewer)


@pytest.mark.parametrize("by", ["heuristic", "time"])
def test_no_room_on_the_page(shelf: Snapshot, by: By) -> None:
    ranking = rank(shelf, viewer_of(shelf, None), PROFILE, now=MOMENT, by=by, limit=0)
    assert len(ranking.items) == len(ranking.scores) == 0


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1))
def test_unit_scores_keep_the_order(scores: list[float]) -> None:
    array = np.sort(np.array(scores, np.float32))
    unit = unit_scores(array, float(array.mean()), float(array.std()))
    assert ((unit >= 0) & (unit <= 1)).all()
    assert (np.diff(unit) >= 0).all()


def test_a_catalogue_that_is_all_new_is_not_all_ties() -> None:
    """The boost of fresh items takes scores above 1; what is popular must still come first."""
    catalogue = catalogue_of(
        [{"id": "u"}],
        [{"id": name, "created_at": ago(hours=1)} for name in ("a", "b", "c")],
    )
    log = interactions_frame([("u", "c", "apply", ago(minutes=30))])
    snapshot = snapshot_of(dataset_of(catalogue, log))
    ranking = rank(
        snapshot, viewer_of(snapshot, None), PROFILE, now=NOW.timestamp(), by="heuristic", limit=3
    )
    assert snapshot.items.ids[int(ranking.items[0])] == "c"
    assert ranking.scores.max() <= 1
