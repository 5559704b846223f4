"""Why an item is in the feed, from what made its score.

A reason is a message id with parameters, so that a product can translate it, and
the English text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.profile import Profile
from models.ranker import Ranking, Viewer, taste_profile
from models.snapshot import Snapshot

ENGLISH = {
    "near_city": "Near you: {city}",
    "near": "Near you",
    "matches_tags": "Matches {tags}",
    "popular": "Popular this week",
    "well_liked": "Well liked by others",
    "new": "New",
    "trusted_owner": "From a trusted {owner}",
    "similar_users": "Liked by people with similar taste",
    "because_you_liked": "Because you liked {tags}",
    "for_you": "Recommended for you",
}
SHOWN_TAGS = 2
CLAIMS: dict[str, float] = {
    "location": math.exp(-3),  # within the maximum distance
    "engagement": 0.5,
    "recency": 0.5,  # younger than the half-life
    "owner_quality": 0.8,
}
"""Least score of a component for its text to be true; any above 0 will do for the others."""

POPULAR = 0.8
"""Least trending score of what is called popular this week; the top item has 1."""


@dataclass(frozen=True)
class Reason:
    code: str
    parameters: dict[str, str]

    @property
    def text(self) -> str:
        return ENGLISH[self.code].format(**self.parameters)


def reasons(snapshot: Snapshot, viewer: Viewer, profile: Profile, ranking: Ranking) -> list[Reason]:
    """One reason an item of the page: of the components that are high enough to speak of
    (``CLAIMS``), the one that lifts it most above an ordinary item."""
    names = [name for name in ranking.components if name in profile.scorer_weights]
    if not names or not len(ranking.items):
        return [Reason("for_you", {})] * len(ranking.items)
    weights: Mapping[Any, float] = profile.scorer_weights
    usual = _usual(snapshot)
    weighted = np.stack(
        [
            np.where(scores >= np.float32(CLAIMS.get(name, 0.0)), scores - usual.get(name, 0), 0)
            * weights[name]
            for name in names
            for scores in [np.minimum(ranking.components[name], 1)]
        ]
    )
    taste = taste_profile(snapshot, viewer.user) if viewer.user is not None else None
    best = weighted.argmax(axis=0)
    top = weighted.max(axis=0)
    return [
        _reason(snapshot, viewer, profile, int(item), names[best[place]], taste)
        if top[place] > 0
        else Reason("for_you", {})
        for place, item in enumerate(ranking.items)
    ]


def _usual(snapshot: Snapshot) -> dict[str, float]:
    """Mean of the components that are the same for everybody, over evenly spaced items."""
    items = snapshot.items
    step = max(1, len(items.ids) // 1_000)
    quality = items.owner_quality[::step]
    quality = quality[~np.isnan(quality)]
    return {
        "engagement": float(items.engagement[::step].mean()),
        "owner_quality": float(quality.mean()) if len(quality) else 0.0,
    }


def _reason(
    snapshot: Snapshot,
    viewer: Viewer,
    profile: Profile,
    item: int,
    component: str,
    taste: np.ndarray | None,
) -> Reason:
    items, manifest = snapshot.items, snapshot.manifest
    tags = items.tags.row(item)
    if component == "location":
        city = items.city[item]
        return (
            Reason("near_city", {"city": manifest.cities[city]})
            if city >= 0
            else Reason("near", {})
        )
    if component == "tags":
        shared = tags[np.isin(tags, viewer.tags)][:SHOWN_TAGS]
        return Reason("matches_tags", {"tags": ", ".join(manifest.tags[tag] for tag in shared)})
    if component == "content" and taste is not None:
        liked = tags[np.argsort(-taste[tags], kind="stable")]
        liked = liked[taste[liked] > 0][:SHOWN_TAGS]
        return Reason("because_you_liked", {"tags": ", ".join(manifest.tags[tag] for tag in liked)})
    if component == "engagement":
        return Reason("popular" if items.trending[item] >= POPULAR else "well_liked", {})
    if component == "owner_quality":
        return Reason("trusted_owner", {"owner": profile.names.owner})
    return Reason(
        {"recency": "new", "collaborative": "similar_users"}.get(component, "for_you"), {}
    )
