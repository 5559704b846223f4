"""One sort is the greedy, and no run is longer than it has to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.diversity import NO_GROUP, diversified, limit_runs, mmr


def scored(values: list[float]) -> np.ndarray:
    return np.sort(np.array(values, np.float32))[::-1]


def column(values: list[int]) -> np.ndarray:
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
    alone = diversified(scores, [(groups, 2 * penalty)])
    assert diversified(scores, [(groups, penalty), (nobody, 9), (groups, penalty)]) == (
        pytest.approx(alone)
    )
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


def test_mmr_is_its_formula(rng: np.random.Generator) -> None:
    scores = scored(rng.random(30).tolist())
    vectors = rng.normal(size=(30, 4)).astype(np.float32)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = [0]
    for _ in range(9):
        gain = 0.6 * scores - 0.4 * (units @ units[chosen].T).max(axis=1)
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
    rest = [item for item in range(30) if item not in chosen]
    assert chosen != list(range(10))
    assert mmr(scores, vectors, 0.4, 10).tolist() == chosen + rest


def test_mmr_parts_twins() -> None:
    vectors = np.array([[2, 0], [1, 0], [0, 3], [0, 0]], np.float32)
    scores = scored([0.9, 0.8, 0.7, 0.6])
    assert mmr(scores, vectors, 0.5, 4).tolist() == [0, 2, 3, 1]
    assert mmr(scores, vectors, 0.5, 1).tolist() == [0, 1, 2, 3]
    assert mmr(scores, vectors, 0.0, 99).tolist() == [0, 1, 2, 3]
    assert mmr(scores[:0], vectors[:0], 0.5, 3).tolist() == []


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
