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
    totals = votes(cells.gather_every(max(1, len(cells) // LOOKED_AT)))
    if not _is_clear(totals):
        totals = (0, 0)
        for part in column():
            first, second = votes(part)
            totals = totals[0] + first, totals[1] + second
            if _is_clear(totals):
                break
    return None if totals[0] == totals[1] else int(totals[1] > totals[0])


def _is_clear(totals: tuple[int, int]) -> bool:
    return sum(totals) >= ENOUGH and max(totals) >= CLEAR * sum(totals)
