"""What every user likes, and when, as one part of it is replaced after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.tables.scores import Histories
from models.data.ids import IdIndex
from models.profile.schema import Profile
from models.recommenders.neighbours.pair_counts import larger


@dataclass(frozen=True)
class Likes:
    """
    Attributes:
        users: who did anything, as what someone turned away from may be deleted before what they
            liked.
        items: in the order of rows, which need not ascend: new ones come last.
        histories: of the users; ``liked`` has only ones.
        oldest: float64, shape (users,): epoch seconds of what each user did first of all that is
            kept.
    """

    users: IdIndex
    items: IdIndex
    histories: Histories
    oldest: NDArray[np.float64]

    @classmethod
    def of(
        cls, interactions: pl.LazyFrame, users: IdIndex, items: IdIndex, profile: Profile
    ) -> Self:
        """Of all that these users did. O(n log n).

        What a pair comes to is as in ``models.data.matrices``, but aged from its own newest
        interaction on, which does not change whether it is above 0.

        Args:
            interactions: columns user_id, item_id, type, occurred_at; others' rows are left out.
        """
        half_life, occurred = profile.matrix.half_life_days, pl.col("occurred_at")
        weights = {name: float(weight) for name, weight in profile.interaction_weights.items()}
        ages = (occurred.max() - occurred).dt.total_seconds() / 86_400
        aged = 1.0 if half_life is None else 0.5 ** (ages / half_life)
        of_items = interactions.filter(pl.col("item_id").is_not_null())
        pairs = (
            of_items.filter(pl.col("type").is_in(list(weights)))
            .with_columns(weight=pl.col("type").replace_strict(weights, return_dtype=pl.Float64))
            .group_by("user_id", "item_id")
            .agg(
                value=(pl.col("weight") * aged).sum(),
                at=occurred.filter(pl.col("weight") > 0).max().dt.timestamp("us") / 1e6,
            )
            .filter(pl.col("value") > 0)
            .collect()
        )
        first = (
            of_items.group_by("user_id").agg(at=occurred.min().dt.timestamp("us") / 1e6).collect()
        )
        row, column = users.indices(pairs["user_id"]), items.indices(pairs["item_id"])
        known = (row >= 0) & (column >= 0)
        row, column, shape = row[known], column[known], (len(users), len(items))
        liked = sparse.csr_array((np.ones(len(row), np.float32), (row, column)), shape=shape)
        times = sparse.csr_array((pairs["at"].to_numpy()[known], (row, column)), shape=shape)
        row = users.indices(first["user_id"])
        oldest = np.full(len(users), np.inf)
        oldest[row[row >= 0]] = first["at"].to_numpy()[row >= 0]
        return cls(users, items, Histories(liked, times), oldest)._in_order()

    @property
    def times(self) -> sparse.csr_array:
        assert self.histories.times is not None
        return self.histories.times

    def among(self, users: pl.Series) -> Self:
        """Of these users alone. O(their pairs + users)."""
        rows = self.users.indices(users)
        return self._of_rows(rows[rows >= 0])

    def replaced(self, changed: pl.Series, by: Self) -> Self:
        """The same, with what the changed users like now; who did nothing is not in it any more.
        O(pairs).

        Args:
            by: of the changed users, with the same items.
        """
        rows = self.users.indices(changed)
        kept = self._of_rows(np.setdiff1d(np.arange(len(self.users)), rows))
        return type(self)(
            IdIndex.in_order(pl.concat([kept.users.to_series(), by.users.to_series()])),
            self.items,
            Histories(
                _stacked(kept.histories.liked, by.histories.liked), _stacked(kept.times, by.times)
            ),
            np.concatenate([kept.oldest, by.oldest]),
        )._in_order()

    def with_items(self, ids: pl.Series) -> Self:
        """The same with new items, of which nobody did anything."""
        items = IdIndex.in_order(pl.concat([self.items.to_series(), ids]))
        n_users, n_items = len(self.users), len(items)
        liked = larger(self.histories.liked, n_users, n_items)
        histories = Histories(liked, larger(self.times, n_users, n_items))
        return type(self)(self.users, items, histories, self.oldest)

    def arrays(self) -> dict[str, Any]:
        return {
            "users.offsets": self.users.offsets,
            "users.data": self.users.data,
            "items.offsets": self.items.offsets,
            "items.data": self.items.data,
            "liked": self.histories.liked,
            "times": self.times,
            "oldest": self.oldest,
        }

    @classmethod
    def read(cls, arrays: dict[str, Any]) -> Self:
        """What ``arrays`` gave."""
        users, items = (
            IdIndex(arrays[f"{name}.offsets"], arrays[f"{name}.data"])
            for name in ("users", "items")
        )
        return cls(users, items, Histories(arrays["liked"], arrays["times"]), arrays["oldest"])

    def _of_rows(self, rows: NDArray[np.integer]) -> Self:
        histories = Histories(self.histories.liked[rows], self.times[rows])
        users = IdIndex.in_order(self.users.to_series().gather(rows))
        return type(self)(users, self.items, histories, self.oldest[rows])

    def _in_order(self) -> Self:
        """Users by id, without those who did nothing."""
        some = np.flatnonzero(np.isfinite(self.oldest))
        ids = self.users.to_series().gather(some)
        return self._of_rows(some[ids.arg_sort().to_numpy()])


def _stacked(above: sparse.csr_array, below: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array(sparse.vstack([above, below], format="csr"))
