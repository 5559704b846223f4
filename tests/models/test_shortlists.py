"""What is best for anybody."""

from __future__ import annotations

import numpy as np
import pytest

from models.catalogue.changes import Changes
from models.catalogue.viewers.viewer import Viewer
from models.feed.candidates import shortlists as module
from models.feed.candidates.rules import allowed
from models.feed.candidates.shortlists import Shortlists
from models.feed.scoring.time_order import appearance
from tests.models.test_live_catalogue import item
from tests.models.worlds import MOMENT, Shelf, ago, patient, shelf_of, shelf_of_rows


def test_lists_are_of_what_may_be_shown_best_first(shelf: Shelf) -> None:
    live, lists = shelf.live, shelf.shortlists
    items, rows = live.items, np.arange(live.size, dtype=np.int32)
    may = allowed(live, Viewer(), shelf.profile, rows, now=MOMENT)
    assert lists.shown.tolist() == rows[may].tolist()
    appeared = appearance(live, rows)
    for best, key in (
        (lists.popular, items.bias),
        (lists.fresh, appeared),
        (lists.by_time, appeared),
        (lists.trending, items.trending),
    ):
        assert np.isin(best, lists.shown).all()
        assert (np.diff(key[best]) <= 0).all()
    assert set(lists.popular.tolist()) == set(lists.shown.tolist())
    assert lists.made_at == MOMENT


@pytest.fixture
def small() -> Shelf:
    return shelf_of_rows(
        [],
        [
            {"id": "draft", "status": "draft"},
            {"id": "past", "starts_at": ago(days=1)},
            {"id": "young", "created_at": ago(days=1)},
            {"id": "old", "created_at": ago(days=99)},
            {"id": "undated"},
            {"id": "published late", "created_at": ago(days=99), "publish_at": ago(hours=1)},
        ],
    )


def test_new_items_are_explored(small: Shelf) -> None:
    lists = small.shortlists
    assert small.ids(lists.explored) == ["published late", "young"]
    assert lists.probabilities.sum() == pytest.approx(1)
    small.live.items.impressions[small.live.find_item("young")] = 101
    assert small.ids(shelf_of(small.live).shortlists.explored) == ["published late"]
    one = shelf_of(small.live, patient(exploration={"pool": 1})).shortlists
    assert len(one.explored) == len(one.probabilities) == 1


def test_what_trends_is_what_was_set_last(small: Shelf) -> None:
    live = small.live
    rows = np.array([live.find_item(id) for id in ("old", "young", "draft")], np.int32)
    live.set_trending({24: (rows, np.array([1.0, 0.5, 0.4], np.float32))})
    assert small.ids(shelf_of(live).shortlists.trending) == ["old", "young"]


def test_new_items_come_after_the_popular(small: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    small.live.apply(Changes("1:1:", items=[item("new"), item("new draft", status="draft")]))
    lists = shelf_of(small.live).shortlists
    assert small.ids(lists.popular)[-1] == "new"
    assert small.ids(lists.fresh)[0] == "new"
    assert len(lists.shown) == 5
    monkeypatch.setattr(module, "LENGTH", 2)
    short = Shortlists.of(small.live, patient(), MOMENT, np.random.default_rng(0))
    assert len(short.popular) == len(short.by_time) == 2
    assert len(short.shown) == 5


def test_of_nothing_there_is_nothing() -> None:
    lists = shelf_of_rows([], []).shortlists
    for name in ("shown", "popular", "trending", "fresh", "by_time", "explored", "probabilities"):
        assert len(getattr(lists, name)) == 0
