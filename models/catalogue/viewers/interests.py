"""Implicit interests: what a user's own events say of tags, categories and cities, and fade.

Of a tag (category, city) that events of weight ``w`` at ``t`` were about::

    score(now) = min(cap, Σ w · 0.5 ** ((now − t) / half life))

The sum is kept without the cap: so it fades by one factor as a whole, whenever it is looked at
(exponential forgetting, Ding and Li 2005, "Time weight collaborative filtering").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int32]


class Sums(NamedTuple):
    """Attributes:
    indices: int32, shape (n,), ascending, distinct.
    values: float64, shape (n,).
    """

    indices: Indices
    values: NDArray[np.float64]


NO_SUMS = Sums(np.zeros(0, np.int32), np.zeros(0))


@dataclass(frozen=True)
class Interests:
    """
    Attributes:
        tags, categories, cities: sums at the moment ``at``, in epoch seconds.
        half_life: seconds.
        cap: of a score.
    """

    tags: Sums = NO_SUMS
    categories: Sums = NO_SUMS
    cities: Sums = NO_SUMS
    at: float = 0.0
    half_life: float = 72 * 3600.0
    cap: float = 10.0

    def at_time(self, now: float) -> Interests:
        """The same sums as they are at ``now``."""
        fading = 0.5 ** ((now - self.at) / self.half_life)
        tags, categories, cities = (
            Sums(sums.indices, sums.values * fading) for sums in self._parts
        )
        return Interests(tags, categories, cities, now, self.half_life, self.cap)

    def scores(self) -> tuple[Sums, Sums, Sums]:
        """Capped scores of tags, categories and cities; below 0: the user turned away from it."""
        tags, categories, cities = (
            Sums(sums.indices, np.minimum(sums.values, self.cap)) for sums in self._parts
        )
        return tags, categories, cities

    def without_tags(self, hidden: Indices) -> Interests:
        """The same, with nothing learned of these tags."""
        if len(hidden) == 0 or len(self.tags.indices) == 0:
            return self
        kept = ~np.isin(self.tags.indices, hidden)
        tags = Sums(self.tags.indices[kept], self.tags.values[kept])
        return Interests(tags, self.categories, self.cities, self.at, self.half_life, self.cap)

    @property
    def _parts(self) -> tuple[Sums, Sums, Sums]:
        return self.tags, self.categories, self.cities


NO_INTERESTS = Interests()


def interests_of(
    tags: NDArray[np.int32],
    categories: Indices,
    cities: Indices,
    weights: NDArray[np.float64],
    times: NDArray[np.float64],
    *,
    now: float,
    half_life: float,
    cap: float,
) -> Interests:
    """What n events say, whatever their order. O(n log n).

    Args:
        tags: what each event was about, shape (n, w), -1 where it has fewer.
        categories, cities: shape (n,), -1 for none.
        weights: of each event, shape (n,); below 0 speaks against.
        times: when each happened, epoch seconds, shape (n,).
        half_life: seconds.
    """
    fading = weights * 0.5 ** ((now - times) / half_life)
    of_tags = np.repeat(fading, tags.shape[1]).reshape(tags.shape)
    return Interests(
        _summed(tags.ravel(), of_tags.ravel()),
        _summed(categories, fading),
        _summed(cities, fading),
        now,
        half_life,
        cap,
    )


def _summed(values: Indices, weights: NDArray[np.float64]) -> Sums:
    counted = (values >= 0) & (weights != 0)
    if not counted.any():
        return NO_SUMS
    values, weights = values[counted], weights[counted]
    order = np.lexsort((weights, values))  # the same sum, to the last bit, whatever the order was
    values, weights = values[order], weights[order]
    starts = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
    return Sums(values[starts].astype(np.int32), np.add.reduceat(weights, starts))
