"""A ranked list, and what may put one in order behind the recommender."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Indices, Viewer
from models.data.scorers import Scores
from models.feed.candidates.sources import Bits
from models.feed.context import Context
from models.profile.schema import Profile


@dataclass(frozen=True)
class Ranking:
    """A ranked list.

    Attributes:
        rows: int32, shape (n,), best first.
        scores: float32 in [0, 1], shape (n,): each item's own. They fall, but where diversity
            or exploration moved an item.
        sources: uint16, shape (n,): where each came from (``models.feed.candidates.sources.BITS``),
            ``RANKED`` and ``SEEN``.
        propensities: float32 in (0, 1], shape (n,): how likely this item was at this place,
            given those before it.
        explored: shape (n,): put there by exploration.
        chances: float32, shape (n, actions): how likely each action that the profile values is,
            of those that ``Ranker.weighed`` names; NaN of items that the ranker did not look at.
    """

    rows: Indices
    scores: Scores
    sources: Bits
    propensities: NDArray[np.float32]
    explored: NDArray[np.bool_]
    chances: NDArray[np.float32]

    @classmethod
    def certain(cls, rows: Indices, scores: Scores, sources: Bits) -> Ranking:
        """A list in which nothing is left to chance."""
        n = len(rows)
        return cls(rows, scores, sources, np.ones(n, np.float32), np.zeros(n, bool), _unknown(n, 0))

    def take(self, order: NDArray[np.integer] | slice) -> Ranking:
        """The list in another order, or a part of it."""
        return Ranking(*(column[order] for column in vars(self).values()))

    def followed_by(self, other: Ranking) -> Ranking:
        """The two lists in one."""
        actions = max(self.chances.shape[1], other.chances.shape[1])
        parts = (vars(one._with_chances(actions)).values() for one in (self, other))
        return Ranking(*(np.concatenate(pair) for pair in zip(*parts, strict=True)))

    def _with_chances(self, actions: int) -> Ranking:
        """The same with unknown chances, where it has none."""
        if self.chances.shape[1] == actions:
            return self
        return replace(self, chances=_unknown(len(self.rows), actions))


def _unknown(rows: int, actions: int) -> NDArray[np.float32]:
    return np.full((rows, actions), np.nan, np.float32)


class Ordered(NamedTuple):
    """What a ranker says of n items.

    Attributes:
        scores: shape (n,): what to order them by.
        shown: float32 in [0, 1], shape (n,): the same as people see it, in the same order.
        chances: float32, shape (n, actions): of each action that ``Ranker.weighed`` names.
    """

    scores: NDArray[np.floating]
    shown: Scores
    chances: NDArray[np.float32]


class Ranker(Protocol):
    """What puts the recommender's first items in order, as ``models.ranking.learned`` does."""

    def weighed(self, values: Mapping[str, float]) -> tuple[str, ...]:
        """The actions that it knows the chance of, of those that have a value."""
        ...

    def order(
        self,
        live: LiveCatalogue,
        viewer: Viewer,
        profile: Profile,
        rows: Indices,
        sources: Bits,
        *,
        now: float,
        context: Context,
    ) -> Ordered: ...
