"""How another ranking would have done, from what the live one showed and how likely that was.

Each position of a feed is one decision: given the user and the items above, the live policy puts
an item there with the logged propensity. The estimates are of the click rate if the target policy
had chosen at each position, below what was in fact above it: clicks depend on the item and its
position (the item-position model of Li et al. 2018, *Offline evaluation of ranking policies with
click models*), so they need not the propensity of whole lists, which would be hopelessly small.

- IPS weighs each click by target / propensity: unbiased where the live policy can show all that
  the target would (Horvitz and Thompson 1952).
- SNIPS divides by the sum of the weights instead of the count: a little biased, much steadier
  (Swaminathan and Joachims 2015, *The self-normalized estimator for counterfactual learning*).
- Doubly robust adds a model of the reward, and weighs only what it got wrong: unbiased if the
  propensities are right, whatever the model (Dudík, Langford and Li 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # scipy.stats takes a second to import

from models.experiments.sequential import ratio_variance, sums_of

Floats = NDArray[np.float64]
LEAST_EFFECTIVE = 200.0
LEAST_USERS = 30
WRONG_BY = 0.1


@dataclass(frozen=True)
class Estimate:
    """A rate with its confidence interval, for one look; users are what varies."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OffPolicy:
    """What the log says of a target policy.

    Attributes:
        logged: the live policy's own rate.
        ips, snips: estimates of the target's rate.
        doubly_robust: None without a model of the reward.
        impressions, users: in the log.
        effective: how many impressions of the target itself would tell as much,
            ``(Σw)² / Σw²`` (Kish 1965).
        overlap: mean weight; 1 in the long run if the live policy shows all that the target
            would, and below by the share that it never shows.
        note: why the estimates are not to be believed, for people; None: there is enough data.
    """

    logged: Estimate
    ips: Estimate
    snips: Estimate
    doubly_robust: Estimate | None
    impressions: int
    users: int
    effective: float
    overlap: float
    note: str | None


def off_policy(
    rewards: NDArray[np.number],
    propensities: NDArray[np.floating],
    target: NDArray[np.floating],
    users: NDArray[np.integer],
    *,
    predicted: NDArray[np.floating] | None = None,
    expected: NDArray[np.floating] | None = None,
    confidence: float = 0.95,
) -> OffPolicy:
    """Estimate a target policy's rate from the impressions of another one. O(n log n).

    With w = target / propensities and n impressions: ``IPS = Σ w r / n``, ``SNIPS = Σ w r / Σ w``,
    ``DR = Σ (expected + w (r - predicted)) / n``. Intervals are of ratios of sums over users, by
    the delta method.

    Args:
        rewards: what each impression brought, 1 for a click and 0 for none, shape (n,).
        propensities: as logged: how likely the live policy was to put this item at this position
            given the items above, in (0, 1], shape (n,).
        target: the same of the target policy, in [0, 1], shape (n,). Of one without chance: 1
            where the shown item is the best, by the target's scores, of all that it could have
            shown below the items above; else 0.
        users: any integer for each user, shape (n,).
        predicted: a model's reward of the shown item, shape (n,), from other data than this log.
        expected: its mean reward at this position under the target,
            ``Σ_item target(item) · predicted(item)``, shape (n,); of a target without chance the
            prediction for its best item. Both or none.

    Raises:
        ValueError: an array of another length, or outside its range; the message names it. There
            are no impressions.
    """
    n = len(rewards)
    if n == 0:
        raise ValueError("rewards: there are no impressions to estimate from")
    if (predicted is None) != (expected is None):
        raise ValueError("predicted and expected: give both, or none of them")
    r = _checked("rewards", rewards, n)
    p = _checked("propensities", propensities, n, 1)
    if not p.all():
        raise ValueError("propensities: what was shown had a chance, so all must be above 0")
    w = _checked("target", target, n, 1) / p
    _, user = np.unique(users, return_inverse=True)
    if user.shape != (n,):
        raise ValueError(f"users: {user.size} values for {n} impressions")

    def ratio(x: Floats, y: Floats) -> Estimate:
        sums = sums_of(np.bincount(user, x), np.bincount(user, y))
        value = sums[1] / sums[2] if sums[2] else 0.0
        spread = np.sqrt(ratio_variance(sums)) if sums[2] else np.inf
        reach = stdtrit(max(sums[0] - 1, 1), (1 + confidence) / 2) * spread
        return Estimate(float(value), float(value - reach), float(value + reach))

    ones = np.ones(n)
    robust = None
    if predicted is not None and expected is not None:
        model, mean = _checked("predicted", predicted, n), _checked("expected", expected, n)
        robust = ratio(mean + w * (r - model), ones)
    squares = w @ w
    effective = float(w.sum() ** 2 / squares) if squares else 0.0
    overlap, people = ratio(w, ones), int(user.max()) + 1
    return OffPolicy(
        ratio(r, ones),
        ratio(w * r, ones),
        ratio(w * r, w),
        robust,
        n,
        people,
        effective,
        overlap.value,
        _note(people, effective, overlap),
    )


def _note(users: int, effective: float, overlap: Estimate) -> str | None:
    if users < LEAST_USERS:
        return f"not enough data: {users} users, {LEAST_USERS} are needed"
    if effective < LEAST_EFFECTIVE:
        return (
            f"not enough data: worth {effective:.0f} impressions of the target, "
            f"{LEAST_EFFECTIVE:.0f} are needed"
        )
    beyond_noise = not overlap.low <= 1 <= overlap.high
    if beyond_noise and abs(overlap.value - 1) > WRONG_BY:
        return (
            f"not enough data: the mean weight is {overlap.value:.2f} instead of 1, so the target "
            "shows what was shown too seldom, or never"
        )
    return None


def _checked(
    name: str, values: NDArray[np.number], n: int, most: float = np.inf
) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.shape != (n,):
        raise ValueError(f"{name}: shape {array.shape} for {n} impressions")
    if not np.isfinite(array).all() or (most < np.inf and ((array < 0) | (array > most)).any()):
        raise ValueError(
            f"{name}: all must be {'finite' if most == np.inf else f'in [0, {most:g}]'}"
        )
    return array
