"""What a version of one table is served by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.catalogue.building import Vectors
from models.catalogue.tables.scores import MOST_STANDARD, Histories, ScoreTable
from models.catalogue.tables.stored import Blend

SAMPLE = 200
"""Users by whom the usual scores are found."""
PLACE, FIRST = 10, 50
"""As ``Blend`` has them."""


def served_by_table(
    name: str,
    table: ScoreTable,
    histories: Histories,
    bias: NDArray[np.float32] | None = None,
) -> Vectors:
    """A table alone, without vectors.

    Args:
        bias: what it ranks for anybody, shape (items,); None: nothing.
    """
    n_users, n_items = histories.liked.shape
    users = np.flatnonzero(np.diff(histories.liked.indptr))
    users = users[:: max(1, len(users) // SAMPLE)]
    asked = histories.asked(users, table.fade, weighted=table.weighted)
    scores = standard(table.scores(asked, users, histories.liked))
    return Vectors(
        np.zeros((n_users, 0), np.float32),
        np.zeros((n_items, 0), np.float32),
        np.zeros(n_items, np.float32) if bias is None else bias,
        tables={name: table},
        blend=Blend({name: 1.0}, *usual(scores)),
    )


def standard(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each user's scores with mean 0 and standard deviation 1 over the items, as
    ``TableScores.standard``; 0 where they do not differ."""
    spread = scores.std(axis=1, keepdims=True, dtype=np.float64)
    mean = scores.mean(axis=1, keepdims=True, dtype=np.float64)
    standardised = (scores - mean) / np.where(spread > 0, spread, 1)
    return np.clip(standardised, -MOST_STANDARD, MOST_STANDARD).astype(np.float32)


def usual(scores: NDArray[np.float32]) -> tuple[float, float]:
    """Centre and spread of a blend, of users' scores of all items, shape (users, items)."""
    if not scores.size:
        return 0.0, 1.0
    first = -np.sort(-scores, axis=1)[:, :FIRST]
    spread = float(first.std(axis=1).mean())
    return float(first[:, min(PLACE, first.shape[1]) - 1].mean()), spread or 1.0
