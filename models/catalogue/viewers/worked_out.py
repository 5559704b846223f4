"""What a request works out about its viewer and needs again: for the page what ranked the list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value")
Name = TypeVar("Name", bound=str)
Column = NDArray[np.float32]


class _Columns(NamedTuple):
    """``rows`` ascending; ``order`` of each the index in the columns."""

    made_from: tuple[Any, ...]
    rows: NDArray[np.integer]
    order: NDArray[np.intp]
    columns: dict[Any, Column]

    def of(self, rows: NDArray[np.integer]) -> dict[Any, Column] | None:
        """The columns of these rows; None: not all of them are here. O(n log m)."""
        if not len(self.rows):
            return None
        index = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        if not (self.rows[index] == rows).all():
            return None
        return {name: column[self.order[index]] for name, column in self.columns.items()}


class WorkedOut:
    """Of one viewer of one live catalogue, for as long as the request takes."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._columns: dict[str, _Columns] = {}

    def value(self, name: str, make: Callable[[], Value]) -> Value:
        """What ``make`` returned when it was called first."""
        if name not in self._values:
            self._values[name] = make()
        value: Value = self._values[name]
        return value

    def columns(
        self,
        name: str,
        rows: NDArray[np.integer],
        made_from: tuple[Any, ...],
        make: Callable[[], dict[Name, Column]],
    ) -> dict[Name, Column]:
        """Columns about some items: parts of those that were made last, if these are among them,
        else made.

        Args:
            rows: of the items, shape (n,).
            made_from: what the columns depend on besides the items; with another they are made
                anew.
            make: the columns by name, each of shape (n,).
        """
        last = self._columns.get(name)
        columns = last.of(rows) if last is not None and last.made_from == made_from else None
        if columns is None:
            columns, order = make(), np.argsort(rows)
            self._columns[name] = _Columns(made_from, rows[order], order, columns)
        return dict(columns)
