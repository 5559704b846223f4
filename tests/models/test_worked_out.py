"""What a request works out once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.catalogue.viewers.worked_out import WorkedOut

some_rows = st.lists(st.integers(0, 9), unique=True, max_size=10)


@given(st.lists(st.tuples(some_rows, st.booleans()), max_size=6))
def test_columns_are_made_only_for_items_that_were_not_among_the_last(
    asked: list[tuple[list[int], bool]],
) -> None:
    worked_out, made = WorkedOut(), list[tuple[set[int], bool]]()
    for rows, basis in asked:

        def make(rows: list[int] = rows, basis: bool = basis) -> dict[str, np.ndarray]:
            made.append((set(rows), basis))
            return {"square": np.square(rows, dtype=np.float32) + basis}

        last = made[-1] if made else None
        before = len(made)
        found = worked_out.columns("squares", np.array(rows, np.int32), (basis,), make)
        assert found["square"].tolist() == [row * row + basis for row in rows]
        found.clear()  # whoever asked may do with it what they want
        there = last is not None and last[1] == basis and last[0] and set(rows) <= last[0]
        assert len(made) - before == (0 if there else 1)


def test_a_value_is_made_once() -> None:
    worked_out, calls = WorkedOut(), list[int]()
    for _ in range(2):
        assert worked_out.value("none", lambda: calls.append(1)) is None
    assert calls == [1]
