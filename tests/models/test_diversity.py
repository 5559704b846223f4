"""One sort is the greedy, and no run is longer than it has to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.feed.ordering.diversity import (
    NO_GROUP,
    SPREAD,
    diversified,
    in_spreads,
    likeness_of,
    limit_runs,
    varied,
)


def scored(values: list[float]) -> np.ndarray:
    return np.sort(np.array(values, np.float32))[::-1]


def column(values: list[int] | list[list[int]]) -> np.ndarray:
    return np.array(values, np.int32)


@st.composite
def scores_and_groups(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(0, 25))
    # Hundredths, so that there are ties.
    values = draw(st.lists(st.integers(0, 100), min_size=n, max_size=n))
    groups = draw(st.lists(st.integers(NO_GROUP, 5), min_size=n, max_size=n))
    return scored([value / 100 for value in values]), column(groups)


def greedy(scores: np.ndarray, groups: np.ndarray, penalty: float) -> list[int]:
    """Maximal marginal relevance, a step a position."""
    left = list(range(len(scores)))
    chosen: list[int] = []
    while left:
        above = {item: int((groups[chosen] == groups[item]).sum()) for item in left}
        gain = [
            scores[item]
            - np.float32(penalty)
            * np.log1p(np.float32(0 if groups[item] == NO_GROUP else above[item]))
            for item in left
        ]
        chosen.append(left.pop(int(np.argmax(gain))))
    return chosen


@given(scores_and_groups(), st.floats(0, 2))
def test_one_sort_is_the_greedy(list_: tuple[np.ndarray, np.ndarray], penalty: float) -> None:
    scores, groups = list_
    assert diversified(scores, [(groups, penalty)]).tolist() == greedy(scores, groups, penalty)


@given(scores_and_groups(), st.floats(0, 2))
def test_several_groups_lower_a_score_by_their_sum(
    list_: tuple[np.ndarray, np.ndarray], penalty: float
) -> None:
    scores, groups = list_
    nobody = np.full(len(scores), NO_GROUP, np.int32)
    order = diversified(scores, [(groups, penalty), (nobody, 9), (groups, penalty)])
    before = [int((groups[:place] == group).sum()) for place, group in enumerate(groups)]
    lowered = scores - 2 * penalty * np.log1p(np.where(groups == NO_GROUP, 0, before))
    assert (np.diff(lowered[order]) < 1e-5).all()  # but for rounding
    everyone = np.arange(len(scores))
    assert diversified(scores, []).tolist() == everyone.tolist()
    assert diversified(scores, [(nobody, 9), (groups, 0)]).tolist() == everyone.tolist()


def test_shares_of_groups_go_with_their_scores() -> None:
    """A group ahead by penalty * log(3) has three times the places, in short lists and long."""
    groups = np.repeat(column([0, 1]), 500)
    scores = np.where(groups == 0, 1 + 0.1 * np.log(3), 1).astype(np.float32)
    order = diversified(scores, [(groups, 0.1)])
    for top in (40, 400):
        assert (groups[order[:top]] == 0).sum() == pytest.approx(0.75 * top, abs=1)


@given(st.lists(st.floats(-1e3, 1e3), max_size=80), st.floats(0.01, 100), st.floats(-50, 50))
def test_a_spread_is_the_same_in_every_unit(
    values: list[float], scale: float, shift: float
) -> None:
    scores = np.sort(np.array(values))[::-1]
    spreads = in_spreads(scores)
    assert (np.diff(spreads) <= 0).all()
    if len(scores) and scores[0] - scores[min(SPREAD, len(scores)) - 1] > 1e-3:
        assert spreads[0] == 1
        assert spreads[min(SPREAD, len(scores)) - 1] == 0
        assert in_spreads(scores * scale + shift) == pytest.approx(spreads, abs=1e-3)


def mean_likeness(likeness: np.ndarray, items: np.ndarray) -> float:
    part = likeness[np.ix_(items, items)]
    return float((part.sum() - np.trace(part)) / max(len(items) * (len(items) - 1), 1))


@given(st.integers(0, 30), st.integers(1, 12), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_the_first_are_less_alike_by_trades_alone(
    n: int, count: int, share: float, seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(-1, 6, (n, 3)).astype(np.int32)
    labels = np.where((labels == np.roll(labels, 1, axis=1)).any(axis=1)[:, None], -1, labels)
    likeness = likeness_of(labels)
    order = varied(likeness, np.zeros(n), share, count)
    assert sorted(order) == list(range(n))
    first, rest = order[:count], order[count:]
    assert (np.diff(first) > 0).all()
    assert (np.diff(rest) > 0).all()
    before = mean_likeness(likeness, np.arange(min(count, n)))
    after = mean_likeness(likeness, first)
    assert after <= before + 1e-6


def test_the_cheapest_trade_is_made() -> None:
    """Two of a kind stand first: the second gives its place to the best of another kind."""
    labels = column([[7], [7], [8], [9], [9]])
    likeness = likeness_of(labels)
    level, steep = np.zeros(5), np.arange(5.0, 0.0, -1.0)
    assert varied(likeness, level, 0.5, 3).tolist() == [0, 2, 3, 1, 4]
    assert varied(likeness, level, 0.0, 3).tolist() == [0, 1, 2, 3, 4]
    assert varied(likeness, steep, 0.5, 3).tolist() == [0, 1, 2, 3, 4]  # all behind are worse
    assert varied(likeness[:3, :3], level, 1.0, 3).tolist() == [0, 1, 2]
    assert varied(likeness[:0, :0], level, 0.5, 3).tolist() == []


def test_likeness_is_the_cosine_of_sets() -> None:
    labels = column([[1, 2, -1], [2, 3, 4], [-1, -1, -1], [1, 2, -1]])
    assert likeness_of(labels) == pytest.approx(
        np.array([[1, 6**-0.5, 0, 1], [6**-0.5, 1, 0, 6**-0.5], [0, 0, 0, 0], [1, 6**-0.5, 0, 1]])
    )


def too_many(above: list[int], item: int, groups: np.ndarray, limit: int) -> bool:
    run = [int(groups[other]) for other in above[-limit:]]
    return groups[item] != NO_GROUP and run == [int(groups[item])] * limit


@given(st.data())
def test_runs_are_no_longer_than_they_have_to_be(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 25))
    order = data.draw(st.permutations(range(n)))
    groups = [
        (
            column(data.draw(st.lists(st.integers(NO_GROUP, top), min_size=n, max_size=n))),
            data.draw(st.integers(1, 4)),
        )
        for top in data.draw(st.lists(st.integers(0, 8), max_size=3))
    ]
    limited = limit_runs(np.array(order, np.int32), groups).tolist()
    assert sorted(limited) == sorted(order)
    left = list(order)
    for position, item in enumerate(limited):
        above = limited[:position]
        fitting = [
            other
            for other in left
            if not any(too_many(above, other, group, limit) for group, limit in groups)
        ]
        assert item == (fitting or left)[0]  # so a list with nothing wrong is as it was
        left.remove(item)


def test_runs_of_a_catalogue() -> None:
    """Columns may be those of the whole catalogue: the order says which rows."""
    owners = column([7, 5, 5, 5, 6, NO_GROUP, NO_GROUP, NO_GROUP])
    assert limit_runs(np.array([3, 1, 2, 4]), [(owners, 2)]).tolist() == [3, 1, 4, 2]
    assert limit_runs(np.array([3, 1, 2]), [(owners, 1)]).tolist() == [3, 1, 2]  # nothing fits
    assert limit_runs(np.array([5, 7, 6]), [(owners, 1)]).tolist() == [5, 7, 6]
    assert limit_runs(np.zeros(0, int), [(owners, 1)]).tolist() == []


def test_runs_of_a_long_list() -> None:
    """A thousand items in two blocks alternate, however many are passed over."""
    halves = np.repeat(column([0, 1]), 500)
    order = limit_runs(np.arange(1000), [(halves, 1), (np.arange(1000, dtype=np.int32), 1)])
    assert order.tolist() == [half + i for i in range(500) for half in (0, 500)]


@given(st.data())
def test_pinned_items_stay(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 25))
    group = column(data.draw(st.lists(st.integers(NO_GROUP, 4), min_size=n, max_size=n)))
    pinned = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    limited = limit_runs(np.arange(n), [(group, data.draw(st.integers(1, 3)))], pinned)
    assert sorted(limited) == list(range(n))
    assert limited[pinned].tolist() == np.flatnonzero(pinned).tolist()


def test_what_is_pinned_counts_as_part_of_a_run() -> None:
    owners = column([1, 1, 2, 3, 2, 2])
    third = np.arange(6) == 2
    assert limit_runs(np.arange(6), [(owners, 1)], third).tolist() == [0, 3, 2, 1, 4, 5]
    last = np.arange(6) == 5
    assert limit_runs(np.arange(6), [(owners, 1)], last).tolist() == [0, 2, 1, 3, 4, 5]
    before = (
        np.arange(6) >= 4
    )  # two of a kind are pinned: nothing helps, but before them none is put
    assert limit_runs(np.arange(6), [(owners, 2)], before).tolist() == [0, 1, 2, 3, 4, 5]
