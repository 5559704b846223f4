"""Ids of any text find their way in and out."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.ids import IdIndex

TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=12), max_size=30)


@given(TEXTS)
def test_round_trip_of_any_text(ids: list[str]) -> None:
    index = IdIndex.of(ids)
    assert index.to_list() == sorted(set(ids), key=str.encode)
    assert len(index) == len(set(ids))
    assert index.to_series().to_list() == index.to_list()
    for position, id in enumerate(index.to_list()):
        assert index[position] == id
        assert index.find(id) == position
    assert index.indices(pl.Series(ids, dtype=pl.String)).tolist() == [index.find(i) for i in ids]


@given(TEXTS, TEXTS)
def test_unknown_ids_are_told_apart(known: list[str], asked: list[str]) -> None:
    index = IdIndex.of(known)
    expected = [-1 if (found := index.find(id)) is None else found for id in asked]
    assert [found >= 0 for found in expected] == [id in set(known) for id in asked]
    assert index.indices(pl.Series(asked, dtype=pl.String)).tolist() == expected


@given(TEXTS, st.integers(0, 10), st.integers(0, 10))
def test_slices_and_chunks_are_read_from_where_they_start(
    ids: list[str], start: int, length: int
) -> None:
    series = pl.Series(["zzz", *ids, None, "zzz"], dtype=pl.String)
    part = series.slice(start, length)
    chunked = pl.concat([part, series.slice(0, 1)], rechunk=False)
    assert set(IdIndex.of(part).to_list()) == set(part.drop_nulls())
    found = IdIndex.of(series).indices(chunked)
    assert [i >= 0 for i in found] == [id is not None for id in chunked]


def test_nothing() -> None:
    index = IdIndex.of([])
    assert len(index) == 0
    assert index.find("") is None
    assert index.indices(pl.Series(["a", None], dtype=pl.String)).tolist() == [-1, -1]
    assert index.indices(pl.Series([None, None])).tolist() == [-1, -1]
    assert index.to_list() == []


def test_text_that_is_no_unicode_is_unknown() -> None:
    assert IdIndex.of(["a"]).find("\ud800") is None


@pytest.mark.parametrize("dtype", [np.int32])
def test_indices_are_small(dtype: type) -> None:
    assert IdIndex.of(["a", "b"]).indices(pl.Series(["b"])).dtype == dtype
