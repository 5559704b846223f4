"""Exposure: shares and Gini against their definitions, and what they are held against."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from models.evaluation.metrics.exposure import (
    AGES,
    ItemFacts,
    gini,
    of_catalogue,
    of_consumption,
    of_lists,
    popularity_percentile,
)
from models.evaluation.metrics.user_groups import MIN_USERS, user_groups
from tests.models.worlds import NOW, ago, catalogue_of, dataset_of, interactions_frame

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=30).map(np.array)


@given(COUNTS)
def test_gini_is_half_the_mean_difference_of_all_pairs(counts: np.ndarray) -> None:
    mean = counts.mean()
    pairs = np.abs(counts[:, None] - counts[None, :]).mean()
    assert gini(counts) == pytest.approx(pairs / (2 * mean) if mean else 0)
    assert 0 <= gini(counts) < 1


@given(COUNTS)
def test_a_catalogue_shown_alike_has_no_popularity_bias(counts: np.ndarray) -> None:
    percentile = popularity_percentile(counts)
    assert percentile.mean() == pytest.approx(0.5)
    assert (np.argsort(percentile, kind="stable") == np.argsort(counts, kind="stable")).all()


def facts_of(users: list[int], owner: list[int], age: list[int] | None = None) -> ItemFacts:
    return ItemFacts(np.array(users), np.array(owner), np.array(age or [0] * len(users)))


def test_what_stands_higher_is_more_exposed() -> None:
    facts = facts_of([9, 5, 1, 0], [0, 1, 1, -1], [4, 3, 0, 5])
    first, second = 1.0, 1 / np.log2(3)
    shown = of_lists(np.array([[0, 2], [0, -1]]), facts)
    total = 2 * first + second
    assert shown.heads == pytest.approx((2 * first / total,) * 2)  # 1 and 10 % of 4 are one item
    assert shown.ages == pytest.approx([second / total, 0, 0, 0, 2 * first / total, 0])
    assert shown.top_owners == pytest.approx(2 * first / total)
    assert shown.their_items == pytest.approx(1 / 3)  # of the items with an owner
    assert shown.their_interactions == pytest.approx(9 / 15)
    assert 0.5 < shown.percentile < 1
    assert shown.metrics()["exposure.age.older"] == pytest.approx(2 * first / total)


def test_each_user_counts_the_same_in_what_users_took() -> None:
    facts = facts_of([1, 1, 1], [0, 0, 0], [0, 1, 2])
    took = sparse.csr_array(np.array([[1, 0, 0], [0, 1, 1]], np.float32))
    assert of_consumption(took, facts).ages[:3] == pytest.approx([0.5, 0.25, 0.25])
    assert of_catalogue(facts).ages[:3] == pytest.approx([1 / 3] * 3)
    assert of_catalogue(facts).gini_items == pytest.approx(0)


def test_without_owners_and_without_lists_nothing_is_claimed() -> None:
    facts = facts_of([3, 0], [-1, -1])
    shown = of_lists(np.full((2, 3), -1), facts)
    assert np.isnan([shown.top_owners, shown.gini_owners, shown.their_items]).all()
    assert shown.gini_items == 0
    assert not [name for name in shown.metrics() if "owners" in name]


def test_facts_and_groups_are_those_of_the_catalogue() -> None:
    made = [None, NOW, ago(hours=3), ago(days=3), ago(days=9), ago(days=99), ago(days=-2)]
    users: list[dict] = [
        {"id": f"u{n:02}", "city": "Rome" if n < MIN_USERS else "Pisa"} for n in range(30)
    ]
    users[3] |= {"lat": 1.0, "lon": 2.0}
    dataset = dataset_of(
        catalogue_of(
            users,
            [
                {"id": f"i{n}", "owner_id": f"o{n % 2}" if n else None, "created_at": at}
                for n, at in enumerate(made)
            ],
        ),
        interactions_frame(
            [(f"u{n:02}", "i1", "like", ago(days=1)) for n in range(4)]
            + [("u00", "i1", "view", ago(days=2)), ("u00", "i2", "dismiss", ago(days=2))]
        ),
    )
    facts = ItemFacts.of(dataset)
    assert facts.users.tolist() == [0, 4, 1, 0, 0, 0, 0]
    assert facts.owner.tolist() == [-1, 1, 0, 1, 0, 1, 0]
    expected = ["unknown", "under 1 day", "under 1 day", "1 to 7 days", "7 to 30 days"]
    assert [AGES[age] for age in facts.age] == [*expected, "older", "after the split"]

    judged = np.arange(30)
    groups = user_groups(dataset, judged, np.repeat(["cold", "warm"], 15))
    assert set(groups) == {"cold users", "warm users", "with a place", "without a place", "in Rome"}
    assert np.flatnonzero(groups["with a place"]).tolist() == [3]
    assert groups["in Rome"].sum() == MIN_USERS
