"""Rates with their uncertainty, and differences that may be looked at at any time.

Users differ and come back, so it is users that are counted, not impressions: the variance of a
rate is that of a ratio of two sums over users (delta method; Deng et al. 2018, KDD).

Whoever looks every hour and stops at the first p < 0.05 finds something in most A/A tests. The
differences here hold at all looks together: a normal mixture of likelihood ratios (Robbins 1970;
mSPRT: Johari et al. 2017 and 2022) on means of any distribution, which are normal in the long
run (asymptotic confidence sequences: Waudby-Smith et al. 2021, 2024). What that is worth with few
users, who come back, is measured in ``docs/experiments.md``.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # scipy.stats takes a second to import

Floats = NDArray[np.float64]
SPREAD = 0.3
"""Standard deviation of the mixture, of relative differences: the test is quickest for
differences of about this size, and little slower for 5 % or 70 %. Never chosen by the data."""


@dataclass(frozen=True)
class Moments:
    """Sums over users of a ratio's numerator x and denominator y. Those of different users add.

    Attributes:
        n: users with y above 0.
        x, y: sums of what each user has, all at least 0.
        xx, yy, xy: sums of the users' squares and products.
    """

    n: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0

    @classmethod
    def of(cls, x: NDArray[np.number], y: NDArray[np.number]) -> Moments:
        """Of one number of each a user, both of shape (users,)."""
        return cls(*sums_of(x, y).tolist())

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(self.sums + other.sums).tolist())

    @property
    def sums(self) -> Floats:
        """n, x, y, xx, yy, xy: shape (6,)."""
        return np.array(astuple(self), np.float64)

    @property
    def rate(self) -> float | None:
        """``x / y``; None without y."""
        return self.x / self.y if self.y else None

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Of the rate, for one look; never below 0. None with fewer than two users.

        All ρ for which ``(rate - ρ)² <= t² v ρ / rate``, v the variance of the rate: a variance
        that grows with ρ, as of counts, keeps it honest when few have clicked (Wilson 1927).
        Where nobody has, v is that of independent events.
        """
        if self.n < 2:
            return None
        t = float(stdtrit(self.n - 1, (1 + confidence) / 2))
        rate, variance = self.x / self.y, float(ratio_variance(self.sums))
        half = t**2 / 2 * (variance / rate if rate else 1 / self.y)
        reach = math.sqrt(half**2 + 2 * rate * half)
        return max(0.0, rate + half - reach), rate + half + reach


@dataclass(frozen=True)
class Difference:
    """Of an arm to the control, as ``arm / control - 1``. Always valid: at all looks together
    the interval misses the truth with probability alpha at most.

    Attributes:
        relative: None: the control's rate is 0 or unknown.
        low: at least -1.
        high: None: without bound, the control's rate may be 0.
        p_value: of no difference.
    """

    relative: float | None
    low: float
    high: float | None
    p_value: float


def compare(arm: Moments, control: Moments, *, alpha: float) -> Difference:
    """The difference between the rates of two groups of users, for any number of looks.

    The sums are of everything since a fixed start, such as that of the experiment.
    """
    difference = differences(arm.sums, control.sums, alpha=alpha)
    relative, low, high, p_value = (float(part) for part in difference)
    return Difference(
        None if math.isnan(relative) else relative, low, None if math.isinf(high) else high, p_value
    )


class Differences(NamedTuple):
    """Many at once: ``relative`` is nan and ``high`` inf where ``Difference`` has None."""

    relative: Floats
    low: Floats
    high: Floats
    p_value: Floats


def differences(arm: Floats, control: Floats, *, alpha: float) -> Differences:
    """``compare`` for arrays of sums (see ``Moments.sums``), both of shape (6, ...).

    With d the difference of the rates, V its variance and v = V / (rate of both together)², the
    likelihood ratio of the mixture N(0, s²) of relative differences is
    ``L = sqrt(v / (v + s²)) exp(d² / V · s² / 2(v + s²))`` and ``p = min(1, 1/L)``. It is below
    alpha where ``|d| > k sqrt(V)``; the interval is all ratios ρ with
    ``(arm - ρ control)² <= k² (V_arm + ρ² V_control)`` (Fieller 1954).

    V is the larger one of two: each side with its own variance, and both with a common one an
    impression, without which ten impressions with no click would prove anything. And no rate is
    known better than to about one event (φ / y, φ the common variance by the mean), or an arm
    that nobody has clicked yet would be 100 % worse for certain.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        rate, base = arm[1] / arm[2], control[1] / control[2]
        both = arm + control
        overall = both[1] / both[2]
        an_impression = ratio_variance(both) * both[2]
        event = an_impression / overall
        own = np.maximum(ratio_variance(arm), (event / arm[2]) ** 2)
        own_base = np.maximum(ratio_variance(control), (event / control[2]) ** 2)
        common = an_impression * (1 / arm[2] + 1 / control[2])
        safer = np.fmax(1, common / (own + own_base))
        variance, variance_base = own * safer, own_base * safer
        total = variance + variance_base
        v = total / overall**2
        wider = (v + SPREAD**2) / SPREAD**2
        log_odds = np.log1p(SPREAD**2 / v)
        log_p = log_odds / 2 - (rate - base) ** 2 / total / wider / 2
        p_value = np.where(np.isnan(log_p), 1.0, np.exp(np.minimum(log_p, 0)))

        k2 = wider * (log_odds - 2 * np.log(alpha))
        a = base**2 - k2 * variance_base
        b = rate * base
        root = np.sqrt(np.maximum(b**2 - a * (rate**2 - k2 * variance), 0))
        bounded = a > 0
        low = np.where(bounded, np.fmax((b - root) / a, 0), 0) - 1
        high = np.where(bounded, (b + root) / a - 1, np.inf)
        relative = np.where(base > 0, rate / base - 1, np.nan)
    return Differences(relative, low, high, p_value)


def sums_of(x: NDArray[np.number], y: NDArray[np.number]) -> Floats:
    """``Moments.sums`` of one x and y a user, both of shape (users,)."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.array([np.count_nonzero(y > 0), x.sum(), y.sum(), x @ x, y @ y, x @ y])


def ratio_variance(sums: Floats) -> Floats:
    """Of the ratio x / y of sums over users, by the delta method. Infinite or nan below two."""
    n, x, y, xx, yy, xy = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = x / y
        squares = np.maximum(xx - 2 * rate * xy + rate**2 * yy, 0)
        return np.where(n > 1, n / (n - 1) * squares / y**2, np.inf)
