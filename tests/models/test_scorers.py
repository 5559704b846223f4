"""The scorers keep their range, their limits and their direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import sparse

from models import scorers
from models.profile import SCORERS
from models.ragged import Ragged

DAY = 86_400.0
LATS = st.floats(-90, 90)
LONS = st.floats(-180, 180)
HALF_ROUND = np.pi * scorers.EARTH_RADIUS_KM


def one(value: float) -> np.ndarray:
    return np.array([value], np.float64)


def tag_rows(rows: list[list[int]], n_tags: int = 8) -> Ragged:
    pairs = [(row, tag) for row, tags in enumerate(rows) for tag in sorted(set(tags))]
    row, column = (
        np.array(part, int) for part in (zip(*pairs, strict=True) if pairs else ([], []))
    )
    shape = (len(rows), n_tags)
    return Ragged.of(sparse.csr_array((np.ones(len(pairs), np.float32), (row, column)), shape))


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


def test_location_at_the_maximum_distance() -> None:
    lon = np.degrees(50 / scorers.EARTH_RADIUS_KM)
    assert scorers.location(0, 0, one(0), one(lon), 50)[0] == pytest.approx(np.exp(-3), rel=1e-5)


@pytest.mark.parametrize("nowhere", [(np.nan, 0, 0), (0, np.nan, 0), (0, 0, np.nan)])
def test_location_without_a_place_is_missing(nowhere: tuple[float, float, float]) -> None:
    lat, lon, other = nowhere
    assert np.isnan(scorers.location(lat, lon, one(other), one(0), 50)[0])


@given(
    st.lists(st.integers(0, 7), max_size=8),
    st.lists(st.lists(st.integers(0, 7), max_size=8), max_size=6),
)
def test_tags_are_jaccard(chosen: list[int], items: list[list[int]]) -> None:
    scores = scorers.tags(chosen, tag_rows(items), 8)
    assert scores.shape == (len(items),)
    for score, item in zip(scores, items, strict=True):
        if chosen:
            both, either = set(chosen) & set(item), set(chosen) | set(item)
            assert score == pytest.approx(len(both) / len(either))
        else:
            assert np.isnan(score)


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
    assert (np.diff(scores) <= 0).all()


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


def test_owner_quality_is_the_mean_of_what_is_known() -> None:
    assert scorers.owner_quality(one(4), one(0.6), one(np.nan))[0] == pytest.approx(0.7)
    assert scorers.owner_quality(one(9), one(2), one(1e9))[0] == 1


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.lists(st.integers(0, 7), max_size=8)), max_size=5),
    st.permutations(range(8)),
    st.integers(0, 8),
)
def test_collaborative_is_the_share_of_similar_users(
    alike: list[tuple[float, list[int]]], items: list[int], count: int
) -> None:
    candidates = np.array(items[:count], np.int32)
    weights = [weight for weight, _ in alike]
    likes = [set(liked) for _, liked in alike]
    scores = scorers.collaborative(weights, tag_rows([list(liked) for liked in likes]), candidates)
    assert scores.shape == (count,)
    for score, item in zip(scores, candidates, strict=True):
        if alike:
            votes = sum(
                weight for weight, liked in zip(weights, likes, strict=True) if item in liked
            )
            assert score == pytest.approx(votes / sum(weights), abs=1e-6)
        else:
            assert np.isnan(score)


@given(
    npst.arrays(np.float64, 8, elements=st.floats(0, 1e3, allow_subnormal=False)),
    st.lists(st.lists(st.integers(0, 7), max_size=8), max_size=6),
)
def test_content_is_a_cosine(taste: np.ndarray, items: list[list[int]]) -> None:
    scores = scorers.content(taste, tag_rows(items))
    norm = np.linalg.norm(taste)
    for score, item in zip(scores, items, strict=True):
        if norm == 0:
            assert np.isnan(score)
            continue
        indicator = np.isin(np.arange(8), item)
        length = np.linalg.norm(indicator)
        expected = taste @ indicator / (norm * length) if length else 0
        assert score == pytest.approx(expected, abs=1e-5)
        assert 0 <= score <= 1


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
    assert score == pytest.approx(np.average(there, weights=share), abs=1e-6)
    assert min(there) - 1e-6 <= score <= max(there) + 1e-6


@given(COMPONENTS, WEIGHTS, st.floats(0.01, 100))
def test_only_the_proportion_of_weights_counts(
    values: list[float], weights: list[float], factor: float
) -> None:
    scaled = [weight * factor for weight in weights]
    assert mix(values, scaled) == pytest.approx(mix(values, weights), abs=1e-6)


def test_the_fresh_boost_is_weighted_whole() -> None:
    components = {"recency": one(1.5).astype(np.float32), "tags": one(0.0).astype(np.float32)}
    assert scorers.hybrid(components, {"recency": 1, "tags": 1}, 1)[0] == pytest.approx(0.75)
    assert scorers.hybrid(components, {"recency": 1}, 1)[0] == pytest.approx(1.5)
    assert scorers.hybrid({}, {}, 3).tolist() == [0, 0, 0]
