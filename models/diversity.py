"""Diversity of one list: no owner or category takes it over, no two neighbours are twins.

A group is what a list must not have too much of. It is an int32 column: the owner or the
category of each item, -1 for none, which never counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NO_GROUP = -1


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
    places = np.arange(len(column))
    packed = np.sort((column.astype(np.int64) << 32) | places)
    group = packed >> 32
    begins = np.empty(len(column), bool)
    begins[:1] = True
    np.not_equal(group[1:], group[:-1], out=begins[1:])
    better = np.empty(len(column), np.float32)
    better[packed & 0xFFFFFFFF] = places - np.maximum.accumulate(np.where(begins, places, 0))
    better[column == NO_GROUP] = 0
    return better


def mmr(
    scores: NDArray[np.float32], vectors: NDArray[np.float32], weight: float, count: int
) -> NDArray[np.intp]:
    """Maximal marginal relevance: each position takes the item with the highest
    ``(1 - weight) * score - weight * max cosine`` to the items above it.

    For the top of a list, where twins show: O(n * count * d), so cut n first.
    Source: Carbonell & Goldstein 1998, equation 2, with ``weight = 1 - lambda``.

    Args:
        scores: shape (n,), on the scale of a cosine.
        vectors: shape (n, d). A row of zeros is like nothing else.
        weight: 0 (as scored) to 1 (as different as can be).
        count: positions to fill; the rest keep their order.

    Returns:
        Places in ``scores``, shape (n,).
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(lengths > 0, lengths, 1)
    relevance = (1 - weight) * scores
    redundancy = np.full(len(scores), -1, np.float32)  # the lowest cosine, for nothing above
    chosen = np.empty(min(count, len(scores)), np.intp)
    for position in range(len(chosen)):
        best = (relevance - weight * redundancy).argmax()
        chosen[position] = best
        relevance[best] = -np.inf
        np.maximum(redundancy, units @ units[best], out=redundancy)
    return np.concatenate((chosen, np.flatnonzero(relevance > -np.inf)))


def limit_runs(
    order: NDArray[np.integer], groups: Sequence[tuple[NDArray[np.int32], int]]
) -> NDArray[np.intp]:
    """No more than ``limit`` items in a row of one group, as far as the items allow.

    Each position takes the best item left that makes no run too long or, when there is
    none, the best one left. A list without long runs is only looked at.

    Args:
        order: distinct items, best first, shape (n,): rows of the columns of ``groups``.
        groups: pairs of a column and its limit, at least 1.

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
    repaired = _repaired([column[start:].tolist() for column in columns], limits)
    return np.concatenate((items[:start], items[start:][repaired]))


def _first_too_many(column: NDArray[np.int32], limit: int) -> int:
    """The first place that makes a run longer than the limit; the length when none does."""
    again = (column[1:] == column[:-1]) & (column[1:] != NO_GROUP)
    for _ in range(limit - 1):  # then: again and again
        again = again[1:] & again[:-1]
    return int(again.argmax()) + limit if again.any() else len(column)


def _repaired(columns: list[list[int]], limits: list[int]) -> list[int]:
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
        parts.append((part, column, limit, outside))

    last, lengths = [NO_GROUP] * len(parts), [0] * len(parts)
    placed = []
    left = fits = everywhere
    for _ in range(n):
        place = n - (fits or left).bit_length()
        placed.append(place)
        left ^= bits[place]
        fits = left
        for part, column, limit, outside in parts:
            group = column[place]
            if group != last[part]:
                last[part], lengths[part] = group, 0
            lengths[part] += 1
            if lengths[part] >= limit:
                fits &= outside[group]
    return placed
