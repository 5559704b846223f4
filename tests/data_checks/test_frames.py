"""Suites that look at frames: feature matrices and recommendations."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from data_checks.suites.features import features_frame, features_suite
from data_checks.suites.recommendations import recommendations_frame, recommendations_suite
from data_checks.suites.users import users_suite
from data_checks.validate import CheckError, check_frame
from models.data.ids import IdIndex
from models.profile.schema import Profile, load_profile


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile("marketplace")


IDS = IdIndex.of(["a", "b", "c", "d"])
GOOD_MATRIX: list[list[float]] = [[0.5, 0.5, 0], [1, 0, 0], [0, 0, 0], [0.25, 0.25, 0.5]]


def matrix(rows: list[list[float]]) -> sparse.csr_array:
    return sparse.csr_array(np.array(rows, np.float32).reshape(len(rows), 3))


def test_good_features_pass(profile: Profile) -> None:
    report = check_frame(features_suite(profile), features_frame(matrix(GOOD_MATRIX), IDS))
    assert report.success, report.summary
    assert (report.suite, report.rows_checked) == ("item_features", 4)


@pytest.mark.parametrize(
    ("row", "expectation"),
    [
        ([np.nan, 1, 0], "all weights are finite"),
        ([np.inf, 0, 0], "all weights are finite"),
        ([1, 1, 0], "the weights of a user that has features sum to 1"),
        ([0.2, 0, 0], "the weights of a user that has features sum to 1"),
    ],
)
def test_bad_features_fail(profile: Profile, row: list[float], expectation: str) -> None:
    frame = features_frame(matrix([*GOOD_MATRIX[:3], row]), IDS)
    (failure,) = check_frame(features_suite(profile, "user"), frame).failures
    assert (failure.expectation, failure.unexpected_count) == (expectation, 1)
    assert failure.examples[0].startswith("id d")


def test_an_empty_matrix_fails(profile: Profile) -> None:
    report = check_frame(features_suite(profile), features_frame(matrix([]), IdIndex.of([])))
    assert [failure.expectation for failure in report.failures] == ["there are rows"]


def test_coverage_of_features(profile: Profile) -> None:
    frame = features_frame(matrix(GOOD_MATRIX), IDS)
    assert check_frame(features_suite(profile, min_coverage=0.75), frame).success
    (failure,) = check_frame(features_suite(profile, min_coverage=0.8), frame).failures
    assert (failure.expectation, failure.observed) == (
        "at least 80% of rows have a feature",
        "1 of 4 rows",
    )


@given(
    st.lists(
        st.lists(st.floats(0, 1, width=32) | st.just(np.nan), min_size=3, max_size=3), max_size=8
    )
)
@settings(max_examples=50)
def test_features_frame_sums_up_the_matrix(rows: list[list[float]]) -> None:
    dense = np.array(rows, np.float32).reshape(len(rows), 3)
    ids = IdIndex.of([f"x{number}" for number in range(len(rows))])
    frame = features_frame(sparse.csr_array(dense), ids)
    assert frame["features"].to_list() == (dense != 0).sum(axis=1).tolist()
    assert frame["not_finite"].to_list() == (~np.isfinite(dense)).sum(axis=1).tolist()
    sums = frame["weight"].to_numpy().astype(float)
    assert np.allclose(sums, dense.astype(float).sum(axis=1), equal_nan=True)


ELIGIBLE = pl.Series([f"i{number}" for number in range(10)])


def recommendations(**changes: Any) -> pl.DataFrame:
    """Three items for each of two users; ``changes`` are made to the last row."""
    rows = [
        {
            "user_id": user,
            "item_id": f"i{rank}",
            "rank": rank,
            "score": 1 - rank / 10,
            "model_version": "7",
        }
        for user in ("u1", "u2")
        for rank in (1, 2, 3)
    ]
    rows[-1] |= changes
    return pl.DataFrame(rows, strict=False)


def test_good_recommendations_pass(profile: Profile) -> None:
    frame = recommendations_frame(recommendations(), ELIGIBLE)
    report = check_frame(recommendations_suite(profile), frame)
    assert report.success, report.summary
    assert report.rows_checked == 6


@pytest.mark.parametrize(
    ("changes", "expectation", "count"),
    [
        ({"rank": 2}, "ranks of a user are 1, 2, 3, …", 1),
        ({"rank": 4}, "ranks of a user are 1, 2, 3, …", 1),
        ({"score": 1.5}, "score is in 0 to 1", 1),
        ({"score": -0.1}, "score is in 0 to 1", 1),
        ({"score": float("inf")}, "score is in 0 to 1", 1),
        ({"score": float("nan")}, "score is a number", 1),
        ({"score": None}, "score is a number", 1),
        ({"item_id": "i2"}, "an item comes once for a user", 2),
        ({"item_id": "ended"}, "the item is known and eligible", 1),
        ({"user_id": None, "rank": 1}, "user_id is given", 1),
    ],
)
def test_bad_recommendations_fail(
    profile: Profile, changes: dict[str, Any], expectation: str, count: int
) -> None:
    frame = recommendations_frame(recommendations(**changes), ELIGIBLE)
    (failure,) = check_frame(recommendations_suite(profile), frame).failures
    assert (failure.expectation, failure.unexpected_count) == (expectation, count)
    user = changes.get("user_id", "u2") or "nan"
    assert f"user_id {user}, item_id {changes.get('item_id', 'i3')}" in failure.examples[-1]


def test_two_model_versions_fail(profile: Profile) -> None:
    frame = recommendations_frame(recommendations(model_version="8"), ELIGIBLE)
    (failure,) = check_frame(recommendations_suite(profile), frame).failures
    assert (failure.expectation, failure.observed) == ("all are of one model version", "2")


def test_too_long_a_list_fails(profile: Profile) -> None:
    short = profile.model_copy(
        update={"recommendations": profile.recommendations.model_copy(update={"per_user": 2})}
    )
    frame = recommendations_frame(recommendations(), ELIGIBLE)
    (failure,) = check_frame(recommendations_suite(short), frame).failures
    assert (failure.expectation, failure.unexpected_count) == ("rank is in 1 to 2", 2)


def test_no_recommendations_pass(profile: Profile) -> None:
    """Nobody was active lately, or all have seen everything."""
    frame = recommendations_frame(recommendations().clear(), ELIGIBLE)
    report = check_frame(recommendations_suite(profile), frame)
    assert report.success, report.summary


def test_examples_are_few_and_short(profile: Profile) -> None:
    frame = recommendations_frame(pl.concat([recommendations(item_id="x" * 10_000)] * 10), ELIGIBLE)
    for failure in check_frame(recommendations_suite(profile), frame).failures:
        assert len(failure.examples) <= 5
        assert all(len(example) < 500 for example in failure.examples)


def test_pandas_frames_and_missing_columns(profile: Profile) -> None:
    frame = pl.DataFrame({"id": ["a"], "lat": [None], "lon": [1.0], "created_at": ["2024-01-01"]})
    users = frame.with_columns(pl.col("created_at").str.to_datetime(time_zone="UTC")).to_pandas()
    (failure,) = check_frame(users_suite(profile), users).failures
    assert failure.expectation == "lon comes with lat"
    assert failure.examples[0].startswith("id a")
    with pytest.raises(CheckError, match="lat"):
        check_frame(users_suite(profile), users.drop(columns="lat"))
