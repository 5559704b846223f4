"""Rows of different length behave as a list of lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from models.data.ragged import Ragged

ROWS = st.lists(
    st.dictionaries(st.integers(0, 9), st.floats(-9, 9, width=32), max_size=6), max_size=8
)


def ragged(rows: list[dict[int, float]]) -> Ragged:
    """In no order at all: ``of`` has to sort."""
    entries = [(r, c, v) for r, row in enumerate(rows) for c, v in row.items()][::-1]
    row, column, value = (np.array([entry[part] for entry in entries]) for part in range(3))
    coordinates = (row.astype(int), column.astype(int))
    return Ragged.of(
        sparse.coo_array((value.astype(np.float32), coordinates), (len(rows), 10)).tocsr()
    )


def listed(some: Ragged) -> list[dict[int, float]]:
    return [
        dict(zip(some.row(r).tolist(), some.row_values(r).tolist(), strict=True))
        for r in range(some.rows)
    ]


@given(ROWS)
def test_rows_are_kept_and_ascend(rows: list[dict[int, float]]) -> None:
    made = ragged(rows)
    assert listed(made) == rows
    assert all((np.diff(made.row(row)) > 0).all() for row in range(made.rows))
    assert made.row_of_entry().tolist() == [r for r, row in enumerate(rows) for _ in row]
    matrix = sparse.csr_array((made.values, made.indices, made.indptr), shape=(made.rows, 10))
    assert listed(Ragged.of(matrix)) == rows


@given(ROWS, st.lists(st.integers(0, 7), max_size=12))
def test_gather_picks_rows_in_order(rows: list[dict[int, float]], wanted: list[int]) -> None:
    wanted = [row for row in wanted if row < len(rows)]
    picked = ragged(rows).gather(np.array(wanted, np.int32))
    assert listed(picked) == [rows[row] for row in wanted]
    assert picked.indices.dtype == np.int32


def test_empty() -> None:
    assert listed(Ragged.empty(3)) == [{}, {}, {}]
    assert listed(Ragged.empty(3).gather(np.array([2, 2]))) == [{}, {}]
    assert Ragged.empty(0).gather(np.zeros(0, np.int32)).rows == 0
