"""Off-policy estimates: their algebra, and on a simulated bandit, where the truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.off_policy import OffPolicy, off_policy

logs = st.lists(
    st.tuples(st.integers(0, 1), st.floats(0.05, 1), st.floats(0, 1), st.integers(0, 5)),
    min_size=2,
    max_size=60,
).map(lambda rows: tuple(map(np.array, zip(*rows, strict=True))))
Log = tuple[Any, Any, Any, Any]


@given(log=logs)
def test_the_live_policy_is_estimated_as_it_was(log: Log) -> None:
    rewards, propensities, _, users = log
    found = off_policy(rewards, propensities, propensities, users)
    assert found.ips == found.snips == found.logged
    assert found.logged.value == pytest.approx(rewards.mean())
    assert found.effective == pytest.approx(len(rewards))
    assert found.overlap == 1


@given(log=logs, scale=st.floats(0.1, 1), level=st.floats(0, 1))
def test_algebra(log: Log, scale: float, level: float) -> None:
    rewards, propensities, target, users = log
    found = off_policy(rewards, propensities, target, users)
    assert 0 <= found.snips.value <= 1 + 1e-9
    assert 0 <= found.effective <= len(rewards) + 1e-6
    less = off_policy(rewards, propensities, scale * target, users)
    assert less.snips.value == pytest.approx(found.snips.value)
    assert less.ips.value == pytest.approx(scale * found.ips.value)
    nothing = np.zeros(len(rewards))
    robust = off_policy(
        rewards, propensities, target, users, predicted=nothing, expected=nothing
    ).doubly_robust
    assert robust == found.ips
    perfect = off_policy(
        rewards, propensities, target, users, predicted=rewards, expected=nothing + level
    ).doubly_robust
    assert perfect is not None
    assert perfect.value == pytest.approx(level)


class Bandit:
    """Users with a taste of four items; the live policy prefers other items than the target."""

    def __init__(self, worlds: int, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        tastes = rng.dirichlet([0.5] * 4, 200)
        self.ctr = 0.05 + 0.4 * tastes  # (users, items)
        self.live = 0.1 + 0.6 * np.eye(4)[tastes.argmin(axis=1)]
        self.target = 0.04 + 0.84 * np.eye(4)[tastes.argmax(axis=1)]
        self.truth = float((self.target * self.ctr).sum(axis=1).mean())
        self.user = np.tile(np.arange(200), 10)
        ends = self.live[self.user].cumsum(axis=1)
        draws = rng.random((worlds, len(self.user), 1))
        self.shown = np.minimum((draws >= ends).sum(axis=2), 3)
        self.clicks = rng.random(self.shown.shape) < self.ctr[self.user, self.shown]

    def estimates(self, model: np.ndarray, live: np.ndarray | None = None) -> list[OffPolicy]:
        live = self.live if live is None else live
        user = self.user
        return [
            off_policy(
                clicks,
                live[user, shown],
                self.target[user, shown],
                user,
                predicted=model[user, shown],
                expected=(self.target * model).sum(axis=1)[user],
            )
            for shown, clicks in zip(self.shown, self.clicks, strict=True)
        ]


@pytest.fixture(scope="module")
def bandit() -> Bandit:
    return Bandit(worlds=400)


def values(found: list[OffPolicy], name: str) -> np.ndarray:
    return np.array([getattr(one, name).value for one in found])


def test_ips_and_doubly_robust_are_unbiased_and_a_good_model_helps(bandit: Bandit) -> None:
    found = bandit.estimates(bandit.ctr)
    noise = 4 / np.sqrt(len(found))
    for name in ("ips", "doubly_robust"):
        off = values(found, name)
        assert abs(off.mean() - bandit.truth) < noise * off.std()
    assert abs(values(found, "snips").mean() - bandit.truth) < 0.01 * bandit.truth
    ips, snips, robust = (values(found, name).var() for name in ("ips", "snips", "doubly_robust"))
    assert robust < 0.9 * ips
    assert snips < ips
    assert abs(values(found, "logged").mean() - bandit.truth) > 0.1 * bandit.truth
    intervals = [one.doubly_robust for one in found if one.doubly_robust]
    assert np.mean([one.low <= bandit.truth <= one.high for one in intervals]) > 0.92
    assert np.mean([one.note is None for one in found]) > 0.9


def test_doubly_robust_is_unbiased_with_a_bad_model_or_bad_propensities(bandit: Bandit) -> None:
    noise = 4 / np.sqrt(len(bandit.clicks))
    bad_model = values(bandit.estimates(0.5 - bandit.ctr), "doubly_robust")
    assert abs(bad_model.mean() - bandit.truth) < noise * bad_model.std()
    even = np.full_like(bandit.live, 0.25)
    bad_weights = values(bandit.estimates(bandit.ctr, live=even), "doubly_robust")
    assert abs(bad_weights.mean() - bandit.truth) < noise * bad_weights.std()


def test_poor_overlap_is_not_enough_data() -> None:
    n = 10_000
    users, clicks = np.arange(n) % 500, np.zeros(n)
    never = np.where(np.arange(n) < n // 2, 1.0, 0.0)  # half of the time it shows something else
    assert "mean weight is 0.50" in (off_policy(clicks, np.ones(n), never, users).note or "")
    rare = np.full(n, 1.0)
    rare[:10] = 0.001
    target = (rare < 1).astype(float)
    assert "worth 10 impressions" in (off_policy(clicks, rare, target, users).note or "")
    alone = off_policy(clicks, np.ones(n), np.ones(n), users % 29)
    assert alone.note == "not enough data: 29 users, 30 are needed"
    assert off_policy(clicks, np.ones(n), np.zeros(n), users).effective == 0


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"propensities": [0.0, 1.0]}, "propensities"),
        ({"propensities": [1.1, 1.0]}, "propensities"),
        ({"target": [1.0]}, "target"),
        ({"target": [np.nan, 1.0]}, "target"),
        ({"rewards": [np.inf, 1.0]}, "rewards"),
        ({"rewards": []}, "rewards"),
        ({"users": [1]}, "users"),
        ({"predicted": [1.0, 1.0]}, "expected"),
    ],
)
def test_a_wrong_array_is_named(wrong: dict[str, list[float]], name: str) -> None:
    log: dict[str, Any] = {
        "rewards": [0, 1],
        "propensities": [0.5, 1],
        "target": [0.5, 1],
        "users": [1, 2],
    }
    arrays: dict[str, Any] = {key: np.array(value) for key, value in {**log, **wrong}.items()}
    with pytest.raises(ValueError, match=name):
        off_policy(**arrays)
