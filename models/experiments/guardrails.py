"""The guardrail: does what users get do worse than what it is compared with?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from models.experiments.sequential import Difference, Moments, compare
from models.profile.operation_sections import Guardrails

Status = Literal["ok", "breach", "not_enough_data"]


@dataclass(frozen=True)
class Metric:
    """A rate: the sum of one count of ``feed.variant_hours`` by the sum of another.

    Attributes:
        label: for people.
        numerator, denominator: columns; ``ripe_clicks`` are clicks that had ``conversion_hours``
            to convert.
    """

    label: str
    numerator: str
    denominator: str
    lower_is_better: bool = False


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "ctr": Metric("CTR", "clicks", "impressions"),
        "conversion": Metric("conversion", "applies", "ripe_clicks"),
        "dwell": Metric("dwell", "dwell_seconds", "impressions"),
        "save_rate": Metric("save rate", "saves", "impressions"),
        "dismiss_rate": Metric("dismiss rate", "dismisses", "impressions", lower_is_better=True),
    }
)


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    reason: for people: which rate, how far, or what is missing.
    differences: to the control, by metric; those with enough data on both sides.
    """

    status: Status
    reason: str
    differences: Mapping[str, Difference] = field(default_factory=dict)


def too_few(metric: str, sums: Moments, limits: Guardrails) -> str | None:
    """Why a rate says nothing yet, for people; None: there is enough data.

    A rate is judged, and reported, from ``min_impressions`` in its denominator (impressions, or
    clicks for conversion) of at least ``min_users`` users.
    """
    if sums.y < limits.min_impressions:
        unit = METRICS[metric].denominator.replace("_", " ")
        return f"{sums.y:.0f} {unit}, {limits.min_impressions} are needed"
    if sums.n < limits.min_users:
        return f"{sums.n:.0f} users, {limits.min_users} are needed"
    return None


def judge(
    arm: Mapping[str, Moments],
    control: Mapping[str, Moments],
    limits: Guardrails,
    *,
    randomised: bool,
) -> Verdict:
    """Whether the arm harms, by CTR or conversion; may be asked at any time, as often as one likes.

    A breach is a drop that is proven, by an always-valid p-value below ``alpha``, and large: more
    than ``min_effect`` between arms that were drawn by lot, more than ``max_ctr_drop`` or
    ``max_conversion_drop`` otherwise, since other people and other hours make differences of
    their own. The p-values are two-sided and count on one side only, for two metrics: together
    they are wrong with probability ``alpha`` at most. With rule ``simple`` nothing need be proven.

    Args:
        arm, control: by name of ``METRICS``, counted since a fixed start; others may be missing.
        randomised: users were assigned to both by the same lot, in the same time.
    """
    for which, sums in (("", arm["ctr"]), (" to compare with", control["ctr"])):
        missing = too_few("ctr", sums, limits)
        if missing:
            return Verdict("not_enough_data", missing + which)
    differences = {
        name: compare(arm[name], control[name], alpha=limits.alpha)
        for name in METRICS
        if all(name in side and not too_few(name, side[name], limits) for side in (arm, control))
    }
    sequential = limits.rule == "sequential"
    most = {"ctr": limits.max_ctr_drop, "conversion": limits.max_conversion_drop}
    worse = ""
    for name, difference in differences.items():
        metric, rate, base = METRICS[name], arm[name].rate, control[name].rate
        if not base or rate is None:  # nothing to fall from
            continue
        harm = rate / base - 1 if metric.lower_is_better else 1 - rate / base
        proven = difference.p_value < limits.alpha and harm > 0
        if name in most and (proven or not sequential):
            large = limits.min_effect if randomised and sequential else most[name]
            if rate < (1 - large) * base:
                return Verdict(
                    "breach",
                    f"{metric.label} {rate:.4f} is over {large:.0%} below the baseline {base:.4f}",
                    differences,
                )
        if proven:
            side = "above" if metric.lower_is_better else "below"
            worse += f"; {metric.label} {rate:.4f} is {harm:.0%} {side} the baseline {base:.4f}"
    return Verdict("ok", "within limits" + worse, differences)
