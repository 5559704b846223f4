"""The scorers: interpretable components of a feed, and the hybrid that weighs them.

Every scorer is a vectorised function over n items. A result is float32 in [0, 1] and NaN
where the component is missing (no location, no history): the hybrid then gives its weight
to the others. They run for some 1,500 candidates within a request, so arrays of float32
stay float32, and sums over a few columns are products with ones, which is fastest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.data.ragged import Ragged

EARTH_RADIUS_KM = 6371.0
PRICE_BANDS = 8
FIRST_BAND_ENDS = 10.0  # units of the price: below 10, to 20, to 40, …, 640 and above
_SIEVE = 1 << 16  # a power of two

Scores = NDArray[np.float32]
Ints = NDArray[np.integer]


def haversine_km(
    lat: float, lon: float, lats: NDArray[np.floating], lons: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Great-circle distance in km from one point to n points, all in degrees.

    ``2 R asin(sqrt(sin²(Δφ/2) + cos φ1 cos φ2 sin²(Δλ/2)))``, R = 6371 km: the haversine
    formula (Sinnott 1984, "Virtues of the Haversine"), right across the antimeridian and at
    the poles. Shape and dtype are those of ``lats``; float32 is good to some metres, and to
    a few km near the antipode. NaN where a coordinate is.
    """
    north = np.sin((lats - float(lat)) * (math.pi / 360))
    east = np.sin((lons - float(lon)) * (math.pi / 360))
    shrunk = np.cos(lats * (math.pi / 180)) * math.cos(math.radians(lat))
    half = north * north + shrunk * (east * east)
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1)))


def location(
    lat: float,
    lon: float,
    lats: NDArray[np.floating],
    lons: NDArray[np.floating],
    max_distance_km: float,
) -> Scores:
    """``exp(-d / (max_distance / 3))``, d in km: 1 at the door, 0.05 at the maximum distance.

    Exponential decay with distance, as gravity models of travel have it (Wilson 1971).
    NaN where a place is not known. Shape (n,).
    """
    distance = haversine_km(lat, lon, lats, lons)
    return np.exp(distance * (-3 / max_distance_km)).astype(np.float32, copy=False)


def tags(chosen: ArrayLike, item_tags: NDArray[np.int32], n_tags: int) -> Scores:
    """``|A ∩ B| / |A ∪ B|`` of the user's tags and each item's: the Jaccard index (1912).

    Args:
        chosen: indices of the user's tags. None of them: all NaN.
        item_tags: shape (n, w), distinct tags of each item, -1 where it has fewer. An item
            without tags scores 0.
        n_tags: size of the vocabulary.
    """
    chosen = np.asarray(chosen, dtype=np.int64)
    if len(chosen) == 0:
        return np.full(len(item_tags), np.nan, np.float32)
    mine = np.zeros(n_tags + 1, np.float32)  # the last is what -1 finds
    mine[chosen] = 1
    shared = _row_sums(mine.take(item_tags, mode="wrap"))
    return shared / (mine.sum() + _row_sums(item_tags >= 0) - shared)


def engagement(weighted: NDArray[np.floating]) -> Scores:
    """``10 * log(1 + max(s, 0))`` of the weighted counts s, scaled to [0, 1] over the catalogue.

    The logarithm damps counts as in text retrieval (Manning et al. 2008, section 6.4): the
    tenth click says less than the first. Shape (n,). NaN stays NaN; below 0 counts as 0.
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

    Exponential forgetting (Ding and Li 2005, "Time weight collaborative filtering"). The
    boost takes it above 1 on purpose: clip after weighting. Times are epoch seconds (float64,
    float32 is too coarse for them), shape (n,); an item from the future counts as new, and
    NaN stays NaN.
    """
    age = np.maximum(now - created_at, 0).astype(np.float32)  # seconds
    score = np.exp(age * (-math.log(2) / (half_life_days * 86_400)))
    score[age < fresh_hours * 3_600] *= fresh_boost
    return score


def owner_quality(
    average_rating: NDArray[np.floating],
    completion_rate: NDArray[np.floating],
    finished_jobs: NDArray[np.floating],
) -> Scores:
    """Mean of rating / 5, completion rate and experience ``1 - exp(-jobs / 10)``.

    Experience saturates as learning curves do (Estes 1950): ten jobs make 0.63. Ratings are
    0 to 5, rates 0 to 1, jobs a count, each of shape (n,). A NaN part is left out of the
    mean; all NaN gives NaN.
    """
    parts = np.stack(
        [
            np.clip(np.asarray(average_rating, np.float64) / 5, 0, 1),
            np.clip(np.asarray(completion_rate, np.float64), 0, 1),
            1 - np.exp(-np.maximum(np.asarray(finished_jobs, np.float64), 0) / 10),
        ]
    )
    present = ~np.isnan(parts)
    total = np.where(present, parts, 0).sum(axis=0)
    count = present.sum(axis=0)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean.astype(np.float32)


def collaborative(
    neighbour_scores: ArrayLike, neighbour_likes: Ragged, candidates: NDArray[np.integer]
) -> Scores:
    """Share of the similar users who liked an item, each counted by its similarity:
    ``sum_v cos(u, v) * [v liked i] / sum_v cos(u, v)``.

    Collaborative filtering over the k most similar users (Herlocker et al. 1999), with
    cosine as the similarity (Breese et al. 1998).

    Args:
        neighbour_scores: cosine of each of the k neighbours, shape (k,).
        neighbour_likes: liked items of those neighbours, k rows.
        candidates: the n items to score, distinct; quickest when they ascend.

    Returns:
        shape (n,); all NaN when there are no neighbours. O(likes * log n).
    """
    scores = np.asarray(neighbour_scores)
    total = float(scores.sum())
    if total <= 0 or len(candidates) == 0:
        return np.full(len(candidates), np.nan, np.float32)
    # Most likes are of no candidate: a small table drops nearly all of those first.
    sieve = np.zeros(_SIEVE, bool)
    sieve[candidates & (_SIEVE - 1)] = True
    likely = np.flatnonzero(sieve[neighbour_likes.indices & (_SIEVE - 1)])
    liked = neighbour_likes.indices[likely]
    weight = np.repeat(scores, np.diff(neighbour_likes.indptr))[likely]
    order = np.argsort(candidates, kind="stable")  # linear when they ascend, as they mostly do
    index = np.searchsorted(candidates[order], liked)
    index = order[np.minimum(index, len(candidates) - 1)]
    hit = candidates[index] == liked
    votes = np.bincount(index[hit], weights=weight[hit], minlength=len(candidates))
    return np.minimum(votes / total, 1).astype(np.float32)


class Taste(NamedTuple):
    """How much a user liked each kind of item: weights, not negative, 0 for none.

    Attributes:
        tags: shape (n_tags,).
        categories: shape (n_categories,).
        cities: shape (n_cities,).
        price_bands: shape (PRICE_BANDS,).
    """

    tags: NDArray[np.floating]
    categories: NDArray[np.floating]
    cities: NDArray[np.floating]
    price_bands: NDArray[np.floating]


def taste_of(
    weights: NDArray[np.floating],
    item_tags: NDArray[np.int32],
    item_category: Ints,
    item_city: Ints,
    item_price_band: Ints,
    *,
    n_tags: int,
    n_categories: int,
    n_cities: int,
) -> Taste:
    """The taste of a user who liked m items, each by its weight.

    Args:
        weights: how much each was liked, shape (m,), not negative.
        item_tags, item_category, item_city, item_price_band: as ``content`` takes them, of
            the m items.
    """

    def summed(of: Ints, size: int) -> NDArray[np.float32]:
        # one up, so that -1 has a place of its own, which is cut off
        totals = np.bincount(of.astype(np.int64) + 1, weights=weights, minlength=size + 1)
        return totals[1:].astype(np.float32)

    by_tag = np.bincount(
        item_tags.ravel().astype(np.int64) + 1,
        weights=np.repeat(weights, item_tags.shape[1]),
        minlength=n_tags + 1,
    )
    return Taste(
        by_tag[1:].astype(np.float32),
        summed(item_category, n_categories),
        summed(item_city, n_cities),
        summed(item_price_band, PRICE_BANDS),
    )


def content(
    taste: Taste,
    item_tags: NDArray[np.int32],
    item_category: Ints,
    item_city: Ints,
    item_price_band: Ints,
) -> Scores:
    """Cosine of the user's taste and each item, over tags, category, city and price band.

    An item is a vector with 1 for each of its tags, its category, its city and its band; the
    taste is the sum of what the user liked: a Rocchio profile (Pazzani and Billsus 2007,
    "Content-based recommendation systems").

    Args:
        taste: all zero (nothing liked, or nothing known of it): all NaN.
        item_tags: shape (n, w), -1 where an item has fewer tags.
        item_category, item_city, item_price_band: shape (n,), -1 where it has none. An item
            of which nothing is known scores 0.

    Returns:
        shape (n,).
    """
    norm = math.sqrt(sum(float(part @ part) for part in taste))
    if norm == 0:
        return np.full(len(item_tags), np.nan, np.float32)
    matched = _row_sums(_looked_up(taste.tags, item_tags))
    length = _row_sums(item_tags >= 0)
    for weights, of in zip(taste[1:], (item_category, item_city, item_price_band), strict=True):
        matched += _looked_up(weights, of)
        length += of >= 0
    # A length of 0 matches nothing: any divisor above 0 makes it 0.
    cosine = matched / (np.sqrt(np.maximum(length, 1)) * np.float32(norm))
    return np.minimum(cosine, 1)


def price_band(
    price_min: NDArray[np.floating], price_max: NDArray[np.floating]
) -> NDArray[np.int8]:
    """Band of the mean price, ``1 + floor(log2(price / 10))`` within 0 to 7; -1: not known.

    People tell prices apart by ratio, not by difference (Weber's law): every band but the
    first and the last, which are open, is twice as wide as the one before. Prices in the product's
    currency, shape (n,); where one of the two is NaN the other counts.
    """
    mean = (np.fmin(price_min, price_max) + np.fmax(price_min, price_max)) / 2
    octave = np.floor(np.log2(np.maximum(mean, FIRST_BAND_ENDS / 4) / FIRST_BAND_ENDS)) + 1
    return np.nan_to_num(np.clip(octave, 0, PRICE_BANDS - 1), nan=-1).astype(np.int8)


def hybrid(components: Mapping[Any, Scores], weights: Mapping[Any, float], n: int) -> Scores:
    """Weighted mean of the components that an item has, shape (n,).

    ``sum_c w_c s_c / sum_c w_c`` over the components c that are not NaN: a weighted hybrid
    (Burke 2002) in which a missing component gives its weight to the others. An item with
    none scores 0. Only the boost of fresh items takes it above 1: clip what is shown, not
    what is sorted, or a catalogue that is all new would be all ties.
    """
    used = [name for name in components if weights.get(name, 0) > 0]
    if not used:
        return np.zeros(n, np.float32)
    scores = np.array([components[name] for name in used], np.float32)
    share = np.array([weights[name] for name in used], np.float64)
    share = (share / share.sum()).astype(np.float32)  # only the proportion counts
    missing = np.isnan(scores)
    scores[missing] = 0
    present = share @ ~missing
    return np.divide(share @ scores, present, out=np.zeros(n, np.float32), where=present > 0)


def _row_sums(values: NDArray[Any]) -> Scores:
    return values @ np.ones(values.shape[1], np.float32)


def _looked_up(weights: NDArray[np.floating], of: Ints) -> Scores:
    """``weights[of]``, and 0 where ``of`` is -1."""
    return np.append(weights, np.float32(0)).astype(np.float32, copy=False).take(of, mode="wrap")
