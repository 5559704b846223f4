"""The rules: which items may be shown to a viewer. They hold whatever ranks, and on every page."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Indices, Viewer
from models.data import scorers
from models.data.arrays import among
from models.profile.schema import Profile

Mask = NDArray[np.bool_]


def broken(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    *,
    now: float,
    exclude_seen: bool | None = None,
    exclude_applied: bool | None = None,
) -> Iterator[tuple[str, Mask]]:
    """Each rule that can exclude something, by name, and where it excludes one of n items.

    Args:
        rows: of items, shape (n,).
        now: epoch seconds.
        exclude_seen, exclude_applied: as the request asks; None: as the profile has it.

    Yields:
        name and mask, shape (n,). O(n), or O(n log m) for m items seen.
    """
    items, settings, preferences = live.items, profile.eligibility, viewer.preferences
    # A comparison with NaN (no such time, no such price) is false, which each rule wants.
    yield "not_published", ~items.published[rows] | (items.publish_at[rows] > now)
    if settings.exclude_started:
        yield "started", items.starts_at[rows] < now
    if settings.exclude_full:
        capacity = items.capacity[rows]
        yield "full", (capacity >= 0) & (items.applied[rows] >= capacity)
    if settings.exclude_own and viewer.own >= 0:
        yield "own", items.owner[rows] == viewer.own
    if settings.leaves_out_seen(exclude_seen) and len(viewer.seen):
        yield "seen", among(rows, viewer.seen)
    if settings.leaves_out_applied(exclude_applied) and len(viewer.applied):
        yield "applied", among(rows, viewer.applied)
    if settings.exclude_dismissed and len(viewer.dismissed):
        yield "dismissed", among(rows, viewer.dismissed)
    if len(preferences.blocked_owners):
        yield "blocked_owner", np.isin(items.owner[rows], preferences.blocked_owners)
    if len(preferences.blocked_tags):
        hidden = np.zeros(len(live.tags) + 1, bool)  # the last is what -1 finds
        hidden[preferences.blocked_tags] = True
        yield "hidden_tag", np.asarray(hidden[items.tags[rows]].any(axis=1))
    # What has no price or no place is not known to break the preference.
    if preferences.price_min == preferences.price_min:
        highest = np.fmax(items.price_max[rows], items.price_min[rows])
        yield "price", highest < preferences.price_min
    if preferences.price_max == preferences.price_max:
        lowest = np.fmin(items.price_min[rows], items.price_max[rows])
        yield "price", lowest > preferences.price_max
    if preferences.max_distance_km == preferences.max_distance_km and viewer.has_place:
        distance = scorers.haversine_km(viewer.lat, viewer.lon, items.lat[rows], items.lon[rows])
        yield "distance", distance > preferences.max_distance_km


def allowed(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    *,
    now: float,
    exclude_seen: bool | None = None,
    exclude_applied: bool | None = None,
) -> Mask:
    """Where no rule excludes an item, shape (n,)."""
    keep = np.ones(len(rows), bool)
    for _, excluded in broken(
        live,
        viewer,
        profile,
        rows,
        now=now,
        exclude_seen=exclude_seen,
        exclude_applied=exclude_applied,
    ):
        keep &= ~excluded
    return keep
