"""How items were used."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.data.ragged import Ragged

PRIOR_USERS = 5
"""Users of the mean value that an item's own is mixed with."""


class Use(NamedTuple):
    """How items were used, each of shape (items,): users who touched it, and the mean weight of
    what they did, mixed with that of all items."""

    users: NDArray[np.int64]
    value: NDArray[np.float64]

    @classmethod
    def counted(cls, seen: Ragged, rows: int) -> Self:
        """O(pairs)."""
        users = np.bincount(seen.indices, minlength=rows)
        total = np.bincount(seen.indices, seen.values, rows)
        usual = float(seen.values.mean()) if len(seen.values) else 0.0
        return cls(users, (total + PRIOR_USERS * usual) / (users + PRIOR_USERS))

    def of(self, rows: NDArray[np.integer]) -> Use:
        """Of some rows; items that came later were not used when this was counted."""
        rows = np.minimum(rows, len(self.users) - 1)
        return Use(self.users[rows], self.value[rows])
