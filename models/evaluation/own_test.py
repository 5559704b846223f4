"""Lists of ids held against a test set of one's own, by the metrics of every other evaluation."""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.recommenders.judging import hits_of, ranking_metrics


def metrics_of(
    lists: Sequence[Sequence[str]], relevant: Sequence[Set[str]], k: int
) -> dict[str, NDArray[np.float64]]:
    """``ranking_metrics`` of each user's first k items, each of shape (users,).

    Args:
        lists: item ids of each user, best first.
        relevant: of each user, at least one; those that no list can show count too.
    """
    column = {item: at for at, item in enumerate(sorted(set[str]().union(*relevant)))}
    starts = np.cumsum([0, *map(len, relevant)])
    wanted = np.array([column[item] for items in relevant for item in items], np.int64)
    matrix = sparse.csr_array(
        (np.ones(len(wanted)), wanted, starts), shape=(len(relevant), len(column))
    )
    top = np.full((len(lists), k), -1)
    for row, items in zip(top, lists, strict=True):
        first = items[:k]
        row[: len(first)] = [column.get(item, -1) for item in first]
    return ranking_metrics(hits_of(top, matrix), np.diff(starts))
