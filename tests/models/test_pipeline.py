"""The order of a feed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.catalogue.snapshots.snapshot import Snapshot
from models.data.arrays import top_places
from models.data.scorers import hybrid
from models.feed.candidates.rules import allowed
from models.feed.candidates.sources import names_of
from models.feed.scoring.scorers import SCORERS as SCORERS_OF
from models.feed.scoring.scorers import Pairs
from models.feed.scoring.scores import By, explained, model_scores, score_components, unit_scores
from models.feed.stage_timer import StageTimer
from models.profile.feed_sections import SCORERS
from models.profile.schema import load_profile
from tests.models.worlds import MOMENT, PLAIN, Shelf, ago, patient, shelf_of, shelf_of_rows

WAYS = get_args(By)


@given(st.lists(st.integers(0, 4) | st.just(-np.inf), max_size=30), st.integers(0, 40))
def test_top_places_is_a_stable_sort(scores: list[float], count: int) -> None:
    array = np.array(scores, np.float32)
    expected = sorted(range(len(scores)), key=lambda place: -scores[place])[:count]
    assert top_places(array, count).tolist() == expected


@pytest.fixture(scope="module")
def plain(snapshot: Snapshot) -> Shelf:
    """Neither diversity nor exploration; every item is a candidate."""
    return shelf_of(snapshot, patient(diversity=PLAIN, candidates={"pool": 1_000}))


@pytest.mark.parametrize("by", WAYS)
def test_order_is_that_of_the_scores(plain: Shelf, busy: str, by: By) -> None:
    """Of everything that the rules allow, by brute force."""
    live, viewer = plain.live, plain.viewer(busy)
    rows = np.arange(live.size, dtype=np.int32)
    rows = rows[allowed(live, viewer, plain.profile, rows, now=MOMENT, exclude_seen=True)]
    if by == "model":
        scores = live.items.vectors[rows] @ live.users.vectors[viewer.row] + live.items.bias[rows]
        assert scores == pytest.approx(model_scores(live, viewer, rows), rel=1e-5)
    elif by == "heuristic":
        components = score_components(live, viewer, plain.profile, rows, now=MOMENT)
        scores = hybrid(components, plain.profile.scorer_weights, len(rows))
    else:
        scores = live.items.created_at[rows]
    ranking = plain.rank(busy, by, exclude_seen=True)
    assert set(ranking.rows.tolist()) == set(rows.tolist())
    of_row = dict(zip(rows.tolist(), scores.tolist(), strict=True))
    ranked = np.array([of_row[row] for row in ranking.rows.tolist()])
    assert (np.diff(ranked) <= 1e-5 * np.abs(ranked).max()).all()
    assert (np.diff(ranking.scores) <= 0).all()


@pytest.mark.parametrize("by", WAYS)
def test_no_item_twice_and_none_that_is_excluded(shelf: Shelf, by: By) -> None:
    for user_id in shelf.live.users.ids.to_list()[::29]:
        rng = np.random.default_rng(1)
        ranking = shelf.rank(user_id, by, exclude_seen=True, rng=rng)
        n = len(ranking.rows)
        assert n > 20
        assert len(np.unique(ranking.rows)) == n
        assert {len(column) for column in vars(ranking).values()} == {n}
        assert ((ranking.scores >= 0) & (ranking.scores <= 1)).all()
        assert ((ranking.propensities > 0) & (ranking.propensities <= 1)).all()
        viewer = shelf.viewer(user_id)
        may = allowed(
            shelf.live, viewer, shelf.profile, ranking.rows, now=MOMENT, exclude_seen=True
        )
        assert may.all()


def test_the_list_is_no_longer_than_the_profile_says(snapshot: Snapshot) -> None:
    short = shelf_of(snapshot, patient(diversity=PLAIN, serving={"list_length": 7}))
    long = shelf_of(snapshot, patient(diversity=PLAIN))
    for by in WAYS:
        assert short.feed("u7", by) == long.feed("u7", by)[:7]


def test_without_chance_nothing_is_explored(shelf: Shelf, busy: str) -> None:
    ranking = shelf.rank(busy, "model")
    assert not ranking.explored.any()
    assert (ranking.propensities == 1).all()
    assert (shelf.rank(busy, "model").rows == ranking.rows).all()


def test_exploration_takes_places_of_new_items_only(shelf: Shelf, busy: str) -> None:
    rng = np.random.default_rng(3)
    ranking = shelf.rank(busy, "model", rng=rng)
    assert ranking.explored.any()
    assert np.isin(ranking.rows[ranking.explored], shelf.shortlists.explored).all()
    first = shelf.profile.exploration.first_position
    assert not ranking.explored[: first - 1].any()
    assert (ranking.propensities[ranking.explored] < 1).all()
    assert "explore" in names_of(int(ranking.sources[ranking.explored][0]))
    undisturbed = shelf.rank(busy, "model")
    assert set(ranking.rows.tolist()) == set(undisturbed.rows.tolist())
    by_time = shelf.rank(busy, "time", rng=rng)
    assert not by_time.explored.any()


def longest_run(values: np.ndarray) -> int:
    longest = run = 1
    for before, after in pairwise(values.tolist()):
        run = run + 1 if before == after != -1 else 1
        longest = max(longest, run)
    return longest


@pytest.mark.parametrize("by", ["model", "heuristic"])
def test_no_owner_in_a_row_beyond_the_limit(snapshot: Snapshot, by: By) -> None:
    live = shelf_of(snapshot).live
    items = replace(live.items, owner=live.items.owner % 3)  # three owners have everything
    live.items = items
    limits = {"max_run_owner": 2, "max_run_category": None}
    few = shelf_of(live, patient(diversity=limits, serving={"list_length": 60}))
    free = shelf_of(live, patient(diversity=PLAIN, serving={"list_length": 60}))
    runs = []
    for user_id in live.users.ids.to_list()[::29]:
        runs.append(longest_run(items.owner[free.rank(user_id, by).rows]))
        rows = few.rank(user_id, by).rows
        counts = np.bincount(items.owner[rows])
        if counts.max() <= 2 * (len(rows) - counts.max() + 1):  # avoidable
            # The last ones may be all of one owner: a greedy repair spends the others first.
            assert longest_run(items.owner[rows[:40]]) <= 2
    assert max(runs) > 2


def test_by_time_the_newest_or_what_starts_soonest() -> None:
    items: list[dict] = [
        {"id": "old", "created_at": ago(days=9), "starts_at": ago(days=-1)},
        {"id": "new", "created_at": ago(days=1), "starts_at": ago(days=-9)},
        {"id": "republished", "created_at": ago(days=8), "publish_at": ago(hours=1)},
        {"id": "undated", "starts_at": None},
        {"id": "begun", "created_at": ago(days=2), "starts_at": ago(hours=2)},
    ]
    for order, expected in (
        ("newest", ["republished", "new", "old", "undated"]),
        ("soonest", ["old", "new", "republished", "undated"]),
    ):
        shelf = shelf_of_rows([], items, profile=patient(eligibility={"time_order": order}))
        ranking = shelf.rank(None, "time")
        assert shelf.ids(ranking.rows)[:2] == expected[:2]
        assert sorted(shelf.ids(ranking.rows)) == sorted(expected)
        assert ranking.scores[-1] == 0
        assert (np.diff(ranking.scores) <= 0).all()


def test_the_model_knows_only_its_users(shelf: Shelf, snapshot: Snapshot) -> None:
    with pytest.raises(ValueError, match="does not know"):
        shelf.rank("?", "model")
    broken = replace(snapshot, items=replace(snapshot.items, bias=snapshot.items.bias * np.nan))
    with pytest.raises(FloatingPointError, match="not finite"):
        shelf_of(broken).rank("u5", "model")


def test_components_are_those_of_the_profile(shelf: Shelf, busy: str) -> None:
    live, rows = shelf.live, shelf.shortlists.popular[:9]
    known = explained(live, shelf.viewer(busy), shelf.profile, rows, now=MOMENT)
    assert set(known) == {*SCORERS, "model"}
    assert {len(scores) for scores in known.values()} == {9}
    nobody = explained(live, shelf.viewer(None), shelf.profile, rows, now=MOMENT)
    assert set(nobody) == set(SCORERS)
    for name in ("location", "tags", "collaborative", "content"):
        assert np.isnan(nobody[name]).all()


@pytest.mark.parametrize("by", ["model", "heuristic"])
def test_the_page_takes_what_ranked_the_list(
    shelf: Shelf, busy: str, by: By, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What made a score is worked out once, and is what it would be for the page alone."""
    of_tags, asked = SCORERS_OF["tags"], list[int]()

    def counted(pairs: Pairs) -> np.ndarray | None:
        asked.append(len(pairs.rows))
        return of_tags.score(pairs)

    monkeypatch.setitem(SCORERS_OF, "tags", replace(of_tags, score=counted))
    viewer = shelf.viewer(busy)
    first = shelf.rank(viewer, by).rows[20:0:-2]
    page = explained(shelf.live, viewer, shelf.profile, first, now=MOMENT, by=by)
    assert len(asked) == 1, asked
    alone = explained(shelf.live, shelf.viewer(busy), shelf.profile, first, now=MOMENT, by=by)
    assert page.keys() == alone.keys()
    for name, scores in alone.items():
        np.testing.assert_allclose(page[name], scores, rtol=1e-6, err_msg=name)
    explained(shelf.live, viewer, shelf.profile, first, now=MOMENT + 1, by=by)
    assert len(asked) == 3, "of another moment they are others"


def test_weights_of_the_request_go_before_those_of_the_profile(shelf: Shelf, busy: str) -> None:
    viewer = shelf.viewer(busy)
    rows = shelf.rank(busy, weights={"location": 1.0}).rows[:3]
    components = score_components(shelf.live, viewer, shelf.profile, rows, now=MOMENT)
    everywhere = score_components(
        shelf.live, viewer, shelf.profile, shelf.shortlists.shown, now=MOMENT
    )
    assert components["location"].min() >= np.nanpercentile(everywhere["location"], 95)


def test_a_scorer_that_the_profile_leaves_out_can_be_asked_for(snapshot: Snapshot) -> None:
    social = load_profile("social")
    assert "owner_quality" not in social.scorer_weights
    shelf = shelf_of(snapshot, patient(social, diversity=PLAIN))
    ranking = shelf.rank("u7", weights={"owner_quality": 1.0})
    quality = np.nan_to_num(shelf.live.items.owner_quality[ranking.rows])
    assert (np.diff(quality) <= 0).all()


def test_every_stage_is_timed(shelf: Shelf) -> None:
    timer = StageTimer()
    shelf.rank("u5", "model", timer=timer)
    assert list(timer.seconds) == ["candidates", "rules", "scores", "diversity", "exploration"]
    assert min(timer.seconds.values()) >= 0


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1))
def test_unit_scores_keep_the_order(scores: list[float]) -> None:
    array = np.sort(np.array(scores, np.float32))
    unit = unit_scores(array, float(array.mean()), float(array.std()))
    assert ((unit >= 0) & (unit <= 1)).all()
    assert (np.diff(unit) >= 0).all()


def test_a_catalogue_that_is_all_new_is_not_all_ties() -> None:
    """The boost of fresh items takes scores above 1; what is popular must still come first."""
    shelf = shelf_of_rows(
        [{"id": "u"}],
        [{"id": name, "created_at": ago(hours=1)} for name in ("a", "b", "c")],
        interactions=[("u", "c", "apply", ago(minutes=30))],
    )
    ranking = shelf.rank(None)
    assert shelf.ids(ranking.rows)[0] == "c"
    assert ranking.scores.max() <= 1
