"""Items on shelves in the order of a time: what a session draws from when only the time counts."""

from __future__ import annotations

import numpy as np

from storage.loading.samples.drawing import Floats, Ints

CHOICES = 4  # items that each impression is chosen from


class Shelves:
    """Items by group, and within it by time (microseconds)."""

    def __init__(self, group: Ints, time: Ints) -> None:
        self._order = np.lexsort((time, group))
        self._group = group[self._order]
        self._origin = int(time.min())
        self._span = int(time.max()) - self._origin + 2
        self._keys = self._group * self._span + time[self._order] - self._origin

    def draw(
        self, rng: np.random.Generator, group: Ints, time: Ints, appeal: Floats, *, later: bool
    ) -> Ints:
        """For each (group, time), one of the items around there, those of high ``appeal`` first.

        Args:
            appeal: of each item; a difference of 1 makes it e times as likely.
            later: from the items at and after the time, or else from those up to it.

        Returns:
            Numbers of items; -1 where the group has none on that side.
        """
        within = np.clip(time - self._origin + later * -1, -1, self._span - 1)
        index = np.searchsorted(self._keys, group * self._span + within, side="right")
        steps = np.arange(CHOICES) if later else -1 - np.arange(CHOICES)
        indices = index[:, None] + steps
        inside = np.clip(indices, 0, len(self._order) - 1)
        there = (indices == inside) & (self._group[inside] == group[:, None])
        items = self._order[inside]
        wish = np.where(there, appeal[items] + rng.gumbel(size=items.shape), -np.inf)
        chosen = wish.argmax(axis=1)[:, None]
        item = np.take_along_axis(items, chosen, axis=1)[:, 0]
        return np.where(there.any(axis=1), item, -1)
