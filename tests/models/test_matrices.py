"""The interaction matrix against a dictionary."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.ids import IdIndex
from models.data.interactions.matrices import InteractionMatrix, interaction_matrix, recent_items
from models.profile.interaction_types import DEFAULT_TYPES
from tests.models.worlds import NOW, Interaction, ago, interactions_frame

WEIGHTS = {"apply": 10.0, "unapply": -10.0, "view": 1.0, "dismiss": -5.0}
TYPES = [*WEIGHTS, "impression", "search", None]
PEOPLE = ["u1", "u2", "ghost", None]
THINGS = ["i1", "i2", "ghost", None]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE),
        st.sampled_from(THINGS),
        st.sampled_from(TYPES),
        st.integers(-3, 20).map(lambda hours: ago(hours=hours)),
    ),
    max_size=40,
)


def made(rows: list[Interaction], weights: dict[str, float] = WEIGHTS, **more) -> InteractionMatrix:
    users, items = IdIndex.of(["u1", "u2"]), IdIndex.of(["i1", "i2"])
    return interaction_matrix(interactions_frame(rows), users, items, weights, **more)


def pairs(matrix: InteractionMatrix, what: str) -> dict[tuple[str, str], float]:
    entries = getattr(matrix, what).tocoo()
    return {
        (matrix.users[int(row)], matrix.items[int(column)]): float(value)
        for row, column, value in zip(*entries.coords, entries.data, strict=True)
    }


@given(ROWS)
def test_sums_by_pair_and_the_last_word(rows: list[Interaction]) -> None:
    values: dict[tuple, float] = {}
    said: dict[tuple, list] = {}
    for user, item, type, at in rows:
        if user in ("u1", "u2") and item in ("i1", "i2") and type in WEIGHTS:
            values[user, item] = values.get((user, item), 0) + WEIGHTS[type]
            if type in ("apply", "unapply"):
                said.setdefault((user, item), []).append((at, type == "unapply"))
    matrix = made(rows)
    assert pairs(matrix, "values") == values
    applied = {pair for pair, words in said.items() if not max(words)[1]}
    assert pairs(matrix, "applied") == dict.fromkeys(applied, 1.0)
    assert pairs(matrix, "positive") == {pair: v for pair, v in values.items() if v > 0}
    assert matrix.values.dtype == matrix.liked.dtype == matrix.applied.dtype == np.float32


@pytest.mark.parametrize(
    ("words", "applied"),
    [
        (["apply"], True),
        (["apply", "unapply"], False),
        (["unapply", "apply"], True),
        (["apply", "unapply", "apply"], True),
        (["apply", "apply", "unapply"], False),
        (["unapply"], False),
    ],
)
def test_the_last_word_whatever_the_order_of_rows(words: list[str], applied: bool) -> None:
    rows: list[Interaction] = [
        ("u1", "i1", word, ago(hours=9 - hour)) for hour, word in enumerate(words)
    ]
    for order in (rows, rows[::-1]):
        assert pairs(made(order), "applied") == ({("u1", "i1"): 1.0} if applied else {})


def test_an_unapply_without_a_weight_is_heard_and_counts_nothing() -> None:
    rows: list[Interaction] = [
        ("u1", "i1", "apply", ago(days=2)),
        ("u1", "i1", "unapply", ago(days=1)),
    ]
    matrix = made(rows, {"apply": 10.0})
    assert pairs(matrix, "values") == {("u1", "i1"): 10}
    assert pairs(matrix, "applied") == {}


def test_what_cancels_out_was_still_seen() -> None:
    matrix = made([("u1", "i1", "apply", ago(days=2)), ("u1", "i1", "unapply", ago(days=1))])
    assert pairs(matrix, "values") == {("u1", "i1"): 0}
    assert pairs(matrix, "liked") == {}


def test_half_life() -> None:
    rows: list[Interaction] = [
        ("u1", "i1", "view", ago(days=7)),
        ("u1", "i2", "view", NOW),
        ("u2", "i2", "view", NOW + timedelta(days=7)),  # the future counts as now
    ]
    values = pairs(made(rows, half_life_days=7, now=NOW), "values")
    assert values == {("u1", "i1"): 0.5, ("u1", "i2"): 1, ("u2", "i2"): 1}
    long_ago = [(user, item, type, at - timedelta(days=9_000)) for user, item, type, at in rows[:2]]
    assert pairs(made(long_ago, half_life_days=7, now=NOW), "values") == {
        ("u1", "i1"): 0.5, ("u1", "i2"): 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match="now"):
        made(rows, half_life_days=7)


def test_the_highest_weights_stay_finite() -> None:
    rows: list[Interaction] = [("u1", "i1", "view", NOW)] * 1000
    assert np.isfinite(made(rows, {"view": 1e6}).liked.data).all()


def test_nobody_and_nothing() -> None:
    nothing = interactions_frame([])
    empty = interaction_matrix(nothing.lazy(), IdIndex.of([]), IdIndex.of([]), WEIGHTS)
    assert empty.values.shape == empty.applied.shape == (0, 0)
    assert made([]).values.nnz == 0
    assert isinstance(nothing, pl.DataFrame)


@given(ROWS, st.integers(1, 3))
def test_recent_items_against_plain_python(rows: list[Interaction], count: int) -> None:
    users, items = IdIndex.of(["u1", "u2"]), IdIndex.of(["i1", "i2", "i3"])
    rows = [*rows, ("u1", "i3", "like", ago(hours=-9))]  # has no weight
    last: dict[tuple[str, str], tuple] = {}
    heaviest: dict[tuple[str, str], float] = {}
    for user, item, type, at in rows:
        weight = WEIGHTS.get(type or "", 0)
        if user in ("u1", "u2") and item in ("i1", "i2", "i3") and weight > 0:
            assert item is not None
            last[user, item] = max(last.get((user, item), (at,)), (at,))
            heaviest[user, item] = max(heaviest.get((user, item), 0), weight)
    frame = interactions_frame(rows)
    found, types = recent_items(frame.lazy(), users, items, WEIGHTS, count)
    assert found.shape == types.shape == (2, count)
    assert (found.dtype, types.dtype) == (np.int32, np.int8)
    for row, user in enumerate(("u1", "u2")):
        newest = sorted((pair for pair in last if pair[0] == user), key=lambda pair: pair[1])
        newest = sorted(newest, key=lambda pair: last[pair], reverse=True)[:count]
        known = found[row][found[row] >= 0]
        assert [(user, items[int(item)]) for item in known] == newest
        assert (found[row][len(newest) :] == -1).all()
        assert [WEIGHTS[DEFAULT_TYPES.names[type]] for type in types[row][: len(newest)]] == [
            heaviest[pair] for pair in newest
        ]


def test_recent_items_of_nobody() -> None:
    nothing = interactions_frame([])
    found, types = recent_items(nothing, IdIndex.of(["u"]), IdIndex.of([]), WEIGHTS, 2)
    assert found.tolist() == types.tolist() == [[-1, -1]]
    assert recent_items(nothing, IdIndex.of([]), IdIndex.of([]), WEIGHTS, 2)[0].shape == (0, 2)
