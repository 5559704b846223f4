"""Judge what is live: arms against their control, the live version against other versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from going_live.rates import differences_of, rates_of
from models.experiments.guardrails import Verdict, judge, too_few
from models.profile.operation_sections import Guardrails
from models.profile.schema import Profile
from storage.operations import guardrail_reports, releases, variant_counts, variant_metrics
from storage.operations.experiments import arm_of
from storage.operations.guardrail_reports import Report
from storage.operations.served import Latency, fallback_shares, served_between
from storage.operations.variant_metrics import NOTHING, Totals

Window = tuple[datetime, datetime]


def evaluate(
    conn: psycopg.Connection, profile: Profile, *, live: str | None, now: datetime
) -> list[Report]:
    """Count what is new, judge, and keep a report of each verdict.

    Of what ranked in the profile's ``guardrails.window_days`` there is one a model version, and
    one a variant that no version ranked for; only the live version can breach, against all other
    versions together that were live in these days, which had other users and other hours. (One
    that was challenger alone is for its experiment to judge: a good one does not make the live
    version a bad one.) Of a version whose withdrawal was taken back, what is shown from then on is
    judged. Of each experiment that runs there is one an arm, against the control, since it began:
    the users of both were drawn by lot.

    Args:
        live: the champion's version.

    Returns:
        The reports, those of versions first. None for what nobody was shown.
    """
    limits = profile.guardrails
    variant_counts.count_new(
        conn,
        profile.interaction_types,
        conversion_hours=limits.conversion_hours,
        days=limits.window_days,
        now=now,
    )
    with conn.transaction():
        kept = []
        for report, window in (*_versions(conn, profile, live, now), *_arms(conn, limits, now)):
            kept.append(replace(report, id=guardrail_reports.save(conn, report, *window)))
    return kept


def _versions(
    conn: psycopg.Connection, profile: Profile, live: str | None, now: datetime
) -> Iterator[tuple[Report, Window]]:
    """What no version ranked is nothing to compare with: the heuristic answers other people,
    and untracked clicks come without their impressions."""
    limits = profile.guardrails
    window = now - timedelta(days=limits.window_days), now
    counted = variant_metrics.by_version(conn, *window, conversion_hours=limits.conversion_hours)
    versions: dict[str, list[tuple[str, Totals]]] = {}
    for (variant, version), totals in counted.items():
        versions.setdefault(version, []).append((variant, totals))
    unranked = versions.pop("", [])
    about = {
        version: (_most_shown(parts), _sum(totals for _, totals in parts))
        for version, parts in versions.items()
    }
    champions = [version for variant, version in counted if variant == "champion" and version]
    seen = _seen(conn, profile, window) if counted else {}
    for version, (variant, totals) in about.items():
        others = _sum(about[other][1] for other in champions if other != version)
        judged = window
        if version == live:
            judged = _since_restored(conn, version, window)
            if judged != window:
                since = variant_metrics.by_version(
                    conn, *judged, conversion_hours=limits.conversion_hours
                )
                totals = _sum(of for (_, of_version), of in since.items() if of_version == version)
            verdict = judge(totals.moments, others.moments, limits, randomised=False)
        else:
            verdict = _not_judged(totals, limits, "not the live version")
        report = _report(verdict, totals, others, limits, seen, variant, version)
        yield report, (min(judged), judged[1])
    for variant, totals in unranked:
        verdict = _not_judged(totals, limits, "no model version ranked")
        yield _report(verdict, totals, None, limits, seen, variant, None), window


def _since_restored(conn: psycopg.Connection, version: str, window: Window) -> Window:
    """The part of the window after the hour in which the version's withdrawal was taken back:
    what was shown before was judged already."""
    start, end = window
    restored = releases.restored_at(conn, version, start)
    if restored is None:
        return window
    hour = restored.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hour + timedelta(hours=1), end


def _arms(
    conn: psycopg.Connection, limits: Guardrails, now: datetime
) -> Iterator[tuple[Report, Window]]:
    running = conn.execute(
        "SELECT id, variants, started_at, challenger_version FROM feed.experiments"
        " WHERE status = 'running' AND started_at IS NOT NULL ORDER BY id"
    ).fetchall()
    for experiment, variants, started_at, challenger in running:
        window = started_at, now
        counted = variant_metrics.by_arm(
            conn, experiment, *window, conversion_hours=limits.conversion_hours
        )
        control, *others = (arm_of(stored) for stored in variants)
        base = counted.get(control.name, NOTHING)
        for arm in others:
            totals = counted.get(arm.name, NOTHING)
            verdict = judge(totals.moments, base.moments, limits, randomised=True)
            variant = arm.ranked_by or "champion"
            version = challenger if variant == "challenger" else None
            report = _report(verdict, totals, base, limits, {}, variant, version)
            yield replace(report, experiment=experiment, arm=arm.name), window


def _not_judged(totals: Totals, limits: Guardrails, why: str) -> Verdict:
    missing = too_few("ctr", totals.moments["ctr"], limits)
    return Verdict("not_enough_data", missing) if missing else Verdict("ok", f"not judged: {why}")


def _report(
    verdict: Verdict,
    totals: Totals,
    control: Totals | None,
    limits: Guardrails,
    seen: dict[str, Any],
    variant: str,
    version: str | None,
) -> Report:
    return Report(
        experiment=None,
        arm=None,
        variant=variant,
        model_version=version,
        impressions=totals.impressions,
        clicks=totals.clicks,
        applies=totals.applies,
        ctr=totals.moments["ctr"].rate,
        conversion=totals.moments["conversion"].rate,
        status=verdict.status,
        detail={
            "reason": verdict.reason,
            "users": totals.users,
            "ripe_clicks": totals.ripe_clicks,
            "rates": rates_of(totals, limits),
            "control": None if control is None else rates_of(control, limits),
            "differences": differences_of(verdict.differences),
            **{name: by.get((variant, version or "")) for name, by in seen.items()},
        },
    )


def _seen(conn: psycopg.Connection, profile: Profile, window: Window) -> dict[str, Any]:
    """What is reported beside the rates, by variant and version: coverage and latency."""
    eligible, shown = variant_metrics.coverage(
        conn, *window, exclude_started=profile.eligibility.exclude_started
    )
    return {
        "coverage": {
            key: {"shown": count, "eligible": eligible, "share": count / eligible}
            for key, count in shown.items()
            if eligible
        },
        "served": served_by_variant(conn, window),
    }


def served_by_variant(
    conn: psycopg.Connection, window: Window
) -> dict[tuple[str, str], dict[str, Any]]:
    """Pages by variant and version ('' for none): ``requests, p50_ms, p99_ms``, and
    ``fallback``: the share of them that something else was to rank."""
    parts: dict[tuple[str, str], list] = {}
    for minute in served_between(conn, *window):
        parts.setdefault((minute.variant, minute.model_version or ""), []).append(minute)
    return {
        key: Latency.sum(minute.latency for minute in served).as_json()
        | {"fallback": sum(fallback_shares(served).values())}
        for key, served in parts.items()
    }


def _most_shown(parts: list[tuple[str, Totals]]) -> str:
    return max(parts, key=lambda part: part[1].impressions)[0]


def _sum(several: Iterable[Totals]) -> Totals:
    return sum(several, NOTHING)
