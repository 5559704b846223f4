"""The scorers keep their range, their limits and their direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import sparse

from models.data import scorers
from models.data.ragged import Ragged
from models.profile.feed_sections import SCORERS

DAY = 86_400.0
LATS = st.floats(-90, 90)
LONS = st.floats(-180, 180)
HALF_ROUND = np.pi * scorers.EARTH_RADIUS_KM


def one(value: float) -> np.ndarray:
    return np.array([value], np.float64)


def padded(rows: list[set[int]]) -> np.ndarray:
    """Tags as the scorers take them: a row an item, -1 where it has fewer."""
    width = max(map(len, rows), default=0)
    lists = [sorted(row) + [-1] * (width - len(row)) for row in rows]
    return np.array(lists, np.int32).reshape(len(rows), width)


def likes_of(rows: list[set[int]]) -> Ragged:
    dense = [[float(item in row) for item in range(8)] for row in rows]
    return Ragged.of(sparse.csr_array(np.array(dense, np.float32).reshape(len(rows), 8)))


def distance(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    return float(scorers.haversine_km(lat, lon, one(other_lat), one(other_lon))[0])


@given(LATS, LONS, LATS, LONS)
def test_distance_is_a_distance(lat: float, lon: float, other_lat: float, other_lon: float) -> None:
    there = distance(lat, lon, other_lat, other_lon)
    assert 0 <= there <= HALF_ROUND + 1e-6
    assert there == pytest.approx(distance(other_lat, other_lon, lat, lon), abs=1e-6)
    assert distance(lat, lon, lat, lon) == 0


@given(LATS, LONS)
def test_the_antipode_is_half_the_earth_away(lat: float, lon: float) -> None:
    assert distance(lat, lon, -lat, lon + 180) == pytest.approx(HALF_ROUND, abs=1)


@pytest.mark.parametrize("lat", [-90, 90])
@given(LONS, LONS)
def test_all_longitudes_meet_at_a_pole(lat: float, lon: float, other: float) -> None:
    assert distance(lat, lon, lat, other) == pytest.approx(0, abs=1e-6)


def test_distances_of_known_places() -> None:
    assert distance(0, 179.9, 0, -179.9) == pytest.approx(22.24, abs=0.01)  # over the antimeridian
    assert distance(38.7223, -9.1393, 59.9139, 10.7522) == pytest.approx(2738, abs=15)


@given(LATS, LONS, LATS, LONS, st.floats(0.1, 20_000))
def test_location_is_in_the_unit_range(
    lat: float, lon: float, other_lat: float, other_lon: float, limit: float
) -> None:
    score = scorers.location(lat, lon, one(other_lat), one(other_lon), limit)
    assert score.dtype == np.float32
    assert 0 <= score[0] <= 1
    assert scorers.location(lat, lon, one(lat), one(lon), limit)[0] == 1


@given(st.lists(st.floats(0, 180), min_size=2, max_size=20))
def test_location_falls_with_distance(degrees: list[float]) -> None:
    lons = np.sort(np.array(degrees))
    scores = scorers.location(0, 0, np.zeros(len(lons)), lons, 5_000)
    assert (np.diff(scores) <= 0).all()


@given(LATS, LONS, st.lists(st.tuples(LATS, LONS), min_size=1, max_size=9))
def test_columns_of_float32_are_near_enough(
    lat: float, lon: float, places: list[tuple[float, float]]
) -> None:
    lats, lons = np.array(places).T
    narrow = scorers.haversine_km(lat, lon, lats.astype(np.float32), lons.astype(np.float32))
    assert narrow.dtype == np.float32
    exact = scorers.haversine_km(lat, lon, lats, lons)
    near = exact < 10_000
    np.testing.assert_allclose(narrow[near], exact[near], rtol=1e-3, atol=0.01)
    np.testing.assert_allclose(narrow, exact, atol=10)


def test_location_at_the_maximum_distance() -> None:
    lon = np.degrees(50 / scorers.EARTH_RADIUS_KM)
    assert scorers.location(0, 0, one(0), one(lon), 50)[0] == pytest.approx(np.exp(-3), rel=1e-5)


@pytest.mark.parametrize("nowhere", [(np.nan, 0, 0), (0, np.nan, 0), (0, 0, np.nan)])
def test_location_without_a_place_is_missing(nowhere: tuple[float, float, float]) -> None:
    lat, lon, other = nowhere
    assert np.isnan(scorers.location(lat, lon, one(other), one(0), 50)[0])


SETS = st.lists(st.sets(st.integers(0, 7)), max_size=6)


@given(st.lists(st.integers(0, 7), max_size=8), SETS)
def test_tags_are_jaccard(chosen: list[int], items: list[set[int]]) -> None:
    scores = scorers.tags(chosen, padded(items), 8)
    assert scores.shape == (len(items),)
    assert scores.dtype == np.float32
    for score, item in zip(scores, items, strict=True):
        if chosen:
            assert score == pytest.approx(len(set(chosen) & item) / len(set(chosen) | item))
        else:
            assert np.isnan(score)


def test_a_catalogue_without_tags_matches_none() -> None:
    assert scorers.tags([1], padded([set(), set()]), 8).tolist() == [0, 0]
    assert np.isnan(scorers.tags([], padded([set()]), 0)).all()


@given(npst.arrays(np.float64, st.integers(0, 20), elements=st.floats(-1e12, 1e12)))
def test_engagement_rises_with_the_counts(weighted: np.ndarray) -> None:
    scores = scorers.engagement(weighted)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (scores[weighted <= 0] == 0).all()
    order = np.argsort(weighted)
    assert (np.diff(scores[order]) >= 0).all()
    if (weighted > 1e-3).any():
        assert scores.max() == 1


def test_engagement_keeps_what_is_missing_apart() -> None:
    assert scorers.engagement(np.array([np.nan, 3.0, 0.0])).tolist() == pytest.approx(
        [np.nan, 1, 0], nan_ok=True
    )


@given(st.lists(st.floats(0, 4_000), min_size=2, max_size=20), st.floats(0.1, 365))
def test_recency_falls_with_age(days: list[float], half_life: float) -> None:
    ages = np.sort(np.array(days))
    scores = scorers.recency(-ages * DAY, 0.0, half_life)
    assert ((scores >= 0) & (scores <= 1.5)).all()
    assert (np.diff(scores) <= 1e-6).all()  # float32


def test_recency_halves_in_its_half_life_and_boosts_the_first_day() -> None:
    times = -np.array([7.0, 14.0, 0.0, -3.0, np.nan]) * DAY
    scores = scorers.recency(times, 0.0, 7.0)
    assert scores.tolist() == pytest.approx([0.5, 0.25, 1.5, 1.5, np.nan], nan_ok=True)
    assert scorers.recency(one(-23.9 * 3600), 0.0, 7.0)[0] > 1
    assert scorers.recency(one(-24 * 3600), 0.0, 7.0)[0] < 1


@given(st.tuples(*[st.floats() for _ in range(3)]))
def test_owner_quality_is_in_range_or_missing(parts: tuple[float, float, float]) -> None:
    score = scorers.owner_quality(*(one(part) for part in parts))[0]
    assert np.isnan(score) == np.isnan(parts).all()
    assert np.isnan(score) or 0 <= score <= 1


PARTS = st.lists(st.floats(0, 1), min_size=3, max_size=3)


@given(PARTS, st.integers(0, 2), st.floats(0, 1))
def test_owner_quality_rises_with_each_part(values: list[float], part: int, more: float) -> None:
    better = [*values[:part], values[part] + more, *values[part + 1 :]]
    scale = (5, 1, 10)
    low, high = (
        scorers.owner_quality(*(one(v * s) for v, s in zip(parts, scale, strict=True)))[0]
        for parts in (values, better)
    )
    assert low <= high


def test_owner_quality_is_the_mean_of_what_is_known() -> None:
    assert scorers.owner_quality(one(4), one(0.6), one(np.nan))[0] == pytest.approx(0.7)
    assert scorers.owner_quality(one(9), one(2), one(1e9))[0] == 1


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.sets(st.integers(0, 7))), max_size=5),
    st.permutations(range(8)),
    st.integers(0, 8),
)
def test_collaborative_is_the_share_of_similar_users(
    alike: list[tuple[float, set[int]]], items: list[int], count: int
) -> None:
    candidates = np.array(items[:count], np.int32)
    weights = [weight for weight, _ in alike]
    scores = scorers.collaborative(weights, likes_of([liked for _, liked in alike]), candidates)
    assert scores.shape == (count,)
    for score, item in zip(scores, candidates, strict=True):
        if alike:
            votes = sum(weight for weight, liked in alike if item in liked)
            assert score == pytest.approx(votes / sum(weights), abs=1e-6)
        else:
            assert np.isnan(score)


def test_collaborative_tells_items_of_a_large_catalogue_apart() -> None:
    liked = np.array([5, 5 + (1 << 16), 5 + (1 << 17)], np.int32)  # alike in their low bits
    likes = Ragged(np.array([0, 3]), liked, np.ones(3, np.float32))
    candidates = np.array([5, 6, 5 + (1 << 17), 5 + (1 << 18)], np.int32)
    assert scorers.collaborative([0.5], likes, candidates).tolist() == [1, 0, 1, 0]


WEIGHT = st.floats(0, 1e3).filter(lambda weight: weight == 0 or weight > 1e-3)
TASTES = st.builds(
    scorers.Taste,
    *(npst.arrays(np.float32, size, elements=WEIGHT.map(np.float32)) for size in (8, 3, 4, 8)),
)
ITEM = st.tuples(
    st.sets(st.integers(0, 7)), st.integers(-1, 2), st.integers(-1, 3), st.integers(-1, 7)
)


def columns_of(items: list[tuple[set[int], int, int, int]]) -> tuple[np.ndarray, ...]:
    sets, *others = zip(*items, strict=True) if items else ((), (), (), ())
    return padded(list(sets)), *(np.array(values, np.int32) for values in others)


def indicator(item: tuple[set[int], int, int, int]) -> np.ndarray:
    """1 for each of the item's tags, its category, city and price band."""
    has, *others = item
    sizes = zip(others, (3, 4, 8), strict=True)
    return np.concatenate(
        [np.isin(np.arange(8), list(has)), *(np.arange(size) == value for value, size in sizes)]
    )


@given(TASTES, st.lists(ITEM, max_size=6))
def test_content_is_a_cosine(taste: scorers.Taste, items: list) -> None:
    scores = scorers.content(taste, *columns_of(items))
    assert scores.shape == (len(items),)
    assert scores.dtype == np.float32
    whole = np.concatenate(taste).astype(np.float64)
    for score, item in zip(scores, items, strict=True):
        length = np.linalg.norm(indicator(item))
        if not whole.any():
            assert np.isnan(score)
        else:
            expected = whole @ indicator(item) / (np.linalg.norm(whole) * length) if length else 0
            assert score == pytest.approx(expected, abs=1e-5)
            assert 0 <= score <= 1


@given(st.lists(st.tuples(st.floats(0, 10), ITEM), max_size=6))
def test_taste_is_the_sum_of_what_was_liked(liked: list) -> None:
    weights = np.array([weight for weight, _ in liked])
    columns = columns_of([item for _, item in liked])
    taste = scorers.taste_of(weights, *columns, n_tags=8, n_categories=3, n_cities=4)
    expected = sum((weight * indicator(item) for weight, item in liked), np.zeros(23))
    np.testing.assert_allclose(np.concatenate(taste), expected, rtol=1e-5, atol=1e-9)


def test_price_bands_double() -> None:
    low = np.array([0, 9.99, 10, 20, 639, 640, 1e9, np.nan, np.nan, 10], np.float32)
    high = np.array([0, 9.99, 10, 20, 639, 640, 1e9, np.nan, 15, 50], np.float32)
    bands = scorers.price_band(low, high)
    assert bands.dtype == np.int8
    assert bands.tolist() == [0, 0, 1, 2, 6, 7, 7, -1, 1, 2]


COMPONENTS = st.lists(st.one_of(st.just(np.nan), st.floats(0, 1)), min_size=7, max_size=7)
WEIGHTS = st.lists(st.floats(0.001, 100), min_size=7, max_size=7)


def mix(values: list[float], weights: list[float]) -> float:
    components = {
        name: one(value).astype(np.float32) for name, value in zip(SCORERS, values, strict=True)
    }
    return float(scorers.hybrid(components, dict(zip(SCORERS, weights, strict=True)), 1)[0])


@given(COMPONENTS, WEIGHTS)
def test_a_missing_component_gives_its_weight_to_the_others(
    values: list[float], weights: list[float]
) -> None:
    known = [(v, w) for v, w in zip(values, weights, strict=True) if not np.isnan(v)]
    score = mix(values, weights)
    if not known:
        assert score == 0
        return
    there, share = zip(*known, strict=True)
    assert score == pytest.approx(np.average(there, weights=share), abs=1e-5)
    assert min(there) - 1e-5 <= score <= max(there) + 1e-5


@given(COMPONENTS, WEIGHTS, st.floats(0.01, 100))
def test_only_the_proportion_of_weights_counts(
    values: list[float], weights: list[float], factor: float
) -> None:
    scaled = [weight * factor for weight in weights]
    assert mix(values, scaled) == pytest.approx(mix(values, weights), abs=1e-5)


def test_the_fresh_boost_is_weighted_whole() -> None:
    components = {"recency": one(1.5).astype(np.float32), "tags": one(0.0).astype(np.float32)}
    assert scorers.hybrid(components, {"recency": 1, "tags": 1}, 1)[0] == pytest.approx(0.75)
    assert scorers.hybrid(components, {"recency": 1}, 1)[0] == pytest.approx(1.5)
    assert scorers.hybrid({}, {}, 3).tolist() == [0, 0, 0]
