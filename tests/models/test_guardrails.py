"""The guardrail rule at its boundaries."""

from __future__ import annotations

import pytest

from models.guardrails import Status, judge
from models.profile import Guardrails

LIMITS = Guardrails(min_impressions=100, max_ctr_drop=0.5, max_conversion_drop=0.25)


@pytest.mark.parametrize(
    ("impressions", "ctr", "conversion", "baseline", "status"),
    [
        (100, 0.1, 0.4, (100, 0.1, 0.4), "ok"),
        (99, 0.0, 0.0, (100, 0.1, 0.4), "not_enough_data"),
        (100, 0.0, 0.0, (99, 0.1, 0.4), "not_enough_data"),
        (0, None, None, (0, None, None), "not_enough_data"),
        (100, 0.05, 0.375, (100, 0.1, 0.5), "ok"),  # exactly at both limits
        (100, 0.0499, 0.4, (100, 0.1, 0.4), "breach"),
        (100, 0.1, 0.2999, (100, 0.1, 0.4), "breach"),
        (100, 0.9, 0.9, (100, 0.1, 0.4), "ok"),
        (100, 0.0, None, (100, 0.1, 0.4), "breach"),
        (100, 0.1, None, (100, 0.1, 0.4), "ok"),  # no clicks in time to convert
        (100, None, None, (100, 0.1, 0.4), "ok"),
        (100, 0.0, 0.0, (100, 0.0, 0.0), "ok"),  # nothing to fall from
        (100, 0.0, 0.0, (100, None, None), "ok"),
    ],
)
def test_judge(
    impressions: int,
    ctr: float | None,
    conversion: float | None,
    baseline: tuple[int, float | None, float | None],
    status: Status,
) -> None:
    verdict = judge(
        impressions=impressions,
        ctr=ctr,
        conversion=conversion,
        baseline_impressions=baseline[0],
        baseline_ctr=baseline[1],
        baseline_conversion=baseline[2],
        limits=LIMITS,
    )
    assert verdict.status == status
    assert verdict.reason


def test_the_reason_names_the_rate() -> None:
    verdict = judge(
        impressions=100,
        ctr=0.1,
        conversion=0.1,
        baseline_impressions=100,
        baseline_ctr=0.1,
        baseline_conversion=0.4,
        limits=LIMITS,
    )
    assert verdict.reason == "conversion 0.1000 is over 25% below the baseline 0.4000"
