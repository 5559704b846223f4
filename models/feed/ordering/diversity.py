"""Diversity of one list: no owner or category takes it over, and its first items differ.

A group is what a list must not have too much of. It is an int32 column: the owner or the
category of each item, -1 for none, which never counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NO_GROUP = -1
SPREAD = 50
"""The spread of a list's scores is what its items up to there differ by."""
MOST_WORSE = 0.3
"""In spreads: an item that is better by more gives its place to none for variety's sake."""


def diversified(
    scores: NDArray[np.float32], groups: Sequence[tuple[NDArray[np.int32], float]]
) -> NDArray[np.intp]:
    """Order by ``score - sum of penalty * log1p(j)`` over the groups of an item, where ``j``
    is the number of better items of that group.

    For one group this is the greedy answer of maximal marginal relevance (Carbonell &
    Goldstein 1998), whose redundancy is ``log1p`` of the group's items chosen so far:
    within a group the greedy takes items by score, so it meets the j-th when j are chosen,
    at its value above; those values fall, and greedily merging lists that fall is sorting.

    The logarithm makes the objective ``scores - penalty * sum_g log(n_g!)`` of the groups'
    counts ``n_g``, which is submodular (as Teo et al. 2016, "Adaptive, Personalized
    Diversity for Visual Discovery") and, less a constant, the entropy of the groups' shares:
    a group's share goes with ``exp(score / penalty)`` at any length of list. A penalty
    linear in j would push weaker groups out of short lists and even out long ones.

    With several groups ``j`` still counts all better items, also those that another group
    moved down: an approximation of the greedy.

    Args:
        scores: shape (n,), not rising.
        groups: pairs of a column of shape (n,) and its penalty, in units of score, at
            least 0.

    Returns:
        Places in ``scores``, shape (n,). Ties keep their order. O(n log n).
    """
    lowered = scores.astype(np.float32)
    for column, penalty in groups:
        if penalty:
            lowered -= np.float32(penalty) * np.log1p(_better_of_same_group(column))
    return np.argsort(-lowered, kind="stable")


def _better_of_same_group(column: NDArray[np.int32]) -> NDArray[np.float32]:
    # Group and place in one integer: sorting those is several times faster than argsort.
    positions = np.arange(len(column))
    packed = np.sort((column.astype(np.int64) << 32) | positions)
    group = packed >> 32
    begins = np.empty(len(column), bool)
    begins[:1] = True
    np.not_equal(group[1:], group[:-1], out=begins[1:])
    better = np.empty(len(column), np.float32)
    better[packed & 0xFFFFFFFF] = positions - np.maximum.accumulate(np.where(begins, positions, 0))
    better[column == NO_GROUP] = 0
    return better


def in_spreads(scores: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scores of a ranked list in units of its spread: 1 at the top, 0 at place ``SPREAD``.

    So that a penalty means the same for every recommender and every user, however close together
    their best scores lie. A list without spread is all 0.

    Args:
        scores: shape (n,), not rising.
    """
    if not len(scores):
        return np.zeros(0, np.float32)
    lowest = scores[min(SPREAD, len(scores)) - 1]
    spread = float(scores[0] - lowest)
    return ((scores - lowest) / (spread if spread > 0 else 1.0)).astype(np.float32)


def varied(
    likeness: NDArray[np.floating], spreads: NDArray[np.floating], share: float, count: int
) -> NDArray[np.intp]:
    """The first ``count`` items of a ranked list, less like each other.

    While their mean likeness is above ``1 - share`` of what it was, one of them trades places
    with one behind: the two that lower it most for what the trade costs, the difference of the
    two ranks' discounts in nDCG, ``1 / log2(rank + 1)``. A greedy exchange, as Yu et al. 2009
    ("It takes variety to make a world") has it; at most ``count`` trades, none for an item that
    is worse by more than ``MOST_WORSE``. The first and the others each keep the order of the list.

    Args:
        likeness: shape (n, n), symmetric, in [0, 1]; the diagonal does not count.
        spreads: shape (n,): their scores as ``in_spreads`` gives them.
        share: of the mean likeness that must go, 0 to 1.

    Returns:
        Places in the list, shape (n,). O(count² * n).
    """
    n = len(likeness)
    inside = np.arange(n) < count
    if n <= count or share <= 0:
        return np.arange(n)
    likeness = likeness - np.diag(np.diag(likeness))
    discount = 1 / np.log2(np.arange(2, n + 2))
    to_inside = likeness @ inside  # of each item with those inside
    total = float(to_inside[inside].sum()) / 2
    goal = total * (1 - share)
    for _ in range(count):
        if total - goal <= 1e-9 * max(total, 1.0):
            break
        out, into = np.flatnonzero(inside), np.flatnonzero(~inside)
        gain = to_inside[out, None] - (to_inside[None, into] - likeness[np.ix_(out, into)])
        cost = discount[out, None] - discount[None, into]
        close = spreads[out, None] - spreads[None, into] <= MOST_WORSE
        value = np.where((gain > 1e-6) & close, np.minimum(gain, total - goal) / cost, -np.inf)
        a, b = np.unravel_index(value.argmax(), value.shape)
        if value[a, b] == -np.inf:
            break
        inside[out[a]], inside[into[b]] = False, True
        to_inside += likeness[into[b]] - likeness[out[a]]
        total -= float(gain[a, b])
    return np.concatenate((np.flatnonzero(inside), np.flatnonzero(~inside)))


def likeness_of(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Cosine of each two items as sets of labels (their tags), shape (n, n).

    Args:
        labels: shape (n, w), distinct in a row; negative: none. An item without labels is like
            nothing.
    """
    labelled = labels >= 0
    distinct, label = np.unique(labels[labelled], return_inverse=True)
    has = np.zeros((len(labels), len(distinct)), np.float32)
    has[np.nonzero(labelled)[0], label] = 1
    has /= np.sqrt(np.maximum(labelled.sum(axis=1, keepdims=True), 1))
    return has @ has.T


def limit_runs(
    order: NDArray[np.integer],
    groups: Sequence[tuple[NDArray[np.int32], int]],
    pinned: NDArray[np.bool_] | None = None,
) -> NDArray[np.intp]:
    """No more than ``limit`` items in a row of one group, as far as the items allow.

    Each position takes the best item left that makes no run too long or, when there is
    none, the best one left. A list without long runs is only looked at.

    Args:
        order: distinct items, best first, shape (n,): rows of the columns of ``groups``.
        groups: pairs of a column and its limit, at least 1.
        pinned: shape (n,): items that stay at their places.

    Returns:
        The same items, shape (n,). A repair takes a step of Python an item from the first
        long run on: cut n to what somebody may see.
    """
    items = order.astype(np.intp)
    columns = [column[items] for column, _ in groups]
    limits = [limit for _, limit in groups]
    pairs = zip(columns, limits, strict=True)
    trouble = min((_first_too_many(*pair) for pair in pairs), default=len(items))
    if trouble == len(items):
        return items
    start = max(0, trouble - max(limits))  # with the runs that lead up to it
    stays = np.zeros(len(items), bool) if pinned is None else pinned
    repaired = _repaired(
        [column[start:].tolist() for column in columns], limits, stays[start:].tolist()
    )
    return np.concatenate((items[:start], items[start:][repaired]))


def _first_too_many(column: NDArray[np.int32], limit: int) -> int:
    """The first place that makes a run longer than the limit; the length when none does."""
    again = (column[1:] == column[:-1]) & (column[1:] != NO_GROUP)
    for _ in range(limit - 1):  # then: again and again
        again = again[1:] & again[:-1]
    return int(again.argmax()) + limit if again.any() else len(column)


def _repaired(columns: list[list[int]], limits: list[int], pinned: list[bool]) -> list[int]:
    """The places of the order that ``limit_runs`` describes.

    A set of places is an integer whose highest bit is the best place: the best that fits
    takes one operation a group, however many items were passed over.
    """
    n = len(columns[0])
    bits = [1 << shift for shift in range(n - 1, -1, -1)]
    everywhere = (1 << n) - 1
    parts = []
    for part, (column, limit) in enumerate(zip(columns, limits, strict=True)):
        outside: dict[int, int] = {}  # the places that are not of a group
        for group, bit in zip(column, bits, strict=True):
            outside[group] = outside.get(group, everywhere) ^ bit
        outside[NO_GROUP] = everywhere
        parts.append((part, column, limit, outside, _pinned_next(column, pinned)))

    last, lengths = [NO_GROUP] * len(parts), [0] * len(parts)
    placed = []
    left = sum(bit for bit, stays in zip(bits, pinned, strict=True) if not stays)
    for position in range(n):
        index = position
        if not pinned[position]:
            fits = left
            for part, _, limit, outside, following in parts:
                if lengths[part] >= limit:
                    fits &= outside[last[part]]
                group, run = following[position]
                if (lengths[part] if last[part] == group else 0) + 1 + run > limit and run:
                    fits &= outside[group]
            index = n - (fits or left).bit_length()
            left ^= bits[index]
        placed.append(index)
        for part, column, *_ in parts:
            if column[index] != last[part]:
                last[part], lengths[part] = column[index], 0
            lengths[part] += 1
    return placed


def _pinned_next(column: list[int], pinned: list[bool]) -> list[tuple[int, int]]:
    """The group of the pinned items right behind each position, and how many they are."""
    following = [(NO_GROUP, 0)] * len(column)
    for position in range(len(column) - 2, -1, -1):
        if pinned[position + 1]:
            group = column[position + 1]
            behind, run = following[position + 1]
            following[position] = group, 1 + (run if behind == group else 0)
    return following
