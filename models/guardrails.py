"""The guardrail rule: does the live version do much worse than what was live before?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.profile import Guardrails

Status = Literal["ok", "breach", "not_enough_data"]


@dataclass(frozen=True)
class Verdict:
    status: Status
    reason: str


def judge(
    *,
    impressions: int,
    ctr: float | None,
    conversion: float | None,
    baseline_impressions: int,
    baseline_ctr: float | None,
    baseline_conversion: float | None,
    limits: Guardrails,
) -> Verdict:
    """Compare rates in [0, 1] with the baseline's, by ratio.

    A breach is a CTR below ``(1 - max_ctr_drop) * baseline``, or the same of conversion, once
    both sides have ``min_impressions``.
    """
    if min(impressions, baseline_impressions) < limits.min_impressions:
        return Verdict(
            "not_enough_data",
            f"{impressions} impressions against {baseline_impressions}; "
            f"{limits.min_impressions} are needed on both sides",
        )
    for name, rate, baseline, drop in (
        ("CTR", ctr, baseline_ctr, limits.max_ctr_drop),
        ("conversion", conversion, baseline_conversion, limits.max_conversion_drop),
    ):
        if rate is not None and baseline and rate < (1 - drop) * baseline:
            return Verdict(
                "breach", f"{name} {rate:.4f} is over {drop:.0%} below the baseline {baseline:.4f}"
            )
    return Verdict("ok", "within limits")
