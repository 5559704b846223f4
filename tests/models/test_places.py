"""What is near is what brute force finds near, anywhere on the sphere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.scorers import haversine_km
from models.feed.candidates.nearby import HALF_ROUND_KM, Places

LATS = st.one_of(st.sampled_from([-90.0, 90.0, 0.0, 89.999]), st.floats(-90, 90))
LONS = st.one_of(st.sampled_from([-180.0, 180.0, 179.999, 0.0]), st.floats(-180, 180))
POINTS = st.lists(st.tuples(LATS, LONS), max_size=40)
METRE = 1e-3  # of the distances that float32 tells; half round the earth is 20 015 km


def columns(points: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    lat, lon = np.array(points, np.float64).reshape(-1, 2).T
    return lat, lon


def check(
    places: Places,
    truth: dict[int, tuple[float, float]],
    here: tuple[float, float],
    count: int,
    max_km: float | None,
) -> None:
    """``truth`` has the place of every row that has one."""
    far = dict(zip(truth, haversine_km(*here, *columns(list(truth.values()))), strict=True))
    rows, km = places.nearest(*here, count, max_km)
    assert rows.dtype == np.int32
    assert km.dtype == np.float32
    assert len(set(rows.tolist())) == len(rows)
    assert (np.diff(km) >= 0).all()
    limit = HALF_ROUND_KM + 1 if max_km is None else max_km
    surely = sum(d < limit - METRE for d in far.values())
    perhaps = sum(d <= limit + METRE for d in far.values())
    assert min(surely, count) <= len(rows) <= min(perhaps, count)
    best = sorted(far.values())[: len(rows)]
    # Near the antipode a chord tells a distance to some metres.
    np.testing.assert_allclose(km, best, rtol=1e-6, atol=10 * METRE)
    np.testing.assert_allclose(km, [far[row] for row in rows.tolist()], rtol=1e-6, atol=10 * METRE)


@given(POINTS, LATS, LONS, st.integers(0, 50), st.one_of(st.none(), st.floats(0, 21_000)))
def test_as_brute_force(points, lat: float, lon: float, count: int, max_km: float | None) -> None:
    rows = np.arange(len(points), dtype=np.int32)[::-1] * 3
    places = Places(*columns(points), rows)
    truth = dict(zip(rows.tolist(), points, strict=True))
    check(places, truth, (lat, lon), count, max_km)


CHANGES = st.lists(st.tuples(st.integers(0, 50), st.one_of(st.none(), st.tuples(LATS, LONS))))


@given(POINTS, st.lists(CHANGES, max_size=3), LATS, LONS, st.integers(0, 50))
def test_changes_hold_at_once(points, batches, lat: float, lon: float, count: int) -> None:
    places = Places(*columns(points), np.arange(len(points), dtype=np.int32))
    truth = dict(enumerate(points))
    check_before = dict(truth)
    before = places
    for batch in batches:
        moved = columns([point or (np.nan, np.nan) for _, point in batch])
        places = places.with_changes(*moved, np.array([row for row, _ in batch], np.int32))
        for row, point in batch:
            truth.pop(row, None)
            if point is not None:
                truth[row] = point
    check(places, truth, (lat, lon), count, None)
    check(before, check_before, (lat, lon), count, None)  # unchanged


def test_over_the_antimeridian_and_the_pole() -> None:
    lat = np.array([0.0, 0.0, 89.9, 89.9, np.nan])
    lon = np.array([-179.9, 170.0, 10.0, -170.0, 5.0])
    places = Places(lat, lon, np.arange(5, dtype=np.int32))
    rows, km = places.nearest(0, 179.9, 2)
    assert rows.tolist() == [0, 1]
    assert km[0] == pytest.approx(22.24, abs=0.01)
    rows, km = places.nearest(89.9, 10, 10, max_km=50)
    assert rows.tolist() == [2, 3]
    assert km.tolist() == pytest.approx([0, 22.24], abs=0.01)
    assert places.within(90, 0, 12, 10).tolist() in ([2, 3], [3, 2])
    assert places.within(90, 0, 11, 10).tolist() == []


def test_many_at_one_place_and_limits() -> None:
    same = np.full(1000, 46.77, np.float32), np.full(1000, 23.6, np.float32)
    places = Places(*same, np.arange(1000, dtype=np.int32))
    rows, km = places.nearest(float(same[0][0]), float(same[1][0]), 300, max_km=0)
    assert len(set(rows.tolist())) == 300
    assert (km == 0).all()
    assert len(places.within(46.77, 23.6, 1, 5000)) == 1000


@pytest.mark.parametrize(
    ("place", "named"),
    [((np.nan, 0, 5), "lat"), ((0, np.inf, 5), "lon"), ((0, 0, 5, -1), "max_km")],
)
def test_what_is_no_place_is_refused(place, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Places(np.zeros(1), np.zeros(1), np.zeros(1, np.int32)).nearest(*place)
