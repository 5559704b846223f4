"""The last word: what somebody did counts until they undo it; at one moment, it is undone.

Once for frames and once for arrays of one user's events; ``storage.events.history`` has it in SQL.
Which types do and undo is of ``models.profile.interaction_types``.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import polars as pl
from numpy.typing import NDArray


def last_words(rows: pl.LazyFrame, does: Collection[str], undoes: Collection[str]) -> pl.LazyFrame:
    """Of each pair with such a type: user_id, item_id, done_at, undone_at (null: never), and
    whether it ``stands``.

    Args:
        rows: columns user_id, item_id, type, occurred_at.
    """

    def last(types: Collection[str]) -> pl.Expr:
        return pl.col("occurred_at").filter(pl.col("type").is_in(list(types))).max()

    return (
        rows.filter(pl.col("type").is_in([*does, *undoes]))
        .group_by("user_id", "item_id")
        .agg(done_at=last(does), undone_at=last(undoes))
        .with_columns(
            stands=pl.col("done_at").is_not_null()
            & (pl.col("done_at") > pl.col("undone_at")).fill_null(True)
        )
    )


def that_stand(
    items: NDArray[np.int32],
    times: NDArray[np.float64],
    does: NDArray[np.bool_],
    undoes: NDArray[np.bool_],
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Of one user's events the rows of items with such an event, ascending, and whether what was
    done to each stands. O(n log n).

    Args:
        items, times: of each event. does, undoes: whether it is such a one.
    """
    rows = np.unique(items[does | undoes])
    done, undone = (np.full(len(rows), -np.inf) for _ in range(2))
    np.maximum.at(done, np.searchsorted(rows, items[does]), times[does])
    np.maximum.at(undone, np.searchsorted(rows, items[undoes]), times[undoes])
    return rows, done > undone
