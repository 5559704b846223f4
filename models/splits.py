"""Which interactions are learnt from, and which are judged by.

Each split is a mask over n interactions: True is learnt from. A split by time is of
``models/evaluation.py`` (``split_moment``): it alone is how a model will be used. The others are
those that published tables use.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def leave_last_out(users: NDArray[np.integer], times: NDArray[np.number], *, last: int = 1) -> Mask:
    """Hold out the newest ``last`` interactions of each user that has more. O(n log n).

    Of equal times the later row is the newer. It lets the model see what others did after the
    held-out moment: kinder than a split by time.

    Args:
        users: shape (n,). times: shape (n,), in any unit.
    """
    if last < 1:
        raise ValueError(f"last: {last}, must be at least 1")
    from_newest = _place_in_group(users, -_ranks(times))
    sizes = np.unique(users, return_inverse=True, return_counts=True)
    many = sizes[2][sizes[1]] > last
    return ~(many & (from_newest < last))


def stratified_split(groups: NDArray[np.integer], *, share: float = 0.75, seed: int = 42) -> Mask:
    """Learn from a random ``share`` of each group, rounded down. O(n log n).

    Row by row the same as ``python_stratified_split`` of Microsoft's Recommenders 1.2 (with
    ``filter_by="item"`` and the items as groups), given the rows in the file's order: a random
    number a row, and of each group those with the lowest. A group of one is held out whole.

    Args:
        groups: of each interaction, shape (n,): its item, in Microsoft's table.
    """
    if not 0 < share < 1:
        raise ValueError(f"share: {share}, must lie between 0 and 1")
    random = np.random.RandomState(seed).rand(len(groups))
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return (_place_in_group(group, random) + 1) / counts[group] <= share


def folds(count: int, rows: int, *, seed: int = 0) -> NDArray[np.int64]:
    """The fold of each row, 0 to ``count - 1``, at random and of equal sizes to within one."""
    if count < 2:
        raise ValueError(f"folds: {count}, must be at least 2")
    return np.random.default_rng(seed).permutation(rows) % count


def _ranks(values: NDArray[np.number]) -> NDArray[np.int64]:
    """Place of each value in ascending order, ties by row."""
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks


def _place_in_group(groups: NDArray[np.integer], keys: NDArray[np.number]) -> NDArray[np.int64]:
    """Place of each row within its group by ascending key, from 0."""
    order = np.lexsort((keys, groups))
    ordered = groups[order]
    place = np.empty(len(groups), np.int64)
    place[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return place
