"""Where candidates come from, and what happens to a source that fails or is slow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.catalogue.changes import Changes
from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.nearest import build
from models.catalogue.snapshots.snapshot import Snapshot
from models.catalogue.viewers.viewer import Indices, Preferences, Viewer
from models.data.scorers import haversine_km
from models.feed.candidates import sources as sources
from models.feed.candidates.nearby import Places
from models.feed.candidates.sources import (
    BITS,
    REST_SECONDS,
    SOURCES,
    STRIKES,
    Candidates,
    Indexes,
    Source,
    SourceGuard,
    candidates,
    liked_by_similar_users,
    most_votes,
    names_of,
    nearest_by_vector,
    similar_items,
)
from tests.models.test_live_catalogue import item
from tests.models.worlds import Shelf, ago, patient, shelf_of, shelf_of_rows


def gathered(shelf: Shelf, user: str | Viewer | None, guard: SourceGuard | None = None):
    return candidates(
        shelf.live,
        shelf.viewer(user),
        shelf.profile,
        shelf.shortlists,
        shelf.indexes,
        guard or SourceGuard(),
    )


def of_source(found: Candidates, name: str) -> list[int]:
    return found.rows[found.sources & BITS[name] > 0].tolist()


def test_one_entry_makes_a_source(shelf: Shelf, busy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    toy = Source(
        lambda asked_for, count: asked.append(count) or np.array([7, 3], np.int32),  # type: ignore[func-returns-value]
        lambda budgets: budgets.near // 2,
        lambda asked_for: asked_for.viewer.user_id == busy,
    )
    monkeypatch.setitem(SOURCES, "toy", toy)
    monkeypatch.setitem(BITS, "toy", 1 << len(BITS))
    assert of_source(gathered(shelf, busy), "toy") == [3, 7]
    assert of_source(gathered(shelf, None), "toy") == []
    assert asked == [shelf.profile.candidates.near // 2]


def test_every_source_names_its_own(shelf: Shelf, busy: str) -> None:
    """Of a user who has everything: what each function gives is marked as its own."""
    live, budgets = shelf.live, shelf.profile.candidates
    viewer = shelf.viewer(busy)
    found = gathered(shelf, busy)
    assert (np.diff(found.rows) > 0).all()
    expected: dict[str, Indices] = {
        "model": nearest_by_vector(live, viewer, shelf.shortlists, shelf.indexes, budgets.model),
        "similar_users": liked_by_similar_users(live, viewer, budgets.similar_users),
        "similar_items": similar_items(live, viewer.recent[:10], budgets.similar_items)[0],
        "near": sources.near(live, viewer, shelf.indexes.places, budgets.near),
        "tags": sources.of_tags(live, viewer, shelf.shortlists, budgets.tags),
        "fresh": shelf.shortlists.fresh[: budgets.fresh],
        "explore": shelf.shortlists.explored,
    }
    for name, rows in expected.items():
        assert len(rows)
        assert of_source(found, name) == np.unique(rows).tolist()
    assert names_of(int(BITS["model"] | BITS["near"])) == ["model", "near"]
    assert names_of((1 << len(SOURCES)) - 1) == list(SOURCES)


def test_the_model_is_exact_in_a_small_catalogue(shelf: Shelf) -> None:
    live, viewer = shelf.live, shelf.viewer("u7")
    viewer = replace(viewer, preferences=Preferences())
    shown = shelf.shortlists.shown
    scores = live.items.vectors[shown] @ live.users.vectors[viewer.row] + live.items.bias[shown]
    found = nearest_by_vector(live, viewer, shelf.shortlists, shelf.indexes, 20)
    assert found.tolist() == shown[np.argsort(-scores, kind="stable")[:20]].tolist()


def test_a_limit_of_distance_is_looked_at_first(shelf: Shelf) -> None:
    """The best of those within the limit, not those within the limit of the best."""
    live, viewer = shelf.live, shelf.viewer("u7")
    viewer = replace(viewer, preferences=Preferences(max_distance_km=30.0))
    shown = shelf.shortlists.shown
    km = haversine_km(viewer.lat, viewer.lon, live.items.lat[shown], live.items.lon[shown])
    inside = shown[km <= 30]
    scores = live.items.vectors[inside] @ live.users.vectors[viewer.row] + live.items.bias[inside]
    found = nearest_by_vector(live, viewer, shelf.shortlists, shelf.indexes, 5)
    assert len(inside) > 5
    assert found[:5].tolist() == inside[np.argsort(-scores, kind="stable")[:5]].tolist()
    assert len(found) == 10  # and the best of all, for what has no place


def test_an_index_is_used_where_there_is_one(shelf: Shelf) -> None:
    live, viewer = shelf.live, replace(shelf.viewer("u7"), preferences=Preferences())
    rows = shelf.shortlists.shown
    index = build(
        live.items.vectors, live.items.bias, rows, sample_queries=live.users.vectors[:0], count=20
    )
    exact = nearest_by_vector(live, viewer, shelf.shortlists, shelf.indexes, 20)
    indexes = replace(shelf.indexes, nearest=index)
    found = nearest_by_vector(live, viewer, shelf.shortlists, indexes, 20)
    assert sorted(found.tolist()) == sorted(exact.tolist())


def test_the_index_of_a_large_catalogue_is_the_snapshots(snapshot: Snapshot, tmp_path) -> None:
    items = snapshot.items
    rows = np.flatnonzero(items.published).astype(np.int32)
    index = build(items.vectors, items.bias, rows, sample_queries=snapshot.users.vectors, count=9)
    live = LiveCatalogue(Snapshot.load(snapshot.save(tmp_path / "7", nearest=index)))
    large = patient(candidates={"exact_up_to": 100})
    assert Indexes.of(live, large).nearest is not None
    assert Indexes.of(live, large, exact=True).nearest is None
    assert Indexes.of(live, patient()).nearest is None


def test_similar_users_vote_by_likeness_and_liking() -> None:
    shared = [(user, "shared", "apply", ago(days=9)) for user in ("anna", "ben", "carl")]
    shelf = shelf_of_rows(
        [{"id": id} for id in ("anna", "ben", "carl", "dora")],
        [{"id": id} for id in ("shared", "by ben", "by both", "by dora")],
        interactions=[
            *shared,
            ("ben", "by ben", "view", ago(days=1)),
            ("ben", "by both", "apply", ago(days=1)),
            ("carl", "by both", "apply", ago(days=1)),
            ("dora", "by dora", "apply", ago(days=1)),  # like nobody
        ],
    )
    found = liked_by_similar_users(shelf.live, shelf.viewer("anna"), 9)
    assert shelf.ids(found)[-1] == "by ben"
    assert set(shelf.ids(found)) == {"shared", "by both", "by ben"}
    assert shelf.ids(liked_by_similar_users(shelf.live, shelf.viewer("dora"), 9)) == []


def test_items_that_the_same_users_liked() -> None:
    pairs = [("anna", "a"), ("anna", "b"), ("ben", "a"), ("ben", "b"), ("carl", "b"), ("carl", "c")]
    shelf = shelf_of_rows(
        [{"id": id} for id in ("anna", "ben", "carl")],
        [{"id": id} for id in "abcd"],
        interactions=[(user, id, "apply", ago(days=1)) for user, id in pairs],
    )
    rows, cosine = similar_items(shelf.live, np.array([0], np.int32), 9)
    assert shelf.ids(rows) == ["b"]
    assert cosine == pytest.approx([2 / 6**0.5], abs=1e-6)
    new = shelf.live.size  # a row that is newer than the snapshot
    assert len(similar_items(shelf.live, np.array([3, new], np.int32), 9)[0]) == 0


def test_near_is_right_across_the_antimeridian() -> None:
    shelf = shelf_of_rows(
        [{"id": "fiji", "lat": -17.0, "lon": 179.9}],
        [
            {"id": "west", "lat": -17.0, "lon": 179.5},
            {"id": "east", "lat": -17.0, "lon": -179.95},
            {"id": "greenwich", "lat": -17.0, "lon": 0.0},
            {"id": "nowhere"},
            {"id": "draft", "lat": -17.0, "lon": 179.9, "status": "draft"},
        ],
    )
    viewer = shelf.viewer("fiji")
    near = sources.near(shelf.live, viewer, shelf.indexes.places, 9)
    assert shelf.ids(near) == ["east", "west", "greenwich"]
    limited = replace(viewer, preferences=Preferences(max_distance_km=20.0))
    assert shelf.ids(sources.near(shelf.live, limited, shelf.indexes.places, 9)) == ["east"]


def test_places_follow_changes() -> None:
    live = shelf_of_rows([], [{"id": "a", "lat": 1.0, "lon": 1.0}, {"id": "b"}]).live
    indexes = Indexes.of(live, patient())
    moved = [item("b", lat=0.0, lon=0.0), item("c", lat=0.0, lon=0.1)]
    live.apply(Changes("1:1:", items=moved, removed_items=["a"]))
    rows, _ = indexes.with_changes(live).places.nearest(0.0, 0.0, 9)
    assert [live.item_id(int(row)) for row in rows] == ["b", "c"]


@pytest.fixture(scope="module")
def tagged() -> Shelf:
    items = [{"id": f"{tag}{n}", "tags": [tag]} for tag in "xyz" for n in range(4)]
    rows = [("ben", f"{tag}3", "apply", ago(days=1)) for tag in "xyz"]
    liked = [("carl", "y0", "view", ago(days=1))]
    return shelf_of_rows(
        [{"id": "anna", "tags": ["x", "z", "of no item"]}, {"id": "ben"}, {"id": "carl"}],
        items,
        interactions=rows + liked,
    )


def test_chosen_tags_share_and_popular_items_lead(tagged: Shelf) -> None:
    found = tagged.ids(sources.of_tags(tagged.live, tagged.viewer("anna"), tagged.shortlists, 6))
    assert [id[0] for id in found] == ["x", "x", "z", "z"]
    assert {found[0], found[2]} == {"x3", "z3"}


def test_without_chosen_tags_those_of_what_was_liked(tagged: Shelf) -> None:
    found = tagged.ids(sources.of_tags(tagged.live, tagged.viewer("carl"), tagged.shortlists, 9))
    assert {id[0] for id in found} == {"y"}
    assert len(sources.of_tags(tagged.live, Viewer(), tagged.shortlists, 9)) == 0


def test_items_that_nobody_may_see_take_no_place_of_a_tag() -> None:
    """Of events the past ones are the popular ones."""
    items = [{"id": f"past{n}", "tags": ["x"], "starts_at": ago(days=1)} for n in range(9)]
    shelf = shelf_of_rows(
        [{"id": "anna", "tags": ["x"]}, {"id": "ben"}],
        [*items, {"id": "coming", "tags": ["x"], "starts_at": ago(days=-1)}],
        interactions=[("ben", f"past{n}", "apply", ago(days=2)) for n in range(9)],
        profile=patient(candidates={"tags": 3}),
    )
    assert shelf.ids(np.array(of_source(gathered(shelf, "anna"), "tags"), int)) == ["coming"]


def test_past_events_take_no_place_of_near() -> None:
    items = [{"id": f"past{n}", "lat": 0.0, "lon": 0.0, "starts_at": ago(days=1)} for n in range(9)]
    shelf = shelf_of_rows(
        [],
        [*items, {"id": "coming", "lat": 1.0, "lon": 0.0, "starts_at": ago(days=-1)}],
        profile=patient(candidates={"near": 3}),
    )
    here = Viewer(lat=0.0, lon=0.0)
    assert shelf.ids(np.array(of_source(gathered(shelf, here), "near"), int)) == ["coming"]


def test_popular_items_fill_the_pool(shelf: Shelf) -> None:
    off: dict[str, Any] = {name: 0 for name in SOURCES if name != "explore"}
    narrow = replace(shelf, profile=patient(candidates=off | {"pool": 30}))
    found = gathered(narrow, "u5")
    popular = shelf.shortlists.popular[:30].tolist()
    assert set(popular) <= set(of_source(found, "popular"))
    assert len(found.rows) >= 30
    everything = gathered(replace(shelf, profile=patient(candidates=off)), None)
    assert everything.rows.tolist() == shelf.shortlists.shown.tolist()


def test_the_latest_items_are_candidates_at_once(snapshot: Snapshot, tmp_path) -> None:
    live = LiveCatalogue(Snapshot.load(snapshot.save(tmp_path / "7")))
    shelf = shelf_of(live, patient(candidates={"pool": 1}))
    live.apply(Changes("1:1:", items=[item("brand new"), item("i0")]))
    fresh = shelf.ids(np.array(of_source(gathered(shelf, None), "fresh"), int))
    assert {"brand new", "i0"} <= set(fresh)


def test_an_empty_catalogue_has_no_candidates() -> None:
    shelf = shelf_of_rows([{"id": "u", "lat": 0.0, "lon": 0.0, "tags": ["x"]}], [])
    assert len(gathered(shelf, "u").rows) == 0


def test_most_votes_against_a_dictionary(rng: np.random.Generator) -> None:
    rows = rng.integers(0, 9, 50).astype(np.int32)
    votes = rng.integers(1, 9, 50).astype(np.float32)
    sums = {row: votes[rows == row].sum() for row in range(9)}
    found, best = most_votes(rows, votes, 4)
    assert found.tolist() == sorted(sums, key=lambda row: (-sums[row], row))[:4]
    assert best.tolist() == [sums[row] for row in found.tolist()]


# --- the guard -------------------------------------------------------------------------------


class Clock:
    """Time passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def takes(self, seconds: float) -> Callable[[], Indices]:
        def source() -> Indices:
            self.now += seconds
            return np.array([7], np.int32)

        return source


def fails() -> Indices:
    raise RuntimeError("no such index")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dropped() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def guard(clock: Clock, dropped: list[tuple[str, str]]) -> SourceGuard:
    return SourceGuard(lambda name, why: dropped.append((name, why)), clock=clock)


def test_what_fails_is_dropped_counted_and_rests(
    clock: Clock, guard: SourceGuard, dropped: list[tuple[str, str]]
) -> None:
    asked = {"near": fails, "tags": clock.takes(0.001)}
    for _ in range(STRIKES + 1):  # once may be one viewer's fault
        assert list(guard.collect(asked, 20.0)) == ["tags"]
    assert dropped == [("near", "error")] * STRIKES + [("near", "resting")]
    clock.now += REST_SECONDS
    well = {"near": clock.takes(0.001)}
    assert list(guard.collect(well, 20.0)) == ["near"]


def test_what_is_slow_again_and_again_rests(
    clock: Clock, guard: SourceGuard, dropped: list[tuple[str, str]]
) -> None:
    slow: dict[str, Callable[[], Indices]] = {"near": clock.takes(0.011)}
    quick: dict[str, Callable[[], Indices]] = {"near": clock.takes(0.001)}
    for asked in [slow] * (STRIKES - 1) + [quick] + [slow] * STRIKES:
        assert list(guard.collect(asked, 20.0)) == ["near"]  # its rows count all the same
    assert dropped == [("near", "slow")] * (2 * STRIKES - 1)
    assert guard.collect(slow, 20.0) == {}
    assert dropped[-1] == ("near", "resting")


def test_when_the_time_is_spent_the_others_are_left_out(
    clock: Clock, guard: SourceGuard, dropped: list[tuple[str, str]]
) -> None:
    asked: dict[str, Callable[[], Indices]] = {
        "model": clock.takes(0.030),
        "near": clock.takes(0.001),
        "tags": clock.takes(0.001),
    }
    assert list(guard.collect(asked, 20.0)) == ["model"]
    assert dropped == [("model", "slow"), ("near", "out_of_time"), ("tags", "out_of_time")]


def test_a_feed_goes_on_without_a_source(
    shelf: Shelf, dropped: list[tuple[str, str]], guard: SourceGuard
) -> None:
    class Broken(Places):
        def nearest(self, *_, **__):
            raise OSError("gone")

    nothing = np.zeros(0, np.float32)
    places = Broken(nothing, nothing, np.zeros(0, np.int32))
    broken = replace(shelf, indexes=replace(shelf.indexes, places=places))
    found = gathered(broken, "u5", guard)
    assert ("near", "error") in dropped
    assert of_source(found, "near") == []
    assert len(found.rows) > 100
