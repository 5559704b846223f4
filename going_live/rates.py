"""Rates for people and pages: never without their counts, and what chance makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models.experiments.guardrails import METRICS, too_few
from models.experiments.sequential import Difference, Moments
from models.profile.operation_sections import Guardrails
from storage.operations.variant_metrics import Totals

CONFIDENCE = 0.95


def rate_of(metric: str, moments: Moments, limits: Guardrails) -> dict[str, Any]:
    """A rate as JSON: ``numerator, denominator, users, value, low, high, enough, note``.

    ``low`` and ``high`` bound it with ``CONFIDENCE``, for one look; None where that cannot be
    said. ``note`` tells what is missing where it is not ``enough``.
    """
    missing = too_few(metric, moments, limits)
    low, high = moments.interval(CONFIDENCE) or (None, None)
    return {
        "numerator": moments.x,
        "denominator": moments.y,
        "users": round(moments.n),
        "value": moments.rate,
        "low": low,
        "high": high,
        "enough": missing is None,
        "note": None if missing is None else f"not enough data: {missing}",
    }


def rates_of(totals: Totals, limits: Guardrails) -> dict[str, dict[str, Any]]:
    """``rate_of`` each metric of ``models.experiments.guardrails.METRICS``."""
    return {name: rate_of(name, totals.moments[name], limits) for name in METRICS}


def differences_of(differences: Mapping[str, Difference]) -> dict[str, dict[str, Any]]:
    """``relative, low, high, p_value`` by metric, as JSON."""
    return {name: asdict(difference) for name, difference in differences.items()}
