"""Who looks at a feed: what is known of them, and what they asked to be spared."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.catalogue.viewers.interests import NO_INTERESTS, Interests
from models.catalogue.viewers.worked_out import WorkedOut
from models.data.arrays import top_places

Indices = NDArray[np.int32]
NOTHING: Indices = np.zeros(0, np.int32)
NOTHING.flags.writeable = False
AGAINST = 0.25
"""A dismissed item counts so much of a liked one: who dismisses an item looked at its kind."""
LEARNED_TAGS = 5
"""Who chose no tags is shown items of so many that they like most."""


@dataclass(frozen=True)
class Preferences:
    """What a user asked for (``feed.user_preferences``); these are rules, not tastes.

    Attributes:
        max_distance_km: NaN: any. Price limits likewise.
        blocked_tags, blocked_owners: what is never shown.
        personalized: false: the user does not want to be known.
    """

    max_distance_km: float = math.nan
    price_min: float = math.nan
    price_max: float = math.nan
    blocked_tags: Indices = field(default_factory=lambda: NOTHING)
    blocked_owners: Indices = field(default_factory=lambda: NOTHING)
    personalized: bool = True


NO_PREFERENCES = Preferences()


@dataclass(frozen=True)
class History:
    """What a user did, up to now. Rows are of one live catalogue.

    Attributes:
        seen, applied, dismissed: rows of items, ascending.
        liked, liked_weights: rows of items, ascending, and how much.
        recent, recent_types: as a viewer's.
        interests: what their events say of tags, categories and cities.
        vector: float32, shape (dims,): the model's, with what came after training folded in.
            None: the model knows nothing of this user.
        mark: tells the events that this is of from others.
    """

    seen: Indices
    applied: Indices
    dismissed: Indices
    liked: Indices
    liked_weights: NDArray[np.float32]
    recent: Indices
    recent_types: NDArray[np.int8]
    interests: Interests
    vector: NDArray[np.float32] | None
    mark: str


@dataclass(frozen=True)
class Viewer:
    """
    Attributes:
        user_id: None: anonymous.
        row: of the snapshot's users; None: the model does not know this user.
        known: the catalogue has this user, with or without a row.
        lat, lon: degrees, NaN: unknown.
        tags: chosen interests, distinct.
        own: the owner that this user is, -1: none.
        seen, applied: rows of items, ascending.
        liked, liked_weights: rows of items, and how much.
        recent, recent_types: rows of the items liked last, the newest first, and what the user
            did with each (index into the live catalogue's ``types``).
        dismissed: rows of items, ascending.
        interests: learned from what the user did, as of now; hidden tags are not in it.
        vector: the model's, shape (dims,); None: the model knows nothing of this user.
        city: index of the city they live in, -1: not known.
        worked_out: what a request works out once and needs again.
    """

    user_id: str | None = None
    row: int | None = None
    known: bool = False
    lat: float = math.nan
    lon: float = math.nan
    tags: Indices = field(default_factory=lambda: NOTHING)
    own: int = -1
    preferences: Preferences = NO_PREFERENCES
    seen: Indices = field(default_factory=lambda: NOTHING)
    applied: Indices = field(default_factory=lambda: NOTHING)
    liked: Indices = field(default_factory=lambda: NOTHING)
    liked_weights: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    recent: Indices = field(default_factory=lambda: NOTHING)
    recent_types: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    dismissed: Indices = field(default_factory=lambda: NOTHING)
    interests: Interests = NO_INTERESTS
    vector: NDArray[np.float32] | None = None
    city: int = -1
    worked_out: WorkedOut = field(default_factory=WorkedOut, init=False, compare=False, repr=False)

    def impersonal(self) -> Viewer:
        """The same for who does not want to be known: only the place and the rules are left."""
        return Viewer(
            user_id=self.user_id,
            known=self.known,
            lat=self.lat,
            lon=self.lon,
            own=self.own,
            preferences=self.preferences,
            seen=self.seen,
            applied=self.applied,
            dismissed=self.dismissed,
            city=self.city,
        )

    @property
    def wanted_tags(self) -> Indices:
        """The chosen tags; of who chose none, those that they are most interested in."""
        if len(self.tags) or self.interests is NO_INTERESTS:
            return self.tags
        tags, scores = self.interests.scores()[0]
        best = top_places(scores, LEARNED_TAGS)
        return np.sort(tags[best[scores[best] > 0]])

    @property
    def has_place(self) -> bool:
        return not math.isnan(self.lat)
