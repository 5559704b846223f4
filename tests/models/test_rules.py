"""Each rule alone, and all of them against plain Python."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.snapshot import Items
from models.catalogue.viewers.viewer import Preferences, Viewer
from models.data.scorers import haversine_km
from models.feed.candidates.rules import allowed, broken
from models.profile.schema import Profile
from tests.models.worlds import (
    MOMENT,
    PROFILE,
    Shelf,
    ago,
    catalogue_of,
    dataset_of,
    interactions_frame,
    patient,
    shelf_of_rows,
    snapshot_of,
)

LET_GO = ("own", "started", "full", "dismissed", "seen", "applied")
LAX = dict.fromkeys((f"exclude_{name}" for name in LET_GO), False)


@pytest.fixture(scope="module")
def one_of_each() -> Shelf:
    """An item for every rule, and beside it one that just keeps it."""
    return shelf_of_rows(
        [{"id": "anna", "lat": 0.0, "lon": 0.0}, {"id": "ben"}],
        [
            {"id": "fine"},
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
            {"id": "blocked", "owner_id": "carl"},
            {"id": "seen"},
            {"id": "disliked"},
            {"id": "hidden", "tags": ["good", "bad"]},
            {"id": "good", "tags": ["good"]},
            {"id": "cheap", "price_min": 1.0, "price_max": 9.0},
            {"id": "dear", "price_min": 21.0},
            {"id": "in range", "price_min": 5.0, "price_max": 10.0},
            {"id": "far", "lat": 0.0, "lon": 1.0},  # 111 km
            {"id": "near", "lat": 0.0, "lon": 0.9},
        ],
        preferences=[
            {
                "user_id": "anna",
                "max_distance_km": 110.0,
                "preferred_price_min": 10.0,
                "preferred_price_max": 20.0,
                "blocked_tags": ["bad", "of no item"],
                "blocked_owners": ["carl", "of no item"],
            }
        ],
        interactions=[
            ("ben", "full", "apply", ago(days=2)),
            ("ben", "free", "apply", ago(days=2)),
            ("anna", "seen", "view", ago(days=2)),
            ("anna", "disliked", "dismiss", ago(days=2)),
            ("anna", "since", "apply", ago(days=2)),
        ],
    )


EXCLUDED = {
    "not_published": {"draft", "no status", "later"},
    "started": {"started"},
    "full": {"full", "closed"},
    "own": {"own"},
    "seen": {"seen", "disliked", "since"},
    "applied": {"since"},
    "dismissed": {"disliked"},
    "blocked_owner": {"blocked"},
    "hidden_tag": {"hidden"},
    "price": {"cheap", "dear"},
    "distance": {"far"},
}


def by_rule(shelf: Shelf, user: str | None, profile: Profile, **more: bool) -> dict[str, set[str]]:
    rows = np.arange(shelf.live.size, dtype=np.int32)
    found: dict[str, set[str]] = {}
    rules = broken(shelf.live, shelf.viewer(user), profile, rows, now=MOMENT, **more)
    for name, mask in rules:
        found.setdefault(name, set()).update(shelf.ids(rows[mask]))
    return found


def test_each_rule_excludes_its_own(one_of_each: Shelf) -> None:
    everything = by_rule(one_of_each, "anna", PROFILE, exclude_seen=True, exclude_applied=True)
    assert everything == EXCLUDED
    anybody = {name: EXCLUDED[name] for name in ("not_published", "started", "full")}
    assert by_rule(one_of_each, None, PROFILE, exclude_seen=True) == anybody


def test_the_profile_lets_go_and_asks_for_more(one_of_each: Shelf) -> None:
    lax = by_rule(one_of_each, "anna", patient(eligibility=LAX))
    assert set(lax) == set(EXCLUDED) - set(LET_GO)
    for name in ("seen", "applied"):
        strict, option = patient(eligibility={f"exclude_{name}": True}), f"exclude_{name}"
        assert by_rule(one_of_each, "anna", strict)[name] == EXCLUDED[name]
        assert name not in by_rule(one_of_each, "anna", strict, **{option: False})
        asked = by_rule(one_of_each, "anna", patient(eligibility=LAX), **{option: True})
        assert asked[name] == EXCLUDED[name]  # the request goes before the profile


def test_what_no_rule_names_is_allowed(one_of_each: Shelf) -> None:
    rows = np.arange(one_of_each.live.size, dtype=np.int32)
    viewer = one_of_each.viewer("anna")
    may = allowed(
        one_of_each.live, viewer, PROFILE, rows, now=MOMENT, exclude_seen=True, exclude_applied=True
    )
    everything = set(one_of_each.ids(rows))
    assert set(one_of_each.ids(rows[may])) == everything.difference(*EXCLUDED.values())
    assert len(allowed(one_of_each.live, viewer, PROFILE, rows[:0], now=MOMENT)) == 0


N = 6
numbers = st.sampled_from([math.nan, 0.0, 10.0, 20.0])
around = st.sampled_from([math.nan, MOMENT - 1, MOMENT, MOMENT + 1])
degrees = st.sampled_from([math.nan, 0.0, 60.0, 179.5])
rows_of_items = st.lists(st.integers(0, N - 1), unique=True).map(
    lambda rows: np.array(sorted(rows), np.int32)
)
COLUMNS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "published": (st.booleans(), bool),
    "publish_at": (around, np.float64),
    "starts_at": (around, np.float64),
    "capacity": (st.integers(-1, 2), np.int32),
    "applied": (st.integers(0, 2), np.int32),
    "owner": (st.integers(-1, 2), np.int32),
    "price_min": (numbers, np.float32),
    "price_max": (numbers, np.float32),
    "lat": (degrees.map(lambda value: min(value, 60.0)), np.float32),
    "lon": (degrees, np.float32),
}


@st.composite
def items_drawn(draw: st.DrawFn, items: Items) -> Items:
    columns: dict[str, Any] = {
        name: np.array(draw(st.lists(values, min_size=N, max_size=N)), dtype)
        for name, (values, dtype) in COLUMNS.items()
    }
    tags = draw(st.lists(st.integers(-1, 2), min_size=2 * N, max_size=2 * N))
    return replace(items, tags=np.array(tags, np.int32).reshape(N, 2), **columns)


few = st.lists(st.integers(0, 2), unique=True).map(lambda some: np.array(sorted(some), np.int32))
viewers = st.builds(
    Viewer,
    lat=st.sampled_from([math.nan, 0.0]),
    lon=st.just(0.0),
    own=st.integers(-1, 2),
    preferences=st.builds(
        Preferences,
        max_distance_km=st.sampled_from([math.nan, 0.0, 7_000.0]),
        price_min=numbers,
        price_max=numbers,
        blocked_tags=few,
        blocked_owners=few,
    ),
    seen=rows_of_items,
    applied=rows_of_items,
    dismissed=rows_of_items,
)
base = LiveCatalogue(
    snapshot_of(
        dataset_of(
            catalogue_of([], [{"id": str(n), "tags": ["a", "b", "c"]} for n in range(N)]),
            interactions_frame([]),
        )
    )
)


def may(items: Items, viewer: Viewer, row: int, rules: dict[str, bool], asked: bool) -> bool:
    """The rules, one item at a time."""
    preferences, known = viewer.preferences, lambda value: not math.isnan(value)
    if not items.published[row] or items.publish_at[row] > MOMENT:
        return False
    if rules["exclude_started"] and items.starts_at[row] < MOMENT:
        return False
    if rules["exclude_full"] and 0 <= items.capacity[row] <= items.applied[row]:
        return False
    if rules["exclude_own"] and items.owner[row] == viewer.own != -1:
        return False
    if asked and (row in viewer.seen or row in viewer.applied):
        return False
    if rules["exclude_dismissed"] and row in viewer.dismissed:
        return False
    if items.owner[row] in preferences.blocked_owners or set(items.tags[row]) & {
        *preferences.blocked_tags
    }:
        return False
    prices = [price for price in (items.price_min[row], items.price_max[row]) if known(price)]
    if prices and (max(prices) < preferences.price_min or min(prices) > preferences.price_max):
        return False
    if known(viewer.lat):
        here = items.lat[row : row + 1], items.lon[row : row + 1]
        return not haversine_km(viewer.lat, viewer.lon, *here)[0] > preferences.max_distance_km
    return True


@given(
    items_drawn(base.items),
    viewers,
    st.fixed_dictionaries({name: st.booleans() for name in LAX}),
    st.booleans(),
)
def test_rules_are_as_in_plain_python(
    items: Items, viewer: Viewer, rules: dict[str, bool], asked: bool
) -> None:
    live = LiveCatalogue(base.snapshot)
    live.items = items
    rows = np.arange(N, dtype=np.int32)
    profile = patient(eligibility=rules)
    found = allowed(
        live, viewer, profile, rows, now=MOMENT, exclude_seen=asked, exclude_applied=asked
    )
    assert found.tolist() == [may(items, viewer, row, rules, asked) for row in range(N)]
