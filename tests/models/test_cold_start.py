"""Little or nothing is known, and the feed makes sense all the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.catalogue.changes import Changes
from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.snapshot import Snapshot
from models.catalogue.viewers.viewer import Viewer
from models.data.scorers import haversine_km
from models.feed.candidates.sources import SEEN, names_of
from models.feed.scoring.scores import By, explained
from tests.models.test_live_catalogue import item, user
from tests.models.worlds import MOMENT, PLAIN, Shelf, ago, patient, shelf_of, shelf_of_rows

ANSWERS: list[By] = ["heuristic", "time"]


def test_an_unknown_user_gets_what_is_popular_and_new(shelf: Shelf) -> None:
    assert not shelf.viewer("nobody").known
    ranking = shelf.rank("nobody")
    assert len(ranking.rows) > 100
    engagement = shelf.live.items.engagement
    assert engagement[ranking.rows[:20]].mean() > 1.3 * engagement[shelf.shortlists.shown].mean()
    assert shelf.feed("nobody") == shelf.feed(None)
    assert shelf.rank("nobody", "time").rows[0] == shelf.shortlists.by_time[0]


ALIKE = [
    {"id": f"{tag}{city}{n}", "tags": [tag], "lat": lat, "lon": 0.0, "created_at": ago(days=n)}
    for tag in "xy"
    for city, lat in (("here", 0.0), ("there", 2.0))
    for n in range(1, 6)
]
"""Items that differ in tag, place and age alone."""


def test_with_only_a_place_what_is_near_comes_first(shelf: Shelf) -> None:
    alike = shelf_of_rows([{"id": "u", "lat": 0.1, "lon": 0.0}], ALIKE)
    for feed in (alike.feed("u"), alike.feed(Viewer(lat=0.1, lon=0.0))):
        assert all("there" not in id for id in feed[:10])
        assert feed.index("xhere1") < feed.index("xhere5")
    # where popularity, age and quality differ too
    items, shown = shelf.live.items, shelf.shortlists.shown
    lat, lon = float(items.lat[shown[0]]), float(items.lon[shown[0]])
    rows = shelf.rank(Viewer(lat=lat, lon=lon)).rows
    near = haversine_km(lat, lon, items.lat[rows], items.lon[rows]) < 50
    assert near[: min(10, near.sum())].mean() >= 0.6 > 10 * near.mean()


def test_with_only_interests_what_matches_comes_first(shelf: Shelf) -> None:
    alike = shelf_of_rows([{"id": "u", "tags": ["y"]}], ALIKE)
    assert {id[0] for id in alike.feed("u")[:10]} == {"y"}
    assert "tags" in names_of(int(alike.rank("u").sources[0]))
    items, top, everywhere = shelf.live.items, [], []
    for tag in range(0, len(shelf.live.tags), 9):
        rows = shelf.rank(Viewer(tags=np.array([tag], np.int32))).rows
        match = (items.tags[rows] == tag).any(axis=1)
        top.append(match[:5].mean())
        everywhere.append(match.mean())
    assert np.mean(top) > 5 * np.mean(everywhere)


def test_a_new_user_is_known_at_once(snapshot: Snapshot, tmp_path) -> None:
    live = LiveCatalogue(Snapshot.load(snapshot.save(tmp_path / "7")))
    shelf = shelf_of(live)
    tag = live.tags[0]
    live.apply(Changes("1:1:", users=[user("new", tags=[tag])]))
    viewer = live.viewer("new")
    assert (viewer.known, viewer.row) == (True, None)
    rows = shelf.rank("new").rows
    assert 0 in live.items.tags[rows[0]]


@pytest.fixture
def with_new_item(snapshot: Snapshot, tmp_path) -> Shelf:
    """It came after the snapshot and after the shortlists."""
    live = LiveCatalogue(Snapshot.load(snapshot.save(tmp_path / "7")))
    shelf = shelf_of(live, patient(diversity=PLAIN))
    like = live.items
    row = int(shelf.shortlists.popular[0])
    new = item(
        "brand new",
        tags=[live.tags[int(tag)] for tag in like.tags[row] if tag >= 0],
        category=live.categories[int(like.category[row])],
        lat=float(like.lat[row]),
        lon=float(like.lon[row]),
    )
    live.apply(Changes("1:1:", items=[new]))
    return shelf


@pytest.mark.parametrize("by", ["model", "heuristic", "time"])
def test_a_new_item_appears_at_once_at_a_plausible_place(
    with_new_item: Shelf, busy: str, by: By
) -> None:
    ranking = with_new_item.rank(busy, by)
    ids = with_new_item.ids(ranking.rows)
    place = ids.index("brand new")
    assert ids.count("brand new") == 1
    if by == "time":
        assert place == 0
    else:
        # neither buried nor above all that is known to be liked
        assert 0 < ranking.scores[place] < ranking.scores.max()
        assert 0 < place < 0.9 * len(ids)
        assert "fresh" in names_of(int(ranking.sources[place]))


def test_a_new_item_is_explored_once_the_shortlists_are_made(with_new_item: Shelf) -> None:
    live = with_new_item.live
    shelf = shelf_of(live, patient(exploration={"share": 1.0, "max_impressions": 0}))
    new = live.find_item("brand new")
    assert new in shelf.shortlists.explored
    places = []
    for seed in range(40):
        ranking = shelf.rank("u7", "model", rng=np.random.default_rng(seed))
        places.append(int(np.flatnonzero(ranking.rows == new)[0]))
        at = places[-1]
        assert 0 < ranking.propensities[at] <= 1
    undisturbed = with_new_item.feed("u7", "model").index("brand new")
    assert max(places) < 20 < undisturbed
    assert len(set(places)) > 1


def test_a_new_item_has_all_components_that_it_can_have(with_new_item: Shelf, busy: str) -> None:
    live = with_new_item.live
    row = np.array([live.find_item("brand new")], np.int32)
    viewer = live.viewer(busy)
    components = explained(live, viewer, with_new_item.profile, row, now=MOMENT)
    missing = {name for name, scores in components.items() if np.isnan(scores[0])}
    assert missing <= {"owner_quality", "collaborative"}
    assert components["recency"][0] >= 1
    assert components["engagement"][0] == 0
    assert [reason.text for reason in with_new_item.reasons(busy, row)]


@pytest.mark.parametrize("by", ANSWERS)
def test_an_empty_catalogue_answers_an_empty_feed(by: By) -> None:
    shelf = shelf_of_rows([{"id": "u", "lat": 0.0, "lon": 0.0, "tags": ["x"]}], [])
    for user_id in ("u", "nobody", None):
        ranking = shelf.rank(user_id, by, rng=np.random.default_rng(0))
        assert len(ranking.rows) == 0
        assert shelf.reasons(user_id, ranking.rows) == []


@pytest.mark.parametrize("by", ANSWERS)
def test_one_item_is_everybodys_feed(by: By) -> None:
    shelf = shelf_of_rows([{"id": "u", "lat": 0.0, "lon": 0.0, "tags": ["x"]}], [{"id": "one"}])
    for user_id in ("u", "nobody", None):
        ranking = shelf.rank(user_id, by, rng=np.random.default_rng(0))
        assert shelf.ids(ranking.rows) == ["one"]
        assert 0 <= ranking.scores[0] <= 1
        assert len(shelf.reasons(user_id, ranking.rows)) == 1


def test_the_first_item_ever_comes_from_a_change() -> None:
    shelf = shelf_of_rows([], [])
    shelf.live.apply(Changes("1:1:", items=[item("first", tags=["x"], title="First")]))
    assert shelf.feed(None) == shelf.feed(None, "time") == ["first"]
    later = shelf_of(shelf.live)
    assert later.feed(None) == ["first"]
    shelf.live.apply(Changes("1:2:", removed_items=["first"]))
    assert later.feed(None) == []


def test_a_user_of_a_model_without_history_is_ranked_by_it(snapshot: Snapshot) -> None:
    users = replace(snapshot.users, vectors=snapshot.users.vectors * 0)
    shelf = shelf_of(replace(snapshot, users=users), patient(diversity=PLAIN))
    rows = shelf.rank("u7", "model").rows
    assert (np.diff(shelf.live.items.bias[rows]) <= 0).all()  # what is popular


def test_everything_was_seen() -> None:
    shelf = shelf_of_rows(
        [{"id": "u"}], [{"id": "one"}], interactions=[("u", "one", "view", ago(days=1))]
    )
    for by in ANSWERS:
        assert shelf.feed("u", by) == ["one"]
        assert shelf.rank("u", by).sources.tolist() == [SEEN]
        assert shelf.feed("u", by, exclude_seen=True) == []
        assert shelf.rank("u", by, exclude_seen=False).sources[0] != SEEN
        assert shelf.feed("u", by) == ["one"]
