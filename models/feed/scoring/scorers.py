"""The scorers: of each what it makes a component from, and how people read it.

Formulas are in ``models/data/scorers.py``, weights in the profile's ``scorer_weights``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.interests import NO_INTERESTS
from models.catalogue.viewers.viewer import Indices, Viewer
from models.data import scorers
from models.data.scorers import Scores
from models.feed.scoring.taste import similar_users, taste_of
from models.feed.scoring.wording import Reason, Wording
from models.profile.feed_sections import ScorerName
from models.profile.schema import Profile


@dataclass(frozen=True)
class Pairs:
    """Items of one viewer at a moment. ``rows``: of the items, shape (n,); ``now``: epoch s."""

    live: LiveCatalogue
    viewer: Viewer
    profile: Profile
    rows: Indices
    now: float

    @cached_property
    def tags(self) -> NDArray[np.int32]:
        return self.live.items.tags[self.rows]


@dataclass(frozen=True)
class Scorer:
    """
    Attributes:
        score: float32 in [0, 1], shape (n,), NaN where it is missing; None: for all.
        reason: what it says of an item that it lifted most.
        claim: least score for that to be true; 0: any above.
    """

    score: Callable[[Pairs], Scores | None]
    reason: Callable[[Wording, int, int], Reason]
    claim: float = 0.0


def _location(pairs: Pairs) -> Scores | None:
    viewer, items, rows = pairs.viewer, pairs.live.items, pairs.rows
    if not viewer.has_place:
        return None
    limit = pairs.profile.scorers.max_distance_km
    return scorers.location(viewer.lat, viewer.lon, items.lat[rows], items.lon[rows], limit)


def _tags(pairs: Pairs) -> Scores | None:
    wanted = pairs.viewer.wanted_tags
    return scorers.tags(wanted, pairs.tags, len(pairs.live.tags)) if len(wanted) else None


def _recency(pairs: Pairs) -> Scores:
    items, rows, limits = pairs.live.items, pairs.rows, pairs.profile.scorers
    return scorers.recency(
        np.fmax(items.created_at[rows], items.publish_at[rows]),
        pairs.now,
        limits.recency_half_life_days,
        limits.fresh_hours,
        limits.fresh_boost,
    )


def _content(pairs: Pairs) -> Scores | None:
    viewer, items, rows = pairs.viewer, pairs.live.items, pairs.rows
    if not len(viewer.liked) and viewer.interests is NO_INTERESTS:
        return None
    taste = taste_of(pairs.live, viewer)
    of = items.category[rows], items.city[rows], items.price_band[rows]
    return scorers.content(taste, pairs.tags, *of)


def _collaborative(pairs: Pairs) -> Scores | None:
    if pairs.viewer.row is None:
        return None
    return scorers.collaborative(*similar_users(pairs.live, pairs.viewer), pairs.rows)


SCORERS: dict[ScorerName, Scorer] = {
    "location": Scorer(_location, Wording.nearby, claim=math.exp(-3)),  # the maximum distance
    "tags": Scorer(_tags, Wording.chosen_tags),
    "engagement": Scorer(
        lambda pairs: pairs.live.items.engagement[pairs.rows], Wording.popularity, claim=0.5
    ),
    "recency": Scorer(_recency, Wording.novelty, claim=0.5),  # the half-life
    "owner_quality": Scorer(
        lambda pairs: pairs.live.items.owner_quality[pairs.rows], Wording.owner, claim=0.8
    ),
    "collaborative": Scorer(_collaborative, Wording.like_others),
    "content": Scorer(_content, Wording.taste),
}
