"""The guardrail rule at its boundaries."""

from __future__ import annotations

import numpy as np
import pytest

from models.experiments.guardrails import METRICS, Status, judge, too_few
from models.experiments.sequential import Moments
from models.profile.operation_sections import Guardrails

SIMPLE = Guardrails(
    min_impressions=100,
    min_users=2,
    rule="simple",
    max_ctr_drop=0.5,
    max_conversion_drop=0.25,
)
LIMITS = Guardrails()


def side(
    impressions: float, ctr: float | None, conversion: float | None, users: int = 100
) -> dict[str, Moments]:
    """Users who do all the same, with as many ripe clicks as impressions."""

    def of(rate: float | None) -> Moments:
        y = np.full(users, impressions / users)
        return Moments() if rate is None else Moments.of(rate * y, y)

    return {"ctr": of(0.0 if ctr is None else ctr), "conversion": of(conversion)}


def clickers(rate: float, users: int = 1000, each: int = 10, seed: int = 1) -> Moments:
    clicks = np.random.default_rng(seed).binomial(each, rate, users)
    return Moments.of(clicks, np.full(users, each))


@pytest.mark.parametrize(
    ("impressions", "ctr", "conversion", "baseline", "status"),
    [
        (100, 0.1, 0.4, (100, 0.1, 0.4), "ok"),
        (99, 0.0, 0.0, (100, 0.1, 0.4), "not_enough_data"),
        (100, 0.0, 0.0, (99, 0.1, 0.4), "not_enough_data"),
        (0, None, None, (0, None, None), "not_enough_data"),
        (128, 0.0625, 0.375, (128, 0.125, 0.5), "ok"),  # exactly at both limits
        (100, 0.0499, 0.4, (100, 0.1, 0.4), "breach"),
        (100, 0.1, 0.2999, (100, 0.1, 0.4), "breach"),
        (100, 0.9, 0.9, (100, 0.1, 0.4), "ok"),
        (100, 0.0, None, (100, 0.1, 0.4), "breach"),
        (100, 0.1, None, (100, 0.1, 0.4), "ok"),  # no clicks in time to convert
        (100, 0.0, 0.0, (100, 0.0, 0.0), "ok"),  # nothing to fall from
        (100, 0.0, 0.0, (100, None, None), "ok"),
    ],
)
def test_the_simple_rule(
    impressions: float,
    ctr: float | None,
    conversion: float | None,
    baseline: tuple[float, float | None, float | None],
    status: Status,
) -> None:
    verdict = judge(
        side(impressions, ctr, conversion), side(*baseline), limits=SIMPLE, randomised=True
    )
    assert verdict.status == status
    assert verdict.reason


def test_the_reason_names_the_rate() -> None:
    verdict = judge(side(100, 0.1, 0.1), side(100, 0.1, 0.4), SIMPLE, randomised=False)
    assert verdict.reason == "conversion 0.1000 is over 25% below the baseline 0.4000"
    few = judge(side(99, 0.1, 0.1), side(100, 0.1, 0.4), SIMPLE, randomised=False)
    assert few.reason == "99 impressions, 100 are needed"


@pytest.mark.parametrize(
    ("rate", "randomised", "status"),
    [
        (0.1, True, "ok"),
        (0.07, True, "breach"),  # 30 % lower, proven
        (0.07, False, "ok"),  # as other hours and users may make it
        (0.03, False, "breach"),
        (0.15, True, "ok"),
    ],
)
def test_a_breach_is_proven_and_large(rate: float, randomised: bool, status: Status) -> None:
    arm, control = {"ctr": clickers(rate)}, {"ctr": clickers(0.1, seed=2)}
    assert judge(arm, control, LIMITS, randomised=randomised).status == status


def test_what_is_not_proven_is_no_breach() -> None:
    few = {"ctr": clickers(0.03, users=40)}, {"ctr": clickers(0.1, users=40, seed=2)}
    assert judge(*few, LIMITS, randomised=True).status == "ok"
    simple = Guardrails(rule="simple")
    assert judge(*few, simple, randomised=True).status == "breach"


def test_a_proven_drop_below_min_effect_is_accepted() -> None:
    arm, control = clickers(0.97, users=20_000), clickers(1.0, users=20_000)
    verdict = judge({"ctr": arm}, {"ctr": control}, LIMITS, randomised=True)
    assert verdict.differences["ctr"].p_value < 0.05
    assert verdict.status == "ok"


def test_other_rates_are_told_and_do_not_breach() -> None:
    arm = {"ctr": clickers(0.1), "dismiss_rate": clickers(0.2), "save_rate": clickers(0.2)}
    control = {name: clickers(0.1, seed=3) for name in arm}
    verdict = judge(arm, control, LIMITS, randomised=True)
    assert verdict.status == "ok"
    assert "dismiss rate" in verdict.reason
    assert "save rate" not in verdict.reason
    assert verdict.differences.keys() == arm.keys()


def test_enough_data_is_impressions_and_users() -> None:
    assert too_few("ctr", clickers(0.1, users=30), LIMITS) is None
    assert too_few("ctr", clickers(0.1, users=29), LIMITS) == "29 users, 30 are needed"
    clicks = clickers(0.1, users=30, each=1)
    assert too_few("conversion", clicks, LIMITS) == "30 ripe clicks, 200 are needed"
    assert METRICS["dismiss_rate"].lower_is_better
