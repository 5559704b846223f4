"""Texts come back as they went in, in their order."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from models.data.texts import Texts

TEXTS = st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=12), max_size=30)


@given(TEXTS, st.integers(0, 10))
def test_round_trip_of_any_text(texts: list[str | None], start: int) -> None:
    column = Texts.in_order(pl.Series(texts, dtype=pl.String).slice(start))
    expected = [text or "" for text in texts[start:]]
    assert len(column) == len(expected)
    assert [column[place] for place in range(len(column))] == expected
    assert column.to_list() == column.to_series().to_list() == expected
    assert Texts(column.offsets.copy(), column.data.copy()).to_list() == expected


def test_nothing() -> None:
    assert len(Texts.in_order(pl.Series([], dtype=pl.String))) == 0
    assert Texts(np.zeros(1, np.int64), np.zeros(0, np.uint8)).to_list() == []
    assert Texts.in_order(pl.Series([None, None])).to_list() == ["", ""]
