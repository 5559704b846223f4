"""Why an item is in the feed, from what made its score.

A reason is a message id with parameters, so that a product can translate it, and
the English text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewer import Indices, Viewer
from models.data.scorers import Scores
from models.feed.scores import MODEL, taste_of
from models.profile.schema import Profile

ENGLISH = {
    "near_city": "Near you: {city}",
    "near": "Near you",
    "matches_tags": "Matches {tags}",
    "popular": "Popular this week",
    "well_liked": "Well liked by others",
    "new": "New",
    "new_here": "New here, be one of the first to see it",
    "trusted_owner": "From a trusted {owner}",
    "similar_users": "Liked by people with similar taste",
    "similar_users_applied": "People with similar taste applied",
    "because_you_liked_tags": "Because you liked {tags}",
    "because_you_liked_category": "Because you liked {category}",
    "like_your_taste": "Like what you chose before",
    "similar_to": "Similar to {title}",
    "for_you": "Recommended for you",
}
"""Message ids and their English, beside those of the profile's interaction types."""

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

SIMILAR = 0.1
"""Least cosine of two items for one to be the reason for the other."""


@dataclass(frozen=True)
class Reason:
    code: str
    parameters: dict[str, str]
    english: str | None = field(
        default=None, compare=False
    )  # where it is no constant of ``ENGLISH``

    @property
    def text(self) -> str:
        return (self.english or ENGLISH[self.code]).format(**self.parameters)


FOR_YOU = Reason("for_you", {})


def texts_of(profile: Profile) -> dict[str, str]:
    """All message ids and their English; ``GET /api/v1/reasons`` serves them to translators."""
    types = profile.interaction_types
    return ENGLISH | dict(said for name in types.names if (said := types.reason(name)))


def reasons(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    components: Mapping[str, Scores],
    explored: NDArray[np.bool_] | None = None,
) -> list[Reason]:
    """One reason an item: of the components that are high enough to speak of (``CLAIMS``), the
    one that lifts it most above an ordinary item.

    Where the model ranked, popularity counts by as much as the item's bias made its score,
    and what speaks of taste by as much as the user's vector did.

    Args:
        rows: of the page's items, shape (n,).
        components: as ``models.feed.pipeline.explained``.
        explored: items that exploration put there.
    """
    if len(rows) == 0:
        return []
    weights: Mapping[Any, float] = profile.scorer_weights
    names = [name for name in components if weights.get(name, 0) > 0]
    if not names:
        return [FOR_YOU] * len(rows)
    scores = np.minimum(np.stack([components[name] for name in names]), 1)
    least = np.array([[CLAIMS.get(name, 0.0)] for name in names], np.float32)
    usual = np.array([[live.usual.get(name, 0.0)] for name in names], np.float32)
    share = np.array([[weights[name]] for name in names], np.float32)
    with np.errstate(invalid="ignore"):
        lift = np.where(scores >= least, scores - usual, 0) * share
    if MODEL in components:
        of_taste = _share_of_taste(live, viewer, rows)
        everybody = np.array([[name in live.usual] for name in names])
        lift = lift * np.where(everybody, 1 - of_taste, of_taste)
    best, top = lift.argmax(axis=0).tolist(), lift.max(axis=0).tolist()
    teller = _Teller(live, viewer, profile, rows)
    new = explored.tolist() if explored is not None else [False] * len(rows)
    return [
        Reason("new_here", {})
        if new[place]
        else teller.tell(place, row, names[best[place]])
        if top[place] > 0
        else FOR_YOU
        for place, row in enumerate(rows.tolist())
    ]


def _share_of_taste(live: LiveCatalogue, viewer: Viewer, rows: Indices) -> NDArray[np.float32]:
    """Of what lifts each item, the user's vector's part, in [0, 1].

    What is recommended is mostly popular too, so popularity counts only as far as it sets an
    item apart from the others of the page.
    """
    assert viewer.vector is not None, "the model's score is among the components"
    user, bias = viewer.vector, live.items.bias[rows]
    mean = float(user @ live.moments.vector)
    taste = np.maximum(live.items.vectors[rows] @ user - mean, 1e-6)
    popular = np.maximum(bias - bias.mean(), 1e-6)
    return (taste / (taste + popular)).astype(np.float32)


class _Teller:
    """Words for one viewer's page; what several items need is looked up once, for all."""

    def __init__(
        self, live: LiveCatalogue, viewer: Viewer, profile: Profile, rows: Indices
    ) -> None:
        self._live = live
        self._viewer = viewer
        self._profile = profile
        self._rows = rows
        self._applied: set[int] | None = None

    def tell(self, place: int, row: int, component: str) -> Reason:
        items = self._live.items
        match component:
            case "location":
                city = int(items.city[row])
                if city >= 0:
                    return Reason("near_city", {"city": self._live.cities[city]})
                return Reason("near", {})
            case "tags":
                return Reason("matches_tags", {"tags": ", ".join(self._chosen_tags[place])})
            case "content":
                if liked := self._liked_tags[place]:
                    return Reason("because_you_liked_tags", {"tags": ", ".join(liked)})
                return self._like_your_taste(row)
            case "engagement":
                return Reason("popular" if items.trending[row] >= POPULAR else "well_liked", {})
            case "owner_quality":
                return Reason("trusted_owner", {"owner": self._profile.names.owner})
            case "collaborative":
                return self._like_others(row)
            case "recency":
                return Reason("new", {})
            case _:
                return FOR_YOU

    @cached_property
    def _chosen_tags(self) -> list[list[str]]:
        weights = np.zeros(len(self._live.tags) + 1, np.float32)
        weights[self._viewer.wanted_tags] = 1
        return self._heaviest_tags(weights)

    @cached_property
    def _liked_tags(self) -> list[list[str]]:
        taste = taste_of(self._live, self._viewer).tags
        return self._heaviest_tags(np.append(taste, np.float32(0)))

    def _heaviest_tags(self, weights: NDArray[np.float32]) -> list[list[str]]:
        """Names of the tags of each item that weigh most; the last weight is that of no tag."""
        tags = self._live.items.tags[self._rows]
        weight = weights[tags]
        first = np.argsort(-weight, axis=1, kind="stable")[:, :SHOWN_TAGS]
        heaviest = np.take_along_axis(np.where(weight > 0, tags, -1), first, axis=1).tolist()
        return [[self._live.tags[tag] for tag in row if tag >= 0] for row in heaviest]

    def _like_your_taste(self, row: int) -> Reason:
        live = self._live
        category = int(live.items.category[row])
        if category >= 0 and taste_of(live, self._viewer).categories[category] > 0:
            return Reason("because_you_liked_category", {"category": live.categories[category]})
        return Reason("like_your_taste", {})

    def _like_others(self, row: int) -> Reason:
        """Named after the item of the viewer's own that people who liked this liked too."""
        live, viewer, types = self._live, self._viewer, self._profile.interaction_types
        recent = viewer.recent
        if len(recent):
            alike = live.items.neighbours[recent] == row
            cosine = np.where(alike, live.items.neighbour_scores[recent], 0).max(axis=1, initial=0)
            best = int(cosine.argmax())
            said = types.reason(live.types[int(viewer.recent_types[best])])
            if cosine[best] >= SIMILAR and said is not None:
                code, english, own = *said, int(recent[best])
                about = {"title": live.title(own), "item_id": live.item_id(own)}
                return Reason(code, about, english)
        if self._applied is None:
            neighbours = live.users.neighbours[viewer.row]
            theirs = live.users.applied.gather(neighbours[neighbours >= 0])
            self._applied = set(theirs.indices.tolist())
        by_applying = row in self._applied and types.conversions == {"apply"}
        return Reason("similar_users_applied" if by_applying else "similar_users", {})
