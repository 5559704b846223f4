"""When an experiment may grow, when it waits, and who wins. Knows no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from models.experiments.guardrails import METRICS, Verdict, too_few
from models.experiments.sample_ratio import sample_ratio_mismatch
from models.experiments.sequential import Difference, Moments, compare
from models.profile.operation_sections import Experiments, Guardrails, RampStep
from storage.operations.experiments import ExperimentRow, Shown


def next_step(ramp: Sequence[Mapping[str, Any]], share: float) -> RampStep | None:
    """The first step with a larger share; None: the ramp is at its end, or there is none."""
    later = [RampStep.model_validate(step) for step in ramp if step["share"] > share]
    return later[0] if later else None


def current_step(ramp: Sequence[Mapping[str, Any]], share: float) -> RampStep | None:
    """The last step that the share has reached; None: it was set below the first one."""
    reached = [RampStep.model_validate(step) for step in ramp if step["share"] <= share]
    return reached[-1] if reached else None


def due_at(row: ExperimentRow) -> datetime | None:
    """When the time of its step is over; None: there is no next step, or it does not run."""
    if row.status != "running" or row.share_since is None or not next_step(row.ramp, row.share):
        return None
    step = current_step(row.ramp, row.share)
    return row.share_since + timedelta(hours=step.hours if step else 0)


def sample_ratio_p(row: ExperimentRow, shown: Mapping[str, Shown]) -> float:
    """Always-valid p-value that the users who were shown something came by the arms' weights."""
    return sample_ratio_mismatch(
        [shown[arm["name"]].users for arm in row.arms], [arm["weight"] for arm in row.arms]
    )


def sample_ratio_doubt(
    row: ExperimentRow, shown: Mapping[str, Shown], limits: Experiments
) -> str | None:
    """How users by arm do not fit the arms' weights, for people; None: they fit."""
    p = sample_ratio_p(row, shown)
    if p >= limits.sample_ratio_p:
        return None
    users = ", ".join(f"{arm} {of.users:,}" for arm, of in shown.items())
    weights = ", ".join(f"{arm['name']} {arm['weight']:g}" for arm in row.arms)
    return (
        f"users by arm ({users}) do not fit the weights ({weights}; p = {p:.1g}): something loses "
        "or moves users, and no rate of this experiment can be trusted"
    )


def leaning(verdicts: Mapping[str, Verdict], limits: Experiments) -> str | None:
    """Which rate of an arm leans to harm, for people; None: none."""
    for arm, verdict in verdicts.items():
        for metric, difference in verdict.differences.items():
            part = harmful_part(difference, lower_is_better=METRICS[metric].lower_is_better)
            if part > limits.doubt and difference.relative is not None:
                return (
                    f"{METRICS[metric].label} of {arm} is {difference.relative:+.1%}, and "
                    f"{part:.0%} of its interval is harm"
                )
    return None


def harmful_part(difference: Difference, *, lower_is_better: bool) -> float:
    """The part of the interval on the worse side of 0, in [0, 1]; 0 where it has no end."""
    low, high = difference.low, difference.high
    if high is None or high <= low:
        return 0.0
    below = min(max(-low / (high - low), 0.0), 1.0)
    return 1 - below if lower_is_better else below


def fallback_doubt(
    row: ExperimentRow, shown: Mapping[str, Shown], profile_limits: Experiments, enough: int
) -> str | None:
    """Which arm is answered by something else more often than the control is, or less, for
    people; None: none, or fewer than ``enough`` impressions."""
    control = shown[row.control]
    for arm, of in shown.items():
        if min(of.impressions, control.impressions) < max(enough, 1):
            continue
        share, usual = of.fallbacks / of.impressions, control.fallbacks / control.impressions
        if abs(share - usual) > profile_limits.max_fallback_gap:
            return (
                f"{share:.1%} of what {arm} shows is a fallback, and {usual:.1%} of what "
                f"{row.control} shows: they are not compared as they are meant"
            )
    return None


def too_little(row: ExperimentRow, shown: Mapping[str, Shown]) -> str | None:
    """Which arm has too few impressions for the next step, for people; None: none."""
    step = current_step(row.ramp, row.share)
    for arm, of in shown.items():
        if step is not None and of.of_step < step.min_impressions:
            return (
                f"not enough data: {arm} has {of.of_step:,} impressions since the share is "
                f"{row.share:.1%}, {step.min_impressions:,} are needed"
            )
    return None


def winner_of(
    row: ExperimentRow,
    moments: Mapping[str, Mapping[str, Moments]],
    limits: Experiments,
    guardrails: Guardrails,
) -> tuple[str, Difference] | None:
    """The arm that beats the control on the primary metric, proven at all looks together.

    With several arms each has its part of ``alpha`` (Bonferroni). Of two that do, the better.

    Args:
        moments: by arm and metric.
    """
    metric, rivals = row.primary_metric, list(row.ranked_by)[1:]
    sign = -1 if METRICS[metric].lower_is_better else 1
    alpha = limits.alpha / len(rivals)
    won = []
    for arm in rivals:
        sides = moments[arm][metric], moments[row.control][metric]
        if any(too_few(metric, side, guardrails) for side in sides):
            continue
        difference = compare(*sides, alpha=alpha)
        gain = sign * (difference.relative or 0)
        if gain > 0 and difference.p_value < alpha:
            won.append((gain, arm, difference))
    return max(won, key=lambda candidate: candidate[0])[1:] if won else None


def is_about_version(row: ExperimentRow, arm: str) -> bool:
    """Whether the arm differs from the control in this alone: the challenger ranks, and not the
    champion. Only of such a win does it follow that the version belongs in the champion's place.
    """
    control, other = (
        row.arms[0],
        next(candidate for candidate in row.arms if candidate["name"] == arm),
    )
    return (
        control["ranked_by"] in (None, "champion")
        and other["ranked_by"] == "challenger"
        and control["settings"] == other["settings"]
    )
