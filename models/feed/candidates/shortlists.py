"""What is best for anybody at the moment: made once a minute, used by every request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Indices, Viewer
from models.data.arrays import top_places
from models.data.ragged import Ragged
from models.feed.candidates.rules import Mask, allowed
from models.feed.ordering.exploration import selection_probabilities, to_explore
from models.feed.scoring.time_order import appearance, time_key
from models.profile.schema import Profile

LENGTH = 5_000
FRESH = 1_000
OF_TAG = 200
ANYBODY = Viewer()


@dataclass(frozen=True)
class Shortlists:
    """Rows of items that may be shown to somebody, best first.

    Attributes:
        shown: all of them, ascending.
        popular, trending, fresh, by_time: at most ``LENGTH`` (fresh: ``FRESH``) each.
        tagged: the most popular ones of each tag, at most ``OF_TAG``.
        explored: new items, and ``probabilities`` with which exploration takes each.
        made_at: epoch seconds. What came later is in the catalogue's ``latest_items``.
    """

    shown: Indices
    popular: Indices
    trending: Indices
    fresh: Indices
    by_time: Indices
    tagged: Ragged
    explored: Indices
    probabilities: NDArray[np.float64]
    made_at: float

    @classmethod
    def of(
        cls, live: LiveCatalogue, profile: Profile, now: float, rng: np.random.Generator
    ) -> Shortlists:
        """O(items), some 30 ms a million."""
        items, rules = live.items, profile.exploration
        everything = np.arange(live.size, dtype=np.int32)
        may = allowed(live, ANYBODY, profile, everything, now=now)
        shown = everything[may]
        order = live.snapshot.popular
        popular = [order[may[order]][:LENGTH], shown[shown >= len(live.snapshot.items.ids)]]
        trending = shown[items.trending[shown] > 0]
        appeared = appearance(live, shown)
        fresh = shown[top_places(appeared, FRESH)]
        new = np.flatnonzero(
            to_explore(
                items.impressions[shown],
                appeared,
                now=now,
                max_impressions=rules.max_impressions,
                max_age_days=rules.max_age_days,
            )
        )
        new = new[top_places(appeared[new], rules.pool)]
        explored = shown[new]
        return cls(
            shown=shown,
            popular=np.concatenate(popular)[:LENGTH],
            trending=trending[top_places(items.trending[trending], LENGTH)],
            fresh=fresh,
            by_time=shown[top_places(time_key(live, profile, shown), LENGTH)],
            tagged=_of_tags(live.snapshot.tag_items, may),
            explored=explored,
            probabilities=selection_probabilities(
                items.clicks[explored],
                items.impressions[explored],
                prior_clicks=rules.prior_clicks,
                prior_impressions=rules.prior_impressions,
                rng=rng,
            ),
            made_at=now,
        )


def _of_tags(lists: Ragged, may: Mask) -> Ragged:
    """The lists without what may not be shown, cut to ``OF_TAG``."""
    row, kept = lists.row_of_entry(), may[lists.indices]
    row, items = row[kept], lists.indices[kept]
    first = np.arange(len(row)) - np.searchsorted(row, row) < OF_TAG
    row, items = row[first], items[first]
    bounds = np.searchsorted(row, np.arange(lists.rows + 1))
    return Ragged(bounds, items, np.ones(len(items), np.float32))
