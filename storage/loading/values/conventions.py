"""In which of two ways a column is written, where a single cell leaves it open.

1/2/2026 may be in January or in February, 2.000 may be two or two thousand. Other cells of the
column tell, and the majority of those decides for all: one wrong cell turns no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl

ENOUGH = 100  # cells that leave no doubt, after which no more are looked for
LOOKED_AT = 10_000
CLEAR = 0.9  # share of them that must agree

Votes = Callable[[pl.Series], tuple[int, int]]
"""How many cells are clearly of the first way, and of the second."""
Column = Callable[[], Iterator[pl.Series]]
"""The whole column, some cells at a time."""


def majority(cells: pl.Series, votes: Votes, column: Column) -> int | None:
    """0 or 1: the way of most cells; None: no cell tells, or as many speak for one as the other.

    ``cells`` are some of it. The whole is read only where a sample of them does not settle it.
    """
    found = votes(cells.gather_every(max(1, len(cells) // LOOKED_AT)))
    if not _is_clear(found):
        found = (0, 0)
        for part in column():
            first, second = votes(part)
            found = found[0] + first, found[1] + second
            if _is_clear(found):
                break
    return None if found[0] == found[1] else int(found[1] > found[0])


def _is_clear(found: tuple[int, int]) -> bool:
    return sum(found) >= ENOUGH and max(found) >= CLEAR * sum(found)
