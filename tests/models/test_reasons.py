"""A reason claims only what is true."""

from __future__ import annotations

from dataclasses import replace
from string import Formatter
from typing import Any, cast

import numpy as np
import pytest

from models.catalogue.live import LiveCatalogue
from models.catalogue.tables.kinds import ConstantTable
from models.catalogue.tables.stored import Blend
from models.catalogue.viewers.viewer import Viewer
from models.data.scorers import haversine_km
from models.feed.reasons import ENGLISH, SIMILAR, Reason, reasons, texts_of
from models.feed.scoring.scorers import SCORERS, Pairs, Scorer
from models.feed.scoring.scores import By, explained, table_shares
from models.profile.feed_sections import SCORERS as NAMES
from models.profile.interaction_types import DEFAULT_TYPES
from models.recommenders.base import Dataset
from tests.models.worlds import (
    MOMENT,
    PROFILE,
    Shelf,
    ago,
    patient,
    random_vectors,
    shelf_of_rows,
    snapshot_of,
)


def check(shelf: Shelf, viewer: Viewer, row: int, reason: Reason) -> None:
    live = shelf.live
    items, users = live.items, live.users
    tags = {live.tags[int(tag)] for tag in items.tags[row] if tag >= 0}
    named = set(filter(None, reason.parameters.get("tags", "").split(", ")))
    assert set(reason.parameters) >= {
        name for _, name, _, _ in Formatter().parse(texts_of(PROFILE)[reason.code]) if name
    }
    if reason.code in ("near_city", "near"):
        km = haversine_km(viewer.lat, viewer.lon, items.lat[[row]], items.lon[[row]])[0]
        assert km <= PROFILE.scorers.max_distance_km + 0.01
    if reason.code == "near_city":
        assert reason.parameters["city"] == live.cities[int(items.city[row])]
    elif reason.code == "matches_tags":
        assert named
        assert named <= tags & {live.tags[int(tag)] for tag in viewer.tags}
    elif reason.code == "because_you_liked_tags":
        liked = items.tags[viewer.liked]
        assert named
        assert named <= tags & {live.tags[int(tag)] for tag in liked[liked >= 0]}
    elif "item_id" in reason.parameters:
        own = live.find_item(reason.parameters["item_id"])
        assert own is not None
        assert own in viewer.recent
        done = live.types[int(viewer.recent_types[viewer.recent == own][0])]
        assert DEFAULT_TYPES.reason(done) == (reason.code, reason.english)
        cosine = items.neighbour_scores[own][items.neighbours[own] == row]
        assert cosine >= SIMILAR
        assert reason.parameters["title"] == live.title(own)
    elif reason.code in ("similar_users", "similar_users_applied"):
        alike = users.neighbours[viewer.row]
        alike = alike[alike >= 0]
        column = users.liked if reason.code == "similar_users" else users.applied
        assert row in column.gather(alike).indices
    elif reason.code == "new":
        age_days = (MOMENT - items.created_at[row]) / 86_400
        assert age_days <= PROFILE.scorers.recency_half_life_days
    elif reason.code == "trusted_owner":
        assert items.owner_quality[row] >= 0.8
        assert reason.parameters["owner"] == PROFILE.names.owner
    elif reason.code == "popular":
        assert items.trending[row] >= 0.8
    elif reason.code == "well_liked":
        assert items.engagement[row] >= 0.5


@pytest.mark.parametrize("by", ["model", "heuristic"])
def test_reasons_of_whole_feeds_are_true(shelf: Shelf, by: By) -> None:
    codes = set()
    for user_id in shelf.live.users.ids.to_list()[::9]:
        viewer = shelf.viewer(user_id)
        rows = shelf.rank(viewer, by).rows
        for row, reason in zip(rows.tolist(), shelf.reasons(viewer, rows), strict=True):
            check(shelf, viewer, row, reason)
            assert reason.text
            codes.add(reason.code)
    expected = {"near_city", "matches_tags", "because_you_liked_tags", "well_liked", "new"}
    assert expected | {"because_you_applied", "similar_users_applied"} <= codes
    assert codes <= set(texts_of(PROFILE))


@pytest.mark.parametrize("code", ENGLISH)
def test_every_text_is_filled_from_its_parameters(code: str) -> None:
    names = [name for _, name, _, _ in Formatter().parse(ENGLISH[code]) if name]
    text = Reason(code, {name: f"<{name}>" for name in names} | {"item_id": "7"}).text
    assert all(f"<{name}>" in text for name in names)


def only(*scorers: str) -> dict[str, float]:
    return dict.fromkeys(scorers, 1.0)


def told(shelf: Shelf, user: str | None, item_id: str, *scorers: str) -> Reason:
    """The reason when nothing but these scorers counts."""
    row = shelf.live.find_item(item_id)
    assert row is not None
    viewer = shelf.viewer(user)
    rows = np.array([row], np.int32)
    profile = shelf.profile.model_copy(update={"scorer_weights": only(*scorers)})
    components = explained(shelf.live, viewer, profile, rows, now=MOMENT)
    components.pop("model", None)
    return reasons(shelf.live, viewer, profile, rows, components)[0]


@pytest.fixture(scope="module")
def small() -> Shelf:
    """A situation for every reason."""
    return shelf_of_rows(
        [{"id": "anna", "lat": 0.0, "lon": 0.0, "tags": ["b", "z"]}]
        + [{"id": id} for id in ("ben", "carl", "dora")],
        [
            {"id": "saved", "title": "The Saved One", "tags": ["a"], "category": "art"},
            {"id": "saved too", "price_min": 5.0},
            {"id": "other"},
            {"id": "applied to"},
            {"id": "in town", "lat": 0.0, "lon": 0.1, "city": "Null"},
            {"id": "at sea", "lat": 0.0, "lon": 0.1},
            {"id": "far", "lat": 0.0, "lon": 1.0, "city": "Far", "created_at": ago(days=40)},
            {"id": "chosen", "tags": ["b", "c"]},
            {"id": "tagged", "tags": ["a", "c"]},
            {"id": "same category", "category": "art", "tags": ["c"]},
            {"id": "new", "created_at": ago(days=1)},
            {"id": "of good", "owner_id": "good"},
            {"id": "of bad", "owner_id": "bad"},
            {"id": "bare"},
        ],
        [
            {"id": "good", "average_rating": 5.0, "completion_rate": 1.0},
            {"id": "bad", "average_rating": 1.0},
        ],
        interactions=[
            ("anna", "saved", "view", ago(days=9)),
            ("anna", "saved", "save", ago(days=8)),
            ("ben", "saved", "like", ago(days=7)),
            ("carl", "saved", "like", ago(days=7)),
            ("ben", "saved too", "view", ago(days=7)),
            ("carl", "saved too", "view", ago(days=7)),
            ("ben", "other", "apply", ago(days=7)),
            ("dora", "bare", "view", ago(days=7)),
        ],
    )


@pytest.mark.parametrize(
    ("item_id", "scorer", "expected"),
    [
        ("in town", "location", Reason("near_city", {"city": "Null"})),
        ("at sea", "location", Reason("near", {})),
        ("far", "location", Reason("for_you", {})),
        ("chosen", "tags", Reason("matches_tags", {"tags": "b"})),
        ("tagged", "tags", Reason("for_you", {})),
        ("tagged", "content", Reason("because_you_liked_tags", {"tags": "a"})),
        ("same category", "content", Reason("because_you_liked_category", {"category": "art"})),
        ("new", "recency", Reason("new", {})),
        ("far", "recency", Reason("for_you", {})),
        ("of good", "owner_quality", Reason("trusted_owner", {"owner": "owner"})),
        ("of bad", "owner_quality", Reason("for_you", {})),
        ("bare", "collaborative", Reason("for_you", {})),
    ],
)
def test_each_reason_in_its_situation(
    small: Shelf, item_id: str, scorer: str, expected: Reason
) -> None:
    assert told(small, "anna", item_id, scorer) == expected


def test_one_entry_makes_a_scorer(small: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(pairs: Pairs) -> np.ndarray:
        return (pairs.rows == small.live.find_item("far")).astype(np.float32)

    toy = Scorer(score, lambda wording, place, row: Reason("for_you", {"luck": str(place)}))
    monkeypatch.setitem(SCORERS, cast(Any, "luck"), toy)
    assert told(small, "anna", "far", "luck") == Reason("for_you", {"luck": "0"})
    assert told(small, "anna", "new", "luck") == Reason("for_you", {})
    assert set(SCORERS) == {*NAMES, "luck"}


def test_because_you_saved_what_these_people_liked_too(small: Shelf) -> None:
    said = told(small, "anna", "saved too", "collaborative")
    saved = {"title": "The Saved One", "item_id": "saved"}
    assert said == Reason("because_you_saved", saved)
    assert said.text == "Because you saved The Saved One"
    viewed = {"title": "saved too", "item_id": "saved too"}  # of his own the one most alike
    assert told(small, "carl", "other", "collaborative") == Reason("because_you_viewed", viewed)


def test_people_with_similar_taste_where_no_item_of_the_own_is_alike(small: Shelf) -> None:
    items = small.live.items
    scores, row = items.neighbour_scores, small.live.find_item("saved")
    before = scores[row].copy()
    try:
        scores[row] = SIMILAR / 2
        assert told(small, "anna", "other", "collaborative").code == "similar_users_applied"
        assert told(small, "anna", "saved too", "collaborative").code == "similar_users"
    finally:
        scores[row] = before


def test_popular_this_week_is_what_trends(small: Shelf) -> None:
    """Well liked of all time is another thing."""
    row = small.live.find_item("other")
    assert told(small, "dora", "other", "engagement").code == "well_liked"
    for trending, code in ((0.7, "well_liked"), (0.9, "popular")):
        rows = np.array([row], np.int32), np.array([trending], np.float32)
        small.live.set_trending({168: rows})
        assert told(small, "dora", "other", "engagement").code == code
    small.live.set_trending({168: (np.zeros(0, np.int32), np.zeros(0, np.float32))})
    assert told(small, "dora", "bare", "engagement").code == "for_you"


def test_what_exploration_put_there_says_so(small: Shelf) -> None:
    rows = np.array([0, 1], np.int32)
    viewer = small.viewer("anna")
    components = explained(small.live, viewer, patient(), rows, now=MOMENT)
    said = reasons(
        small.live, viewer, patient(), rows, components, explored=np.array([False, True])
    )
    assert said[1] == Reason("new_here", {})
    assert said[0].code != "new_here"


def test_a_title_that_is_missing_is_the_id(small: Shelf) -> None:
    assert small.live.title(0) == "applied to"


def test_an_empty_page_has_no_reasons(small: Shelf) -> None:
    assert small.reasons(None, np.zeros(0, np.int32)) == []


def test_without_components_it_is_just_recommended(small: Shelf) -> None:
    rows = np.array([0], np.int32)
    said = reasons(small.live, Viewer(), patient(), rows, {})
    assert [one.code for one in said] == ["for_you"]


def test_each_table_has_its_share_of_what_lifts_an_item(dataset: Dataset) -> None:
    rng, n = np.random.default_rng(0), len(dataset.items)
    columns = {name: rng.random(n).astype(np.float32) for name in ("popularity", "trend", "off")}
    vectors = replace(
        random_vectors(dataset),
        tables={name: ConstantTable(column) for name, column in columns.items()},
        blend=Blend({"popularity": 1.0, "trend": 3.0}),
    )
    live = LiveCatalogue(snapshot_of(dataset, vectors, recommender="blend"))
    viewer, rows = live.viewer(dataset.users[0]), np.arange(n, dtype=np.int32)
    shares = table_shares(live, viewer, rows)
    assert list(shares) == ["popularity", "trend"]
    lift = {
        name: weight * np.maximum((columns[name] - columns[name].mean()) / columns[name].std(), 0)
        for name, weight in (("popularity", 1), ("trend", 3))
    }
    with np.errstate(invalid="ignore"):
        for name, share in shares.items():
            expected = lift[name] / (lift["popularity"] + lift["trend"])
            assert share == pytest.approx(expected, abs=1e-4, nan_ok=True)
    assert np.isnan(shares["trend"]).any()
