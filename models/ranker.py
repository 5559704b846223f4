"""Rank a snapshot's items for one viewer: eligibility, scores, page, components, reasons.

Everything is a vectorised pass over the snapshot's columns, O(items) a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models import scorers
from models.profile import Profile
from models.ragged import Ragged
from models.snapshot import Snapshot

By = Literal["model", "heuristic", "time"]
Indices = NDArray[np.int32]
MODEL = "model"
"""Name of the component that holds the recommender's own score."""


@dataclass(frozen=True)
class Viewer:
    """Who looks: a row of the snapshot (None: unknown), a place (NaN: unknown), chosen tags."""

    user: int | None
    lat: float
    lon: float
    tags: NDArray[np.integer]


@dataclass(frozen=True)
class Ranking:
    """One page of a feed.

    Attributes:
        items: int32, shape (page,), best first.
        scores: float32 in [0, 1], shape (page,), not rising.
        total: eligible items, over all pages.
        components: each scorer's score of the page's items, NaN where missing.
    """

    items: Indices
    scores: scorers.Scores
    total: int
    components: dict[str, scorers.Scores]


def viewer_of(
    snapshot: Snapshot,
    user_id: str | None,
    *,
    lat: float | None = None,
    lon: float | None = None,
    tags: Sequence[str] | None = None,
) -> Viewer:
    """Look the user up; what is given goes before what the snapshot knows."""
    users = snapshot.users
    user = users.ids.find(user_id) if user_id is not None else None
    if lat is None or lon is None:
        lat, lon = (
            (float(users.lat[user]), float(users.lon[user]))
            if user is not None
            else (float("nan"), float("nan"))
        )
    if tags is not None:
        wanted = set(tags)
        chosen = np.array(
            [index for index, tag in enumerate(snapshot.manifest.tags) if tag in wanted], np.int32
        )
    else:
        chosen = users.tags.row(user) if user is not None else np.zeros(0, np.int32)
    return Viewer(user, lat, lon, chosen)


def eligible(
    snapshot: Snapshot,
    viewer: Viewer,
    profile: Profile,
    *,
    now: float,
    exclude_seen: bool = False,
    exclude_applied: bool = False,
) -> NDArray[np.bool_]:
    """Which items may be shown to the viewer at ``now`` (epoch seconds), shape (items,)."""
    items, rules = snapshot.items, profile.eligibility
    # A comparison with NaN (no such time) is false, which is what each rule wants.
    allowed = items.published & ~(items.publish_at > now)
    if rules.exclude_started:
        allowed &= ~(items.starts_at < now)
    if rules.exclude_full:
        allowed &= (items.capacity < 0) | (items.applied < items.capacity)
    if viewer.user is not None:
        own = snapshot.users.owner[viewer.user]
        if rules.exclude_own and own >= 0:
            allowed &= items.owner != own
        if exclude_seen:
            allowed[snapshot.users.seen.row(viewer.user)] = False
        if exclude_applied:
            allowed[snapshot.users.applied.row(viewer.user)] = False
    return allowed


def rank(
    snapshot: Snapshot,
    viewer: Viewer,
    profile: Profile,
    *,
    now: float,
    by: By,
    exclude_seen: bool = False,
    exclude_applied: bool = False,
    limit: int,
    offset: int = 0,
) -> Ranking:
    """The page ``[offset, offset + limit)`` of the viewer's feed.

    Ties go to the lower item index, so pages of one snapshot never overlap.

    Args:
        by: ``model`` ranks by the recommender's vectors (the viewer must be a row of the
            snapshot), ``heuristic`` by the hybrid of the scorers, ``time`` newest first.

    Raises:
        ValueError: ``by="model"`` for a viewer that the snapshot does not know.
        FloatingPointError: the model's scores are not finite.
    """
    allowed = eligible(
        snapshot,
        viewer,
        profile,
        now=now,
        exclude_seen=exclude_seen,
        exclude_applied=exclude_applied,
    )
    candidates = np.flatnonzero(allowed).astype(np.int32)
    if by == "model":
        order = model_scores(snapshot, viewer, candidates)
    elif by == "heuristic":
        order = heuristic_scores(snapshot, viewer, profile, candidates, now=now)
    else:
        appeared = np.fmax(snapshot.items.created_at, snapshot.items.publish_at)[candidates]
        order = np.where(np.isnan(appeared), -np.inf, appeared)
    places = top_places(order, offset + limit)[offset:]
    page = candidates[places]
    components = score_components(snapshot, viewer, profile, page, now=now)
    if by == "model":
        components[MODEL] = unit_scores(
            order[places], order.mean() if len(order) else 0.0, order.std() if len(order) else 0.0
        )
        scores = components[MODEL]
    elif by == "heuristic":
        scores = np.clip(order[places], 0, 1)
    else:
        scores = np.clip(
            scorers.recency(order[places], now, profile.scorers.recency_half_life_days), 0, 1
        )
    return Ranking(page, scores, len(candidates), components)


def top_places(scores: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Positions of the ``count`` highest scores, best first, ties by position. O(n).

    ``scores`` has no NaN.
    """
    if 0 < count < len(scores):
        threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
        chosen = np.flatnonzero(scores >= threshold)
    else:
        chosen = np.arange(len(scores))
    return chosen[np.argsort(-scores[chosen], kind="stable")][:count]


def model_scores(snapshot: Snapshot, viewer: Viewer, candidates: Indices) -> NDArray[np.float32]:
    """``user vector · item vector + item bias`` of each candidate, unbounded."""
    if viewer.user is None:
        raise ValueError("the model does not know this user")
    items = snapshot.items
    # All of the catalogue at once unless few are left: a gather of rows costs more.
    if len(candidates) * 4 > len(items.ids):
        scores = (items.vectors @ snapshot.users.vectors[viewer.user] + items.bias)[candidates]
    else:
        scores = (
            items.vectors[candidates] @ snapshot.users.vectors[viewer.user] + items.bias[candidates]
        )
    if not np.isfinite(scores).all():
        raise FloatingPointError("the model's scores are not finite")
    return scores


def heuristic_scores(
    snapshot: Snapshot, viewer: Viewer, profile: Profile, candidates: Indices, *, now: float
) -> scorers.Scores:
    """The hybrid of all scorers for each candidate; above 1 only by the boost of fresh items."""
    components = score_components(snapshot, viewer, profile, candidates, now=now)
    return scorers.hybrid(components, profile.scorer_weights, len(candidates))


def score_components(
    snapshot: Snapshot, viewer: Viewer, profile: Profile, candidates: Indices, *, now: float
) -> dict[str, scorers.Scores]:
    """Every scorer of the profile for each candidate; NaN where a component is missing."""
    items, users, limits = snapshot.items, snapshot.users, profile.scorers
    tagged: Ragged = items.tags.gather(candidates)
    n_tags = len(snapshot.manifest.tags)
    missing = np.full(len(candidates), np.nan, np.float32)
    components = {
        "location": scorers.location(
            viewer.lat,
            viewer.lon,
            items.lat[candidates],
            items.lon[candidates],
            limits.max_distance_km,
        ),
        "tags": scorers.tags(viewer.tags, tagged, n_tags),
        "engagement": items.engagement[candidates],
        "recency": scorers.recency(
            items.created_at[candidates],
            now,
            limits.recency_half_life_days,
            limits.fresh_hours,
            limits.fresh_boost,
        ),
        "owner_quality": items.owner_quality[candidates],
        "collaborative": missing,
        "content": missing,
    }
    if viewer.user is not None:
        taste = taste_profile(snapshot, viewer.user)
        components["content"] = scorers.content(taste, tagged)
        alike = users.neighbours[viewer.user]
        alike = alike[alike >= 0]
        components["collaborative"] = scorers.collaborative(
            users.neighbour_scores[viewer.user][: len(alike)],
            users.liked.gather(alike),
            candidates,
        )
    return {name: components[name] for name in profile.scorer_weights}


def taste_profile(snapshot: Snapshot, user: int) -> NDArray[np.float64]:
    """Weight of each tag among the items that the user liked, shape (tags,)."""
    liked = snapshot.users.liked.row(user)
    tagged = snapshot.items.tags.gather(liked)
    weight = np.repeat(snapshot.users.liked.row_values(user), np.diff(tagged.indptr))
    counts = np.bincount(tagged.indices, weights=weight, minlength=len(snapshot.manifest.tags))
    return counts.astype(np.float64, copy=False)


def unit_scores(scores: NDArray[np.floating], mean: float, spread: float) -> scorers.Scores:
    """Logistic of the standard score among all candidates: in [0, 1], comparable between users."""
    standard = (scores - mean) / (spread if spread > 0 else 1.0)
    return np.asarray(expit(standard), np.float32)
