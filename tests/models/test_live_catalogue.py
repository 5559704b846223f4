"""What changed is as if the snapshot had been built after it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.catalogue import building as catalogues
from models.catalogue.building import Vectors, build_snapshot
from models.catalogue.changes import Changes, ItemRow, OwnerRow, UserRow
from models.catalogue.live import LiveCatalogue
from models.catalogue.score_statistics import ScoreStatistics
from models.catalogue.snapshots.snapshot import Snapshot
from models.data.ids import IdIndex
from models.data.interactions.matrices import interaction_matrix
from models.data.scorers import owner_quality
from models.feed.candidates.rules import allowed
from tests.models.worlds import (
    MOMENT,
    NOW,
    PROFILE,
    ago,
    catalogue_of,
    dataset_of,
    interactions_frame,
    snapshot_of,
)

ITEMS = [f"i{number}" for number in range(9)]
PEOPLE = ["anna", "ben", "carl"]  # users and owners
TAGS = [f"t{number:02}" for number in range(12)]  # more than an item has room for at first
SEEN = interactions_frame(
    [
        ("anna", "i0", "view", ago(days=1)),
        ("ben", "i1", "save", ago(days=2)),
        ("dora", "i1", "apply", ago(days=2)),
    ]
)


class State(NamedTuple):
    """The whole catalogue, by id."""

    items: dict[str, ItemRow]
    users: dict[str, UserRow]
    owners: dict[str, OwnerRow]


def item(id: str, **more: Any) -> ItemRow:
    nothing: dict[str, Any] = dict.fromkeys(ItemRow._fields)
    made = nothing | {"id": id, "tags": [], "status": "published", "created_at": MOMENT}
    return ItemRow(**(made | more))


def user(id: str, **more: Any) -> UserRow:
    lists: dict[str, Any] = {
        name: [] for name in ("tags", "preferred_tags", "blocked_tags", "blocked_owners")
    }
    nothing: dict[str, Any] = dict.fromkeys(UserRow._fields)
    return UserRow(**(nothing | lists | {"id": id, "personalization_enabled": True} | more))


BEGINNING = State(
    {
        "i0": item("i0", tags=["t00", "t01"], owner_id="ben", city="Oslo", title="Zero"),
        "i1": item("i1", tags=["t01"], category="jobs", price_min=10.0, capacity=1),
        "i2": item("i2", status="draft", owner_id="anna"),
    },
    {
        "anna": user("anna", tags=["t00"], lat=59.9, lon=10.7),
        "ben": user("ben"),
        "dora": user("dora"),
    },
    {"ben": OwnerRow("ben", 4.0, 0.5, 10), "carl": OwnerRow("carl", 1.0, None, None)},
)


def built(state: State, without_history: set[str] | None = None) -> Snapshot:
    def times(row: ItemRow) -> dict[str, Any]:
        def time(value: float | None) -> Any:
            return None if value is None else ago(seconds=MOMENT - value)

        names = ("created_at", "publish_at", "starts_at")
        return row._asdict() | {name: time(getattr(row, name)) for name in names}

    def preferences(row: UserRow) -> dict[str, Any]:
        prices = {"preferred_price_min": row.price_min, "preferred_price_max": row.price_max}
        names = ("max_distance_km", "preferred_tags", "blocked_tags", "blocked_owners")
        preferences = {name: getattr(row, name) for name in names}
        enabled = {"personalization_enabled": row.personalization_enabled}
        return {"user_id": row.id} | preferences | prices | enabled

    users = [
        {name: getattr(row, name) for name in ("id", "lat", "lon", "city", "tags")}
        for row in state.users.values()
    ]
    catalogue = catalogue_of(
        users,
        [times(row) for row in state.items.values()],
        [row._asdict() for row in state.owners.values()],
        [preferences(row) for row in state.users.values()],
    )
    gone = list(without_history or ())
    rows = SEEN.filter(~pl.col("user_id").is_in(gone))
    matrix = interaction_matrix(
        rows,
        IdIndex.of(catalogue.users["id"]),
        IdIndex.of(catalogue.items["id"]),
        PROFILE.interaction_weights,
    )
    n_users, n_items = matrix.values.shape
    rng = np.random.default_rng(0)
    vectors = Vectors(
        rng.normal(size=(n_users, 3)).astype(np.float32),
        rng.normal(size=(n_items, 3)).astype(np.float32),
        rng.normal(size=n_items).astype(np.float32),
    )
    with mock.patch.object(catalogues, "ROOM", 2):
        return build_snapshot(catalogue, matrix, PROFILE, now=NOW, vectors=vectors)


FOLDER = TemporaryDirectory()  # goes with the process


@cache
def saved() -> Path:
    return built(BEGINNING).save(Path(FOLDER.name) / "1")


def beginning() -> LiveCatalogue:
    return LiveCatalogue(Snapshot.load(saved()))


def row_of(live: LiveCatalogue, item_id: str) -> int:
    row = live.find_item(item_id)
    assert row is not None
    return row


def number(value: Any) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)


def item_seen(live: LiveCatalogue, id: str) -> dict[str, Any] | None:
    row = live.find_item(id)
    if row is None:
        return None
    assert live.item_id(row) == id
    items = live.items

    def name(vocabulary: Any, column: str) -> str | None:
        index = int(getattr(items, column)[row])
        return None if index < 0 else vocabulary[index]

    numbers = ("created_at", "publish_at", "starts_at", "lat", "lon", "price_min", "price_max")
    counted = ("capacity", "applied", "price_band", "owner_quality")
    return {
        "title": live.title(row),
        "tags": sorted(live.tags[int(tag)] for tag in items.tags[row] if tag >= 0),
        "category": name(live.categories, "category"),
        "city": name(live.cities, "city"),
        "owner": name(live.owners, "owner"),
        "published": bool(items.published[row]),
    } | {column: number(getattr(items, column)[row]) for column in (*numbers, *counted)}


def viewer_seen(live: LiveCatalogue, id: str) -> dict[str, Any]:
    viewer = live.viewer(id)
    preferences = viewer.preferences
    rows = np.arange(live.size, dtype=np.int32)
    may = allowed(live, viewer, PROFILE, rows, now=MOMENT, exclude_seen=True)
    return {
        "known": viewer.known,
        "place": (number(viewer.lat), number(viewer.lon)),
        "tags": sorted(live.tags[int(tag)] for tag in viewer.tags),
        "blocked": sorted(live.tags[int(tag)] for tag in preferences.blocked_tags),
        "owners": sorted(live.owners[int(owner)] for owner in preferences.blocked_owners),
        "limits": (
            number(preferences.max_distance_km),
            number(preferences.price_min),
            number(preferences.price_max),
        ),
        "personalized": preferences.personalized,
        "seen": sorted(live.item_id(int(row)) for row in viewer.seen if live.items.published[row]),
        "may see": sorted(live.item_id(int(row)) for row in rows[may]),
    }


def everything_seen(live: LiveCatalogue) -> dict[str, Any]:
    return {id: item_seen(live, id) for id in ITEMS} | {id: viewer_seen(live, id) for id in PEOPLE}


maybe_city = st.sampled_from([None, "Oslo", "Bergen", "Rome"])
maybe_time = st.none() | st.sampled_from([MOMENT - 1_000.0, MOMENT + 1_000.0])
maybe_price = st.none() | st.floats(1, 2000, width=32)
some_tags = st.lists(st.sampled_from(TAGS), unique=True, max_size=11)
places = st.none() | st.tuples(st.integers(-60, 60), st.integers(-179, 179))


@st.composite
def item_rows(draw: st.DrawFn) -> ItemRow:
    lat, lon = draw(places) or (None, None)
    return item(
        draw(st.sampled_from(ITEMS)),
        owner_id=draw(st.none() | st.sampled_from(PEOPLE)),
        tags=draw(some_tags),
        category=draw(st.sampled_from([None, "jobs", "homes"])),
        city=draw(maybe_city),
        lat=lat,
        lon=lon,
        price_min=draw(maybe_price),
        price_max=draw(maybe_price),
        status=draw(st.sampled_from(["published", "published", "draft"])),
        capacity=draw(st.none() | st.integers(0, 2)),
        created_at=MOMENT - draw(st.integers(0, 9_999)),
        publish_at=draw(maybe_time),
        starts_at=draw(maybe_time),
        title=draw(st.none() | st.text("ab", max_size=3)),
    )


@st.composite
def user_rows(draw: st.DrawFn) -> UserRow:
    lat, lon = draw(places) or (None, None)
    return user(
        draw(st.sampled_from(PEOPLE)),
        lat=lat,
        lon=lon,
        tags=draw(some_tags),
        max_distance_km=draw(st.none() | st.just(5_000.0)),
        price_min=draw(maybe_price),
        price_max=draw(maybe_price),
        preferred_tags=draw(some_tags),
        blocked_tags=draw(st.lists(st.sampled_from(TAGS), unique=True, max_size=2)),
        blocked_owners=draw(st.lists(st.sampled_from(PEOPLE), unique=True, max_size=1)),
        personalization_enabled=draw(st.booleans()),
    )


owner_rows = st.builds(
    OwnerRow,
    st.sampled_from(PEOPLE),
    st.none() | st.floats(0, 5),
    st.none() | st.floats(0, 1),
    st.none() | st.integers(0, 50),
)
Step = ItemRow | UserRow | OwnerRow | tuple[str, str]
steps = st.lists(
    st.lists(
        item_rows()
        | item_rows()
        | user_rows()
        | owner_rows
        | st.tuples(st.just("items"), st.sampled_from(ITEMS))
        | st.tuples(st.just("users"), st.sampled_from(PEOPLE))
        | st.tuples(st.just("owners"), st.sampled_from(PEOPLE)),
        max_size=4,
        unique_by=lambda step: (type(step), step[-1] if type(step) is tuple else step[0]),
    ),
    max_size=6,
)


def changes_of(part: list[Step]) -> Changes:
    """One batch; of an id that is written and removed, the removal is what is left."""
    made = Changes("0:1:")
    for step in part:
        match step:
            case ItemRow():
                made.items.append(step)
            case UserRow():
                made.users.append(step)
            case OwnerRow():
                made.owners.append(step)
            case (kind, id):
                getattr(made, f"removed_{kind}").append(id)
    return made


def follow(state: State, changes: Changes) -> None:
    state.items.update({row.id: row for row in changes.items})
    state.users.update({row.id: row for row in changes.users})
    state.owners.update({row.id: row for row in changes.owners})
    for kind in State._fields:
        for id in getattr(changes, f"removed_{kind}"):
            getattr(state, kind).pop(id, None)


@settings(max_examples=30)
@given(steps)
def test_changes_end_where_a_new_snapshot_begins(parts: list[list[Step]]) -> None:
    live = beginning()
    state = State(dict(BEGINNING.items), dict(BEGINNING.users), dict(BEGINNING.owners))
    erased: set[str] = set()
    for part in parts:
        changes = changes_of(part)
        live.apply(changes)
        follow(state, changes)
        erased |= set(changes.removed_users)
    expected = LiveCatalogue(built(state, without_history=erased))
    assert everything_seen(live) == everything_seen(expected)
    assert live.version == len(parts)


def test_it_begins_as_the_snapshot() -> None:
    assert everything_seen(beginning()) == everything_seen(LiveCatalogue(built(BEGINNING)))


def test_room_runs_out_and_nothing_is_lost() -> None:
    live = beginning()
    before = live.items.rows
    new = [item(f"n{n:02}", tags=[f"new {n}"], owner_id="ben", title=f"N{n}") for n in range(40)]
    for row in new:
        live.apply(Changes("1:1:", items=[row]))
    assert before < live.size == 43 <= live.items.rows
    assert live.snapshot.items.rows == before
    for n, row in enumerate(new):
        seen = item_seen(live, row.id)
        assert seen is not None
        assert (seen["tags"], seen["title"], seen["owner"]) == ([f"new {n}"], f"N{n}", "ben")
    assert [live.item_id(int(row)) for row in live.latest_items()] == [
        row.id for row in reversed(new)
    ]
    seen = item_seen(live, "i0")
    assert seen is not None
    assert seen["title"] == "Zero"


def test_what_changes_stays_in_this_process() -> None:
    live, other = beginning(), beginning()
    live.apply(Changes("1:1:", items=[item("i0", title="Changed")], removed_items=["i1"]))
    for untouched in (other, beginning()):
        assert untouched.title(0) == "Zero"
        assert untouched.items.published.tolist()[:3] == [True, True, False]


def test_quality_follows_the_owner() -> None:
    live = beginning()
    live.apply(Changes("1:1:", items=[item("i5", owner_id="carl"), item("i6", owner_id="ben")]))
    good = owner_quality(*(np.array([value]) for value in (5.0, 1.0, 100.0)))[0]
    carl, ben = (row_of(live, id) for id in ("i5", "i6"))
    assert live.items.owner_quality[carl] == pytest.approx(0.2)  # carl had no item before
    live.apply(Changes("1:2:", owners=[OwnerRow("ben", 5.0, 1.0, 100)]))
    assert live.items.owner_quality[[0, ben]] == pytest.approx([good, good])
    assert live.items.owner_quality[carl] == pytest.approx(0.2)
    live.apply(Changes("1:3:", removed_owners=["ben"]))
    assert np.isnan(live.items.owner_quality[[0, ben]]).all()


def test_a_user_who_was_erased_is_another_one_when_they_come_back() -> None:
    live = beginning()
    assert live.viewer("anna").seen.tolist() == [0]
    live.apply(Changes("1:1:", removed_users=["anna"]))
    gone = live.viewer("anna")
    assert (gone.row, gone.known, len(gone.seen), len(gone.tags)) == (None, False, 0, 0)
    live.apply(Changes("1:2:", users=[user("anna", tags=["brand new"])]))
    back = live.viewer("anna")
    assert (back.row, back.known, len(back.seen)) == (None, True, 0)
    assert [live.tags[int(tag)] for tag in back.tags] == ["brand new"]


def test_what_is_given_goes_before_what_is_known() -> None:
    live = beginning()
    assert live.viewer("anna", lat=1, lon=2).lat == 1
    assert live.viewer("anna", lat=1).lat == pytest.approx(59.9)  # half a place is none
    assert live.viewer("anna", tags=[]).tags.tolist() == []
    assert live.viewer(None, tags=["t01", "no such tag"]).tags.tolist() == [live.tags.find("t01")]
    assert live.viewer("\ud800").row is None
    assert not live.viewer(None).known


def test_looking_at_a_user_changes_nothing() -> None:
    """Requests look while another thread writes."""
    live = beginning()
    live.apply(Changes("1:1:", users=[user("dora", tags=["x"], blocked_owners=["nobody"])]))
    before = len(live.tags), len(live.owners)
    live.viewer("dora")
    live.viewer("anna", tags=["unheard of"])
    assert (len(live.tags), len(live.owners)) == before


def test_feeds_are_old_after_a_change_that_they_show() -> None:
    live = beginning()
    assert live.changed_at("anna") == live.changed_at(None) == 0
    live.apply(Changes("1:1:", users=[user("anna")]))
    assert live.changed_at("anna") > 0 == live.changed_at("ben") == live.changed_at(None)
    live.apply(Changes("1:2:", items=[item("i7")]))
    assert live.changed_at("ben") == live.changed_at(None) > 0


def test_trending_is_replaced_by_the_longest_window() -> None:
    live = beginning()
    week = np.array([1, 0], np.int32), np.array([1.0, 0.5], np.float32)
    day = np.array([0], np.int32), np.array([1.0], np.float32)
    live.set_trending({24: day, 168: week})
    assert live.items.trending[:3].tolist() == [0.5, 1, 0]
    live.set_trending({24: day})
    assert live.items.trending[:3].tolist() == [1, 0, 0]


def test_a_new_item_is_placed_amid_those_that_share_its_tags() -> None:
    live = beginning()
    items = [item("alike", tags=["t01"]), item("unlike", tags=["t09"])]
    live.apply(Changes("1:1:", items=items))
    alike, unlike = (row_of(live, id) for id in ("alike", "unlike"))
    assert live.items.vectors[alike] == pytest.approx(live.items.vectors[[0, 1]].mean(axis=0))
    assert live.items.vectors[unlike] == pytest.approx(live.items.vectors[[0, 1]].mean(axis=0))
    usual = np.median(live.items.bias[[0, 1]])  # those that are published
    assert live.items.bias[[alike, unlike]] == pytest.approx([usual, usual])


def test_a_new_item_has_the_usual_bias_without_vectors_too() -> None:
    dataset = dataset_of(catalogue_of([{"id": "u"}], [{"id": "a"}, {"id": "b"}]), SEEN.clear())
    bias = np.array([-4.0, -3.0], np.float32)
    nothing = np.zeros((1, 0), np.float32), np.zeros((2, 0), np.float32)
    live = LiveCatalogue(snapshot_of(dataset, Vectors(*nothing, bias), recommender="popularity"))
    live.apply(Changes("1:1:", items=[item("new")]))
    assert live.items.bias[row_of(live, "new")] == pytest.approx(-3.5)


@settings(max_examples=30)
@given(st.integers(0, 30), st.integers(0, 5), st.integers(0, 99))
def test_moments_are_those_of_the_scores(n: int, dims: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n + 1, dims)).astype(np.float32)
    bias = rng.normal(size=n + 1).astype(np.float32)
    items = replace(beginning().items, vectors=vectors, bias=bias)
    user_vector = rng.normal(size=dims).astype(np.float32)
    scores = (vectors[:n].astype(float) @ user_vector) + bias[:n]
    expected = (scores.mean(), scores.std()) if n else (0, 0)
    moments = ScoreStatistics.of(items, np.arange(n, dtype=np.int32))
    assert moments.of_scores(user_vector) == pytest.approx(expected, abs=1e-4)


def test_only_what_is_still_there_is_kept() -> None:
    live = beginning()
    known = live.users.ids.to_list()
    live.remove_all_but({"i1"}, set(known[1:]))
    assert [live.find_item(id) for id in ("i0", "i1")] == [None, 1]
    assert [live.viewer(user).known for user in known[:2]] == [False, True]
