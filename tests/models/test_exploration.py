"""Propensities are what really happens, so that an evaluation by them is unbiased."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.feed.ordering.exploration import (
    Exploration,
    explore,
    logged,
    selection_probabilities,
    to_explore,
)

ORDER = np.array([10, 11, 12, 13, 14])
ITEMS = np.array([12, 30, 11])  # two that the list has anyway, and one that it has not
CHANCES = np.array([0.5, 0.3, 0.2])
SHARE = 0.4
FIRST, HORIZON = 2, 4


def run(rng: np.random.Generator, share: float = SHARE) -> Exploration:
    return explore(
        ORDER, ITEMS, CHANCES, share=share, first_position=FIRST, rng=rng, horizon=HORIZON
    )


@pytest.fixture(scope="module")
def runs() -> list[Exploration]:
    rng = np.random.default_rng(1)
    return [run(rng) for _ in range(10_000)]


def support(
    above: list[int],
    order: np.ndarray = ORDER,
    items: np.ndarray = ITEMS,
    chances: np.ndarray = CHANCES,
    share: float = SHARE,
    first: int = FIRST,
    horizon: int = HORIZON,
) -> dict[int, float]:
    """Probability of each item that may come next, by the definition."""
    following = next(item for item in order.tolist() if item not in above)
    left = {
        item: chance
        for item, chance in zip(items.tolist(), chances.tolist(), strict=True)
        if item not in above
    }
    if not left or not first <= len(above) + 1 <= horizon:
        return {following: 1.0}
    of_slot = {item: share * chance / sum(left.values()) for item, chance in left.items()}
    return of_slot | {following: 1 - share + of_slot.get(following, 0)}


def test_lists_come_as_often_as_their_propensities_say(runs: list[Exploration]) -> None:
    seen = Counter(tuple(one.order.tolist()) for one in runs)
    likely = {tuple(one.order.tolist()): one.propensities.prod(dtype=float) for one in runs}
    assert sum(likely.values()) == pytest.approx(1)  # each possible list was seen
    expected = [len(runs) * likely[items] for items in seen]
    assert stats.chisquare(list(seen.values()), expected, sum_check=False).pvalue > 0.001


def test_another_policy_is_judged_without_bias(runs: list[Exploration]) -> None:
    """Inverse propensity weighting of the log against what the other policy really earns."""
    reward = {10: 0.3, 11: 0.9, 12: 0.2, 13: 0.6, 14: 0.1, 30: 0.75}
    for above in range(HORIZON):
        estimates, truths, weights = [], [], []
        for one in runs:
            items = one.order.tolist()
            possible = support(items[:above])  # the other policy: any of them alike
            weight = 1 / len(possible) / one.propensities[above]
            weights.append(weight)
            estimates.append(weight * reward[items[above]])
            truths.append(sum(reward[item] for item in possible) / len(possible))
        error = np.subtract(estimates, truths)
        allowed = 3 * error.std() / np.sqrt(len(runs)) + 1e-6
        assert abs(error.mean()) <= allowed
        assert sum(estimates) / sum(weights) == pytest.approx(np.mean(truths), abs=0.01)  # SNIPS


def test_slots_are_marked_and_as_many_as_the_share(runs: list[Exploration]) -> None:
    explored = np.mean([one.explored[: HORIZON + 1] for one in runs], axis=0)
    assert explored[0] == explored[HORIZON] == 0
    allowed = 3 * np.sqrt(SHARE * (1 - SHARE) / len(runs))
    assert explored[FIRST - 1 : HORIZON - 1] == pytest.approx(SHARE, abs=allowed)
    for one in runs[:500]:
        assert set(one.order[one.explored].tolist()) <= set(ITEMS.tolist())


@given(st.data())
def test_a_list_keeps_its_order_and_every_propensity_is_exact(data: st.DataObject) -> None:
    order = np.array(data.draw(st.lists(st.integers(0, 50), unique=True, max_size=30)), np.int32)
    items = np.array(data.draw(st.lists(st.integers(0, 60), unique=True, max_size=9)), np.int32)
    chances = np.linspace(0.01, 1, len(items))
    share = data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    first, horizon = data.draw(st.integers(1, 9)), data.draw(st.integers(0, 40))
    seed = data.draw(st.integers(0, 99))

    def made() -> Exploration:
        rng = np.random.default_rng(seed)
        return explore(
            order, items, chances, share=share, first_position=first, rng=rng, horizon=horizon
        )

    one = made()
    got = one.order.tolist()
    assert len(set(got)) == len(got) == len(one.explored)
    drawn = one.order[one.explored].tolist()
    assert set(drawn) <= set(items.tolist())
    assert one.order[~one.explored].tolist() == [i for i in order.tolist() if i not in drawn]
    if share == 0:
        assert got == order.tolist()
    expected = [
        support(got[:above], order, items, chances, share, first, horizon)[item]
        for above, item in enumerate(got)
    ]
    assert one.propensities.dtype == np.float32
    assert one.propensities == pytest.approx(expected, rel=1e-5)
    again = made()
    assert again.order.tolist() == got
    assert again.propensities.tolist() == one.propensities.tolist()


def test_a_share_of_one_shows_all_new_items_first() -> None:
    one = run(np.random.default_rng(0), share=1.0)
    assert one.explored.tolist() == [False, True, True, True, False, False]
    assert sorted(one.order[1:4].tolist()) == [11, 12, 30]


def test_probabilities_are_those_of_being_the_best(rng: np.random.Generator) -> None:
    """Of two Beta posteriors, P(a > b) is known by integration."""
    clicks, impressions = np.array([3, 1]), np.array([20, 15])
    made = selection_probabilities(
        clicks,
        impressions,
        prior_clicks=1,
        prior_impressions=10,
        rng=rng,
        draws=20_000,
        uniform_share=0,
    )
    rate = np.linspace(0, 1, 20_001)
    first, second = stats.beta(4, 26), stats.beta(2, 23)
    exact = np.trapezoid(first.pdf(rate) * second.cdf(rate), rate)
    assert made[0] == pytest.approx(exact, abs=3 * np.sqrt(0.25 / 20_000))
    assert made.sum() == pytest.approx(1)


def test_no_probability_is_zero(rng: np.random.Generator) -> None:
    clicks, impressions = np.array([90, 0, 0, 7]), np.array([100, 1000, 1000, 2])
    made = selection_probabilities(
        clicks, impressions, prior_clicks=1, prior_impressions=20, rng=rng
    )
    assert made.argmax() == 0
    assert made.min() >= 0.05 / 4
    assert made.sum() == pytest.approx(1)
    nothing = np.zeros(0)
    assert not len(
        selection_probabilities(nothing, nothing, prior_clicks=1, prior_impressions=20, rng=rng)
    )
    with pytest.raises(ValueError, match="prior_clicks=20 with prior_impressions=20"):
        selection_probabilities(clicks, impressions, prior_clicks=20, prior_impressions=20, rng=rng)


def test_to_explore_is_young_and_little_shown() -> None:
    created = np.array([9.0, 9.0, 3.0, 2.9]) * 86_400
    chosen = to_explore(
        np.array([50, 51, 0, 0]), created, now=10 * 86_400, max_impressions=50, max_age_days=7
    )
    assert chosen.tolist() == [True, False, True, False]


@given(st.floats(1e-12, 1, exclude_min=True))
def test_what_is_logged_keeps_the_weight_right(propensity: float) -> None:
    assert 1 / logged(propensity) == pytest.approx(1 / propensity, rel=1e-3)
