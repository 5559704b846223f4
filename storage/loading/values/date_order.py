"""Whether the day or the month comes first in dates like 1/2/2026, or the year as in 26-02-01."""

from __future__ import annotations

import re
from itertools import chain
from typing import ClassVar

import polars as pl

from storage.loading.values.conventions import Column, majority

_TWELVE_HOURS = r"(?i)\d\s*[ap]\.?\s?m\.?\s*$"  # of those who write the month first


class DateOrder:
    """The order in one column, once it is decided for all of it.

    Args:
        signs: what parts day, month and year.
        usual: the order where no cell tells; None: those dates are then none.
    """

    DAY: ClassVar = "day"
    MONTH: ClassVar = "month"
    YEAR: ClassVar = "year"  # of two digits

    def __init__(self, signs: str, usual: str | None) -> None:
        self.order, self._usual, self._signs = usual, usual, signs
        self._is_decided = False
        self._pattern = rf"^\s*(\d{{1,2}})[{signs}](\d{{1,2}})[{signs}](\d{{4}}|\d{{2}})\b"

    @property
    def dates(self) -> list[str]:
        """The patterns of such dates."""
        if self.order == self.YEAR:
            return [f"%y{sign}%m{sign}%d" for sign in self._signs]
        parts = {self.DAY: ("%d", "%m"), self.MONTH: ("%m", "%d")}.get(self.order or "")
        if parts is None:
            return []
        return [f"{sign}".join((*parts, year)) for sign in self._signs for year in ("%y", "%Y")]

    def fits(self, cell: str) -> bool:
        return re.match(self._pattern, cell) is not None

    def contradicts(self, cell: str) -> bool:
        """Whether a date of that order would have a month above 12."""
        parts = re.match(self._pattern, cell)
        return parts is not None and int(parts[1 if self.order == self.MONTH else 2]) > 12

    def decide(self, cells: pl.Series, column: Column) -> None:
        """By the whole ``column``, if these cells of it are such dates, and once."""
        if self._is_decided or not cells.str.contains(self._pattern).any():
            return
        choice = majority(cells, self._votes, column)
        if choice != 1 and self._is_year_first(cells, column):
            self.order = self.YEAR
        elif choice is not None:
            self.order = (self.DAY, self.MONTH)[choice]
        elif self._usual is None and cells.str.contains(_TWELVE_HOURS).any():
            self.order = self.MONTH
        self._is_decided = True

    def _is_year_first(self, cells: pl.Series, column: Column) -> bool:
        """Where both ends have two digits the years are those that lie closer together."""
        for part in chain([cells], column()):
            ends = part.str.extract_groups(
                rf"^\s*(\d\d)[{self._signs}]\d\d?[{self._signs}](\d\d)\b"
            )
            first, last = (end.cast(pl.Int8).drop_nulls() for end in ends.struct.unnest())
            if len(first) <= part.str.contains(self._pattern).sum() / 2:
                return False
            no_days = [int(((end == 0) | (end > 31)).sum()) for end in (first, last)]
            if no_days[0] != no_days[1]:
                return no_days[0] > no_days[1]
            if (apart := _spread(first)) != (other := _spread(last)):
                return apart < other
        return False

    def _votes(self, cells: pl.Series) -> tuple[int, int]:
        parts = cells.str.extract_groups(self._pattern).struct
        first, second = parts[0].cast(pl.Int8, strict=False), parts[1].cast(pl.Int8, strict=False)
        day, month = (first > 12) & (second <= 12), (second > 12) & (first <= 12)
        return int(day.sum()), int(month.sum())


def _spread(parts: pl.Series) -> float:
    """How far apart most of them are: a wrong one counts little."""
    return (parts.quantile(0.95) or 0) - (parts.quantile(0.05) or 0)
