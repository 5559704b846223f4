"""The scorers: interpretable components of a feed, and the hybrid that weighs them.

Every scorer is a vectorised function over n items. A result is in [0, 1] and NaN
where the component is missing (no location, no history): the hybrid then gives
its weight to the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.ragged import Ragged

EARTH_RADIUS_KM = 6371.0
Scores = NDArray[np.float32]


def haversine_km(
    lat: float, lon: float, lats: NDArray[np.floating], lons: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Great-circle distance in km from one point to n points, all in degrees."""
    phi, phis = np.radians(lat), np.radians(lats)
    half = (
        np.sin((phis - phi) / 2) ** 2
        + np.cos(phi) * np.cos(phis) * np.sin(np.radians(lons - lon) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1)))


def location(
    lat: float,
    lon: float,
    lats: NDArray[np.floating],
    lons: NDArray[np.floating],
    max_distance_km: float,
) -> Scores:
    """``exp(-d / (max_distance / 3))``: 1 at the door, 0.05 at the maximum distance."""
    distance = haversine_km(lat, lon, lats, lons)
    return np.exp(-distance / (max_distance_km / 3)).astype(np.float32)


def tags(chosen: ArrayLike, item_tags: Ragged, n_tags: int) -> Scores:
    """Jaccard of the user's tags and each item's: ``|A ∩ B| / |A ∪ B|``.

    Args:
        chosen: indices of the user's tags. None of them: all NaN.
        item_tags: tags of the n items. An item without tags scores 0.
        n_tags: size of the vocabulary.
    """
    chosen = np.unique(np.asarray(chosen, dtype=np.int64))
    if len(chosen) == 0:
        return np.full(item_tags.rows, np.nan, np.float32)
    mine = np.zeros(n_tags, bool)
    mine[chosen] = True
    shared = np.bincount(
        item_tags.row_of_entry()[mine[item_tags.indices]], minlength=item_tags.rows
    )
    union = len(chosen) + np.diff(item_tags.indptr) - shared
    return (shared / union).astype(np.float32)


def engagement(weighted: NDArray[np.floating]) -> Scores:
    """``10 * log(1 + max(s, 0))`` of the weighted counts s, scaled to [0, 1] over the catalogue.

    NaN stays NaN.
    """
    score = 10 * np.log1p(np.maximum(weighted, 0))
    top = np.fmax.reduce(score, initial=0)
    return (score / top if top > 0 else np.zeros_like(score)).astype(np.float32)


def recency(
    created_at: NDArray[np.floating],
    now: float,
    half_life_days: float,
    fresh_hours: float = 24.0,
    fresh_boost: float = 1.5,
) -> Scores:
    """``0.5 ** (age / half_life)``; under ``fresh_hours`` old times ``fresh_boost``.

    The boost takes it above 1 on purpose: clip after weighting. Times are epoch
    seconds; an item from the future counts as new.
    """
    age_days = np.maximum(now - np.asarray(created_at, np.float64), 0) / 86_400
    decay = 0.5 ** (age_days / half_life_days)
    return np.where(age_days * 24 < fresh_hours, decay * fresh_boost, decay).astype(np.float32)


def owner_quality(
    average_rating: NDArray[np.floating],
    completion_rate: NDArray[np.floating],
    finished_jobs: NDArray[np.floating],
) -> Scores:
    """Mean of rating / 5, completion rate and experience ``1 - exp(-jobs / 10)``.

    A NaN part is left out of the mean; all NaN gives NaN.
    """
    parts = np.stack(
        [
            np.clip(np.asarray(average_rating, np.float64) / 5, 0, 1),
            np.clip(np.asarray(completion_rate, np.float64), 0, 1),
            1 - np.exp(-np.maximum(np.asarray(finished_jobs, np.float64), 0) / 10),
        ]
    )
    known = ~np.isnan(parts)
    total = np.where(known, parts, 0).sum(axis=0)
    count = known.sum(axis=0)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean.astype(np.float32)


def collaborative(
    neighbour_scores: ArrayLike, neighbour_likes: Ragged, candidates: NDArray[np.integer]
) -> Scores:
    """Share of the similar users who liked an item, each counted by its similarity:
    ``sum_v cos(u, v) * [v liked i] / sum_v cos(u, v)``.

    Args:
        neighbour_scores: cosine of each of the k neighbours, shape (k,).
        neighbour_likes: liked items of those neighbours, k rows.
        candidates: the n items to score, distinct.

    Returns:
        shape (n,); all NaN when there are no neighbours. O(likes * log n).
    """
    total = float(np.sum(neighbour_scores))
    if total <= 0 or len(candidates) == 0:
        return np.full(len(candidates), np.nan, np.float32)
    weight = np.repeat(np.asarray(neighbour_scores), np.diff(neighbour_likes.indptr))
    order = np.argsort(candidates, kind="stable")  # linear when they ascend, as they mostly do
    place = np.searchsorted(candidates, neighbour_likes.indices, sorter=order)
    place = order[np.minimum(place, len(candidates) - 1)]
    hit = candidates[place] == neighbour_likes.indices
    votes = np.bincount(place[hit], weights=weight[hit], minlength=len(candidates))
    return np.clip(votes / total, 0, 1).astype(np.float32)


def content(taste: NDArray[np.floating], item_tags: Ragged) -> Scores:
    """Cosine of the user's taste over tags and each item's tags.

    Args:
        taste: weight of each tag, shape (n_tags,), not negative. All zero: all NaN.
    """
    norm = np.linalg.norm(taste)
    if norm == 0:
        return np.full(item_tags.rows, np.nan, np.float32)
    matched = np.bincount(
        item_tags.row_of_entry(), weights=taste[item_tags.indices], minlength=item_tags.rows
    )
    lengths = np.sqrt(np.diff(item_tags.indptr))
    cosine = np.divide(matched, norm * lengths, out=np.zeros(len(matched)), where=lengths > 0)
    return np.clip(cosine, 0, 1).astype(np.float32)


def hybrid(components: Mapping[Any, Scores], weights: Mapping[Any, float], n: int) -> Scores:
    """Weighted mean of the components that an item has, shape (n,).

    A NaN component gives its weight to the others; an item with none scores 0. Only the
    boost of fresh items takes it above 1: clip what is shown, not what is sorted, or a
    catalogue that is all new would be all ties.
    """
    total = np.zeros(n, np.float64)
    weight = np.zeros(n, np.float64)
    for name, scores in components.items():
        share = weights.get(name, 0.0)
        if share == 0:
            continue
        known = ~np.isnan(scores)
        total += np.where(known, scores, 0) * share
        weight += known * share
    mean = np.divide(total, weight, out=np.zeros(n), where=weight > 0)
    return mean.astype(np.float32)
