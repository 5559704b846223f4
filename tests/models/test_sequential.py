"""Rates over users: their variance, their intervals, and differences at any time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.experiments.sequential import Difference, Moments, compare, differences, ratio_variance

users = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 20)).map(lambda u: (min(u), u[1])),
    min_size=2,
    max_size=50,
)
Users = list[tuple[int, int]]


def moments(some: Users) -> Moments:
    clicks, impressions = np.array(some).T
    return Moments.of(clicks, impressions)


@given(one=users, other=users)
def test_moments_of_different_users_add(one: Users, other: Users) -> None:
    assert moments(one) + moments(other) == moments(one + other)


@given(some=users)
def test_a_rate_lies_in_its_interval(some: Users) -> None:
    made = moments(some)
    low, high = made.interval() or (1, 0)
    assert made.rate is not None
    assert 0 <= low <= made.rate + 1e-12
    assert made.rate <= high + 1e-12
    wider = made.interval(0.99)
    assert wider is not None
    assert wider[0] <= low + 1e-12
    assert high <= wider[1] + 1e-12


def test_without_users_there_is_no_rate() -> None:
    assert Moments().rate is None
    assert Moments().interval() is None
    assert Moments.of(np.array([1]), np.array([3])).interval() is None
    nobody = Moments.of(np.zeros(50), np.full(50, 10)).interval()
    assert nobody is not None
    assert nobody == (0, pytest.approx(4 / 500, rel=0.05))  # about the rule of three


def test_the_variance_is_of_users_not_impressions() -> None:
    rng = np.random.default_rng(1)
    readiness = rng.beta(1, 9, (4000, 300))
    shown = rng.integers(1, 30, (4000, 300))
    clicks = rng.binomial(shown, readiness)
    rates = clicks.sum(axis=1) / shown.sum(axis=1)
    worlds = [Moments.of(x, y) for x, y in zip(clicks, shown, strict=True)]
    estimated = [float(ratio_variance(world.sums)) for world in worlds]
    assert np.mean(estimated) == pytest.approx(rates.var(), rel=0.1)
    intervals = [world.interval() or (1, 0) for world in worlds]
    covered = [low <= 0.1 <= high for low, high in intervals]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


@given(arm=users, control=users, alpha=st.floats(0.001, 0.5))
def test_p_value_and_interval_agree(arm: Users, control: Users, alpha: float) -> None:
    found = compare(moments(arm), moments(control), alpha=alpha)
    assert 0 <= found.p_value <= 1
    assert found.low >= -1
    high = math.inf if found.high is None else found.high
    if found.relative is not None:
        assert found.low - 1e-9 <= found.relative
        if found.high is not None:
            assert found.relative <= high + 1e-9
            if abs(found.p_value - alpha) > 1e-6:
                assert (found.low > 0 or high < 0) == (found.p_value < alpha)


@given(some=users)
def test_the_same_is_no_difference(some: Users) -> None:
    found = compare(moments(some), moments(some), alpha=0.05)
    assert found.p_value == 1
    if found.relative is not None:
        assert found.relative == 0
        assert found.low <= 0


def test_where_there_is_nothing_to_compare() -> None:
    some, none = moments([(1, 10)] * 20 + [(3, 10)] * 20), Moments()
    assert compare(some, none, alpha=0.05) == Difference(None, -1, None, 1)
    assert compare(none, some, alpha=0.05).p_value == 1
    assert compare(none, none, alpha=0.05) == Difference(None, -1, None, 1)
    zero = moments([(0, 10)] * 200)
    assert compare(some, zero, alpha=0.05).relative is None
    assert compare(zero, zero, alpha=0.05) == Difference(None, -1, None, 1)
    # Whom nobody has clicked yet may be only a little worse.
    unseen = compare(moments([(0, 10)] * 30), moments([(1, 10)] * 300), alpha=0.05)
    assert unseen.relative == -1
    assert unseen.high is not None
    assert -0.9 < unseen.high < 0
    # A small side without a click proves nothing against a large one.
    many = moments([(1, 10)] * 1000 + [(0, 10)] * 1000)
    assert compare(moments([(0, 10)] * 3), many, alpha=0.05).p_value > 0.2


def test_it_holds_at_all_looks_together() -> None:
    """As the t-test does not. benchmarks/guardrails.py has users who come back, and more worlds."""
    rng = np.random.default_rng(3)
    x = rng.binomial(5, rng.beta(2, 18, (2, 500, 2000))).astype(float)
    y = np.full_like(x, 5)
    users = [np.ones_like(x), x, y, x * x, y * y, x * y]
    arm, control = np.cumsum(users, axis=-1)[..., 49::25].transpose(1, 0, 2, 3)
    p_values = differences(arm, control, alpha=0.05).p_value
    spread = np.sqrt(ratio_variance(arm) + ratio_variance(control))
    z = (arm[1] / arm[2] - control[1] / control[2]) / spread
    assert (p_values < 0.05).any(axis=1).mean() <= 0.05
    assert (np.abs(z) > 1.96).any(axis=1).mean() > 0.2
