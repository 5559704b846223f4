"""What ``/admin/metrics`` tells: counts beside rates, and where there is not enough data."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from going_live.guardrails import served_by_variant
from going_live.ramps import sample_ratio_p
from going_live.rates import differences_of, rates_of
from models.experiments.guardrails import METRICS, too_few
from models.experiments.sequential import compare
from models.profile.operation_sections import Guardrails
from models.profile.schema import Profile
from storage.operations import experiments, variant_counts, variant_metrics
from storage.operations.experiments import ExperimentRow, arm_of
from storage.operations.served import fallback_shares, served_between
from storage.operations.variant_metrics import NOTHING, Totals


def metrics(
    conn: psycopg.Connection, profile: Profile, days: float, now: datetime
) -> dict[str, Any]:
    """Rates of the last ``days`` by variant and version, and of experiments since they began.

    Nothing is counted here: ``window.counted_until`` says how new the counts are.
    """
    limits = profile.guardrails
    asked, counted = now - timedelta(days=days), variant_counts.counted(conn)
    start = max(asked, counted[0]) if counted else asked
    window = start, now
    eligible, shown = variant_metrics.coverage(
        conn, *window, exclude_started=profile.eligibility.exclude_started
    )
    by_variant = variant_metrics.by_version(conn, *window, conversion_hours=limits.conversion_hours)
    pages = served_between(conn, *window)
    return {
        "days": days,
        "window": {
            "start": _rfc3339(start),
            "end": _rfc3339(now),
            "counted_until": _rfc3339(counted[1]) if counted else None,
        },
        "by_variant": [
            {"variant": key[0], "model_version": key[1] or None}
            | _described(totals, limits)
            | {"coverage": _coverage(shown.get(key, 0), eligible)}
            for key, totals in by_variant.items()
        ],
        "coverage": _coverage(shown[None], eligible),
        "by_experiment": _experiments(conn, limits, window),
        "series": [
            {"start": _rfc3339(at), "variant": variant, "impressions": impressions,
             "clicks": clicks}
            for at, variant, impressions, clicks in variant_metrics.by_time(conn, *window)
        ],
        "served": [
            {"variant": variant, "model_version": version or None} | numbers
            for (variant, version), numbers in served_by_variant(conn, window).items()
        ],
        "fallback": {
            "share": sum(fallback_shares(pages).values()) if pages else None,
            "by_reason": dict(fallback_shares(pages)),
        },
        "note": None if by_variant else "not enough data: nothing was shown in these days",
    }  # fmt: skip


def _experiments(
    conn: psycopg.Connection, limits: Guardrails, window: tuple[datetime, datetime]
) -> list[dict[str, Any]]:
    """Those that ran in the window, each since it began: its differences hold at any look, but
    only for all of its data."""
    start, now = window
    rows = sorted(experiments.listed(conn), key=lambda row: (row.started_at or now, row.id))
    return [
        {
            "experiment": row.id,
            "status": row.status,
            "started_at": _rfc3339(row.started_at),
            "ended_at": _rfc3339(row.ended_at) if row.ended_at else None,
            **of_experiment(conn, row, limits, now),
        }
        for row in rows
        if row.started_at is not None and (row.ended_at is None or row.ended_at > start)
    ]


def of_experiment(
    conn: psycopg.Connection, row: ExperimentRow, limits: Guardrails, now: datetime
) -> dict[str, Any]:
    """Rates of each arm since the experiment began, differences to the control, and whether the
    users fit the weights: ``arms``, ``sample_ratio``."""
    counted = variant_metrics.by_arm(
        conn, row.id, row.started_at or now, now, conversion_hours=limits.conversion_hours
    )
    arms = [arm_of(stored) for stored in row.arms]
    control = counted.get(arms[0].name, NOTHING)
    shown = experiments.shown(conn, row)
    return {
        "arms": [
            {"arm": arm.name, "control": index == 0, "ranked_by": arm.ranked_by}
            | _described(counted.get(arm.name, NOTHING), limits)
            | {
                "differences": None
                if index == 0
                else _differences(counted.get(arm.name, NOTHING), control, limits)
            }
            for index, arm in enumerate(arms)
        ],
        "sample_ratio": {
            "users": [shown[arm.name].users for arm in arms],
            "weights": [arm.weight for arm in arms],
            "p_value": sample_ratio_p(row, shown),
        },
    }


def _differences(arm: Totals, control: Totals, limits: Guardrails) -> dict[str, Any]:
    """To the control, of the metrics that have enough data on both sides."""
    return differences_of(
        {
            name: compare(arm.moments[name], control.moments[name], alpha=limits.alpha)
            for name in METRICS
            if not any(too_few(name, side.moments[name], limits) for side in (arm, control))
        }
    )


def _described(totals: Totals, limits: Guardrails) -> dict[str, Any]:
    counts = {field.name: getattr(totals, field.name) for field in fields(Totals)}
    del counts["moments"]
    return counts | {"metrics": rates_of(totals, limits)}


def _coverage(shown: int, eligible: int) -> dict[str, Any]:
    return {
        "shown": shown,
        "eligible": eligible,
        "share": shown / eligible if eligible else None,
        "note": None if eligible else "not enough data: no item may be shown",
    }


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
