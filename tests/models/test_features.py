"""Features of users and items."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.features import Features, item_features, user_features
from models.data.ids import IdIndex
from tests.models.worlds import ITEMS, USERS, catalogue_of

WORD = st.text("abcxyz .,:é😀", min_size=1, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


def of_users(users: list[dict]) -> Features:
    frame = pl.DataFrame(users, schema=USERS)
    return user_features(frame, IdIndex.of(frame["id"]))


def named(made: Features) -> list[set[str]]:
    return [
        {made.names[column] for column in made.values[[row]].indices}
        for row in range(made.values.shape[0])
    ]


def attributes_of(*values: dict) -> list[set[str]]:
    """Twice each, so that no feature is that of a single row."""
    texts = [json.dumps(value, ensure_ascii=False) for value in values for _ in range(2)]
    return named(of_users([{"id": f"{n:03}", "attributes": t} for n, t in enumerate(texts)]))[::2]


def test_rows_sum_to_one_and_names_are_sorted() -> None:
    made = of_users(
        [
            {"id": "a", "tags": ["x", "y", "x"], "city": "Oslo"},
            {"id": "b", "tags": ["x", "y"], "city": "Oslo"},
            {"id": "c", "tags": ["only mine"]},
            {"id": "d"},
        ]
    )
    assert made.names == ["city:Oslo", "tag:x", "tag:y"]
    assert made.values.dtype == np.float32
    assert made.values.sum(axis=1) == pytest.approx([1, 1, 0, 0])
    assert named(made) == [set(made.names), set(made.names), set(), set()]


@given(st.dictionaries(WORD, WORD | st.booleans(), min_size=1, max_size=5))
def test_text_attributes_are_features_as_they_are(values: dict) -> None:
    expected = {
        f"{key}:{json.dumps(value) if isinstance(value, bool) else value}"
        for key, value in values.items()
    }
    assert attributes_of(values) == [expected]


@given(JSON)
def test_any_json_is_read(value: object) -> None:
    made = of_users([{"id": id, "attributes": json.dumps(value)} for id in "ab"])
    assert made.values.shape == (2, len(made.names))
    assert np.isfinite(made.values.data).all()


def test_numbers_become_deciles_and_digits_in_quotes_stay_text() -> None:
    rows = [
        {"id": f"{n:03}", "attributes": json.dumps({"age": n, "code": str(n // 2)})}
        for n in range(40)
    ]
    names = named(of_users(rows))
    assert [next(name for name in row if name.startswith("age")) for row in names] == [
        f"age:{n // 4}" for n in range(40)
    ]
    assert {"code:0", "code:19"} <= set.union(*names)


def test_items() -> None:
    catalogue = catalogue_of(
        [],
        [
            {"id": f"{n:03}", "category": "c", "owner_id": "o'\"😀", "price_min": float(n)}
            for n in range(20)
        ],
    )
    made = item_features(catalogue.items, IdIndex.of(catalogue.items["id"]))
    assert made.names == ["category:c", "owner_id:o'\"😀", *(f"price:{n}" for n in range(10))]
    assert np.bincount(made.values.indices).tolist() == [20, 20, *[2] * 10]


def test_nothing_is_known() -> None:
    assert of_users([]).values.shape == (0, 0)
    assert of_users([{"id": "a"}, {"id": "b"}]).values.shape == (2, 0)
    empty = pl.DataFrame(schema=ITEMS)
    assert item_features(empty, IdIndex.of([])).names == []
    only_prices = pl.DataFrame([{"id": "a", "price_max": np.nan}], schema=ITEMS)
    assert item_features(only_prices, IdIndex.of(["a", "b"])).values.shape == (2, 0)


def test_rows_of_unknown_ids_are_left_out() -> None:
    frame = pl.DataFrame([{"id": id, "city": "Oslo"} for id in ("a", "b", "ghost")], schema=USERS)
    assert user_features(frame, IdIndex.of(["a", "b"])).values.shape == (2, 1)
