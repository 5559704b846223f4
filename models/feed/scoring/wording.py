"""The words of reasons: a message id with parameters, so that a product can translate it, and the
English text."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Indices, Viewer
from models.feed.scoring.taste import taste_of
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
NEAR = Reason("near", {})


def texts_of(profile: Profile) -> dict[str, str]:
    """All message ids and their English; ``GET /api/v1/reasons`` serves them to translators."""
    types = profile.interaction_types
    return ENGLISH | dict(text for name in types.names if (text := types.reason(name)))


class Wording:
    """Words for one viewer's page; what several items need is looked up once, for all.

    Methods take the place on the page and the row of an item.
    """

    def __init__(
        self, live: LiveCatalogue, viewer: Viewer, profile: Profile, rows: Indices
    ) -> None:
        self._live = live
        self._viewer = viewer
        self._profile = profile
        self._rows = rows
        self._applied: set[int] | None = None

    def nearby(self, index: int, row: int) -> Reason:
        city = int(self._live.items.city[row])
        return Reason("near_city", {"city": self._live.cities[city]}) if city >= 0 else NEAR

    def chosen_tags(self, index: int, row: int) -> Reason:
        return Reason("matches_tags", {"tags": ", ".join(self._chosen_tags[index])})

    def taste(self, index: int, row: int) -> Reason:
        if liked := self._liked_tags[index]:
            return Reason("because_you_liked_tags", {"tags": ", ".join(liked)})
        return self._like_your_taste(row)

    def popularity(self, index: int, row: int) -> Reason:
        is_popular = self._live.items.trending[row] >= POPULAR
        return Reason("popular" if is_popular else "well_liked", {})

    def owner(self, index: int, row: int) -> Reason:
        return Reason("trusted_owner", {"owner": self._profile.names.owner})

    def novelty(self, index: int, row: int) -> Reason:
        return Reason("new", {})

    def like_others(self, index: int, row: int) -> Reason:
        """Named after the item of the viewer's own that people who liked this liked too."""
        live, viewer, types = self._live, self._viewer, self._profile.interaction_types
        recent = viewer.recent
        if len(recent):
            near = live.items.neighbours[recent] == row
            cosine = np.where(near, live.items.neighbour_scores[recent], 0).max(axis=1, initial=0)
            best = int(cosine.argmax())
            text = types.reason(live.types[int(viewer.recent_types[best])])
            if cosine[best] >= SIMILAR and text is not None:
                code, english, own = *text, int(recent[best])
                about = {"title": live.title(own), "item_id": live.item_id(own)}
                return Reason(code, about, english)
        if self._applied is None:
            neighbours = live.users.neighbours[viewer.row]
            theirs = live.users.applied.gather(neighbours[neighbours >= 0])
            self._applied = set(theirs.indices.tolist())
        by_applying = row in self._applied and types.conversions == {"apply"}
        return Reason("similar_users_applied" if by_applying else "similar_users", {})

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
