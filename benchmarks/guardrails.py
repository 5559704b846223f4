"""How often guardrails cry wolf, and how soon they see one, in simulated worlds looked at hourly.

Users differ in how often they come and how readily they click, and come back. In A/A worlds both
sides are the same; else the arm's rate is lower.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import report
from benchmarks.common.report import Row, log
from models.experiments.sequential import differences, ratio_variance
from models.profile.operation_sections import Guardrails

HOURS = 168
VISITS = 5.0  # of a user in HOURS, on average
SPREAD_OF_USERS = 0.7  # standard deviation of users' click rates, by their mean
AT_ONCE = 1_000_000  # users, or looks, of the worlds that are played together
LIMITS = Guardrails()
Floats = NDArray[np.float64]
Alarms = NDArray[np.bool_]


@dataclass(frozen=True)
class World:
    """Worlds of one kind.

    Attributes:
        ctr: the control's.
        drop: of the arm's CTR, as a share.
        arm, control: users.
        a_visit: impressions.
        looks: in HOURS.
        swing: standard deviation of the logarithm of how much readier to click people are in the
            arm's time than in the control's, which was before, with the same users; None: both
            at once, by lot.
    """

    name: str
    ctr: float = 0.05
    drop: float = 0.0
    arm: int = 1000
    control: int = 1000
    a_visit: int = 10
    looks: int = HOURS
    swing: float | None = None


SWINGS = "one after the other, CTR swings by 20 %"
SLIDING = "A/A, CTR 5 %, a sliding week, 28 days"
WORLDS = (
    World("A/A, CTR 5 %"),
    World("A/A, CTR 1 %", ctr=0.01),
    World("A/A, CTR 20 %", ctr=0.2),
    World("A/A, CTR 5 %, 100 users a side", arm=100, control=100),
    World("A/A, CTR 5 %, 5 % of 2,000 users", arm=100, control=1900),
    World("A/A, CTR 5 %, a look every minute", arm=300, control=300, looks=HOURS * 60),
    World("A/A, conversion 10 % of 1 click a visit", ctr=0.1, a_visit=1),
    World(f"A/A, {SWINGS}", swing=0.2),
    World("20 % drop", drop=0.2),
    World("50 % drop", drop=0.5),
    World("70 % drop", drop=0.7),
    World("20 % drop, CTR 1 %", drop=0.2, ctr=0.01),
    World("20 % drop, CTR 20 %", drop=0.2, ctr=0.2),
    World("20 % drop, 5 % of 10,000 users", drop=0.2, arm=500, control=9500),
    World("50 % drop of conversion 10 %", ctr=0.1, a_visit=1, drop=0.5),
    World(f"70 % drop, {SWINGS}", drop=0.7, swing=0.2),
)


def play(world: World, worlds: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Sums of clicks and impressions up to each look, of the arm and of the control, each of shape
    (6, worlds, looks). See ``models.experiments.sequential.Moments``."""
    shape = worlds, world.arm + world.control
    of_arm = np.arange(shape[1]) < world.arm
    readiness = _readiness(world.ctr, shape, rng)
    if world.swing is not None:
        both = min(world.arm, world.control)
        readiness[:, -both:] = readiness[:, :both]
        readiness[:, of_arm] *= np.exp(world.swing * rng.standard_normal((worlds, 1)))
    readiness[:, of_arm] *= 1 - world.drop
    visits = rng.poisson(rng.exponential(VISITS, shape))
    owner = np.repeat(np.arange(visits.size), visits.ravel())
    look = _looks(len(owner), world.looks, rng)
    if world.swing is not None:
        look[~of_arm[owner % shape[1]]] = 0
    order = owner * world.looks + look
    order.sort()  # each user's visits in their order
    owner, look = np.divmod(order, world.looks)
    clicks = rng.binomial(world.a_visit, np.minimum(readiness.ravel()[owner], 1))
    shown = np.full(len(owner), world.a_visit)
    y = _before(shown, owner)
    x = _before(clicks, owner)
    side = 2 * (owner // shape[1]) + ~of_arm[owner % shape[1]]
    growth = (
        y == 0,
        clicks,
        shown,
        (x + clicks) ** 2 - x**2,
        (y + shown) ** 2 - y**2,
        (x + clicks) * (y + shown) - x * y,
    )
    cell = side * world.looks + look
    size = worlds * 2 * world.looks
    sums = np.array([np.bincount(cell, of_each, size) for of_each in growth])
    by_look = sums.reshape(6, worlds, 2, world.looks).cumsum(axis=-1)
    return by_look[:, :, 0], by_look[:, :, 1]


def _readiness(ctr: float, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Each user's own click rate."""
    concentration = (1 - ctr) / ctr / SPREAD_OF_USERS**2 - 1
    return rng.beta(ctr * concentration, (1 - ctr) * concentration, shape)


def _looks(visits: int, looks: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """When they come: more in the evening than at night."""
    times = np.arange(looks) / looks * HOURS
    day = 1 - 0.8 * np.cos(2 * np.pi * times / 24)
    ends = day.cumsum() / day.sum()
    return np.minimum(np.searchsorted(ends, rng.random(visits), side="right"), looks - 1)


def _before(counts: NDArray[np.int64], owner: NDArray[np.int64]) -> NDArray[np.int64]:
    """What the owner had before each of their visits, which lie one after the other."""
    total = counts.cumsum() - counts
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    return total - np.repeat(total[first], np.diff(first, append=len(owner)))


def play_sliding(
    worlds: int, rng: np.random.Generator, *, ctr: float = 0.05, users: int = 500, days: int = 28
) -> tuple[Floats, Floats]:
    """Sums of the last HOURS at each of four looks a day, once HOURS have passed, of two sides
    that are the same; of the shape of ``play``."""
    week, steps = HOURS // 6, days * 4
    shape = worlds, 2, users
    rates = np.stack([rng.exponential(VISITS / week, shape), _readiness(ctr, shape, rng)])[
        ..., None
    ]
    y = 10 * rng.poisson(rates[0], (*shape, steps))
    x = rng.binomial(y, rates[1])
    x, y = (np.cumsum(of_each, axis=-1) for of_each in (x, y))
    x, y = (of_each[..., week:] - of_each[..., :-week] for of_each in (x, y))
    sums = [(y > 0).sum(2), x.sum(2), y.sum(2), (x**2).sum(2), (y**2).sum(2), (x * y).sum(2)]
    both = np.array(sums, np.float64)
    return both[:, :, 0], both[:, :, 1]


def alarms(arm: Floats, control: Floats, *, randomised: bool) -> dict[str, Alarms]:
    """What each rule says at each look, in the shape of the looks.

    ``simple`` and ``sequential`` are the rules of ``models.experiments.guardrails.judge``;
    ``t_test`` is one for one look, over users, at each look.
    """
    least = np.minimum(arm, control)
    enough = (least[2] >= LIMITS.min_impressions) & (least[0] >= LIMITS.min_users)
    difference = differences(arm, control, alpha=LIMITS.alpha)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate, base = arm[1] / arm[2], control[1] / control[2]
        z = (rate - base) / np.sqrt(ratio_variance(arm) + ratio_variance(control))
    large = LIMITS.min_effect if randomised else LIMITS.max_ctr_drop
    return {
        "simple": enough & (rate < (1 - LIMITS.max_ctr_drop) * base),
        "t_test": enough & (z < -1.96),
        "sequential": enough & (difference.p_value < LIMITS.alpha) & (rate < (1 - large) * base),
    }


def measure(worlds: int) -> list[Row]:
    rng = np.random.default_rng(7)
    rows = []
    for world in WORLDS:
        log.info(world.name)
        at_once = max(1, AT_ONCE // max(world.arm + world.control, world.looks))
        parts = [
            play(world, min(at_once, worlds - start), rng) for start in range(0, worlds, at_once)
        ]
        arm, control = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
        said = alarms(arm, control, randomised=world.swing is None)
        rows += [row for rule, at in said.items() for row in _rows(world, rule, at, arm[2])]
        if world.swing is None:
            difference = differences(arm, control, alpha=LIMITS.alpha)
            missed = (difference.low > -world.drop) | (difference.high < -world.drop)
            rows.append(_share(f"{world.name}: the interval ever misses the truth", missed))
    log.info(SLIDING)
    parts = [play_sliding(20, rng) for _ in range(0, worlds, 20)]
    arm, control = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    for rule, at in alarms(arm, control, randomised=True).items():
        rows.append(_share(f"{SLIDING}: {rule}, alarms", at))
    return rows


def _rows(world: World, rule: str, at: Alarms, impressions: Floats) -> list[Row]:
    """How many worlds alarm, and with a drop: after what, in half and in nine tenths of them."""
    rows = [_share(f"{world.name}: {rule}, alarms", at)]
    if not world.drop:
        return rows
    ever, first = at.any(axis=1), at.argmax(axis=1)
    shown = np.where(ever, impressions[np.arange(len(first)), first], np.inf)
    hours = np.where(ever, (first + 1) * HOURS / world.looks, np.inf)
    for share in (0.5, 0.9):
        for unit, values in (("impressions", shown), ("hours", hours)):
            value = float(np.quantile(values, share, method="higher"))
            if np.isfinite(value):
                rows.append(Row(f"{world.name}: {rule}, {unit}, {share:.0%}", value, unit))
    return rows


def _share(name: str, at: Alarms) -> Row:
    return Row(name, float(np.mean(at.any(axis=1))), "share of the worlds")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.parser(__doc__ or "", users=1, items=1, interactions=1, seconds=1)
    parser.add_argument("--worlds", type=int, default=400, help="worlds of each kind")
    given = parser.parse_args(arguments)
    return report.run("guardrails", lambda: measure(given.worlds))


if __name__ == "__main__":
    sys.exit(main())
