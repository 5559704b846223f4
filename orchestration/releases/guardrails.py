"""Group ``guardrails``: what users do with what they are shown, and what follows from it."""

import json
from datetime import UTC, datetime

import dagster as dg

from going_live import guardrails, off_policy
from models.evaluation.off_policy import Estimate
from models.versions.version import ModelVersion
from orchestration import plots
from orchestration.policies import OWNERS, TRANSIENT
from orchestration.resources import Platform
from orchestration.snapshots import snapshot_of
from orchestration.training.gate import champion
from storage.operations import variant_counts
from storage.operations.guardrail_reports import Report

GROUP = "guardrails"
OFF_POLICY_TAG = "off_policy"
"""Tag of a version in MLflow: what the log of feeds says of it, or why it says nothing."""


@dg.asset(group_name=GROUP, kinds={"postgres"}, owners=OWNERS, retry_policy=TRANSIENT)
def variant_metrics(platform: Platform) -> dg.MaterializeResult:
    """Impressions, clicks, applies, dwell, saves and dismisses by user, hour, variant and arm.

    Only hours of users that got new events are counted anew. The first run goes back as far as
    the profile's `guardrails.window_days`.
    """
    limits = platform.profile.guardrails
    with platform.connect() as conn:
        done = variant_counts.count_new(
            conn,
            platform.profile.interaction_types,
            conversion_hours=limits.conversion_hours,
            days=limits.window_days,
            now=datetime.now(UTC),
        )
    return dg.MaterializeResult(
        metadata={
            "events": done.events,
            "hours_of_users": done.hours,
            "days_of_items": done.items,
            "counted_since": done.since.isoformat(),
        }
    )


@dg.asset(
    group_name=GROUP,
    kinds={"postgres"},
    owners=OWNERS,
    deps=[champion, variant_metrics],
    retry_policy=TRANSIENT,
)
def guardrail_metrics(platform: Platform) -> dg.MaterializeResult:
    """Rates with intervals, judged: the live version against other versions in the window, and
    each arm of an experiment that runs against its control.

    A verdict of `breach` on the live version makes the sensor `guardrail_breach` roll back; on
    an arm, the job `experiments` pauses the experiment.
    """
    version = platform.registry.champion()
    live = version.version if version else None
    with platform.connect() as conn:
        reports = guardrails.evaluate(conn, platform.profile, live=live, now=datetime.now(UTC))
    return dg.MaterializeResult(
        metadata={
            "live_version": live or "none",
            "verdicts": plots.table([_row(report) for report in reports]),
            "not_enough_data": all(report.status == "not_enough_data" for report in reports),
            **{
                metric: plots.as_metadata(plots.intervals, _intervals(reports, metric), metric)
                for metric in ("ctr", "conversion")
            },
        }
    )


def _row(report: Report) -> dict[str, object]:
    return {
        "of": _name(report),
        "impressions": report.impressions,
        "clicks": report.clicks,
        "CTR": "-" if report.ctr is None else report.ctr,
        "conversion": "-" if report.conversion is None else report.conversion,
        "status": report.status,
        "why": report.detail["reason"],
    }


def _name(report: Report) -> str:
    if report.experiment is not None:
        return f"{report.experiment}: {report.arm}"
    return f"{report.variant} {report.model_version or ''}".strip()


def _intervals(
    reports: list[Report], metric: str
) -> dict[str, tuple[float, float | None, float | None]]:
    rates = {_name(report): report.detail["rates"][metric] for report in reports}
    return {
        name: (rate["value"], rate["low"], rate["high"])
        for name, rate in rates.items()
        if rate["value"] is not None
    }


@dg.asset(
    group_name=GROUP, kinds={"postgres", "mlflow"}, owners=OWNERS, deps=[champion],
    retry_policy=TRANSIENT,
)  # fmt: skip
def off_policy_estimate(platform: Platform) -> dg.MaterializeResult:
    """How the challenger would have done on the feeds that the champion showed since it was
    trained: inverse propensity estimates, kept with the version in MLflow.

    Needs no user to see it. Says "not enough data" where the champion shows too little of what
    the challenger would.
    """
    registry = platform.registry
    challenger = registry.challenger()
    if challenger is None or not challenger.has_snapshot:
        return dg.MaterializeResult(metadata={"challenger": "none"})
    snapshot = snapshot_of(platform, challenger)
    trained = datetime.fromisoformat(snapshot.manifest.trained_at or snapshot.manifest.built_at)
    with platform.connect() as conn:
        result = off_policy.estimate(
            conn, snapshot, platform.profile, start=trained, end=datetime.now(UTC)
        )
    if result is None:
        return _kept(platform, challenger, {"note": "not enough data: no feeds since its training"})
    estimates = {"logged": result.logged, "ips": result.ips, "snips": result.snips}
    estimated = {
        "note": result.note or "enough data",
        "impressions": result.impressions,
        "users": result.users,
        "effective": result.effective,
        "overlap": result.overlap,
    }
    if result.note is None:  # a number that says nothing is not kept
        for name, bounds in estimates.items():
            estimated[name] = [bounds.value, bounds.low, bounds.high]
            registry.client.log_metric(challenger.run_id, f"{OFF_POLICY_TAG}.{name}", bounds.value)
    return _kept(platform, challenger, estimated, estimates)


def _kept(
    platform: Platform,
    challenger: ModelVersion,
    estimated: dict[str, object],
    estimates: dict[str, Estimate] | None = None,
) -> dg.MaterializeResult:
    registry = platform.registry
    registry.client.set_model_version_tag(
        registry.model_name, challenger.version, OFF_POLICY_TAG, json.dumps(estimated)
    )
    estimates = estimates or {}
    shown = {name: (of.value, of.low, of.high) for name, of in estimates.items()}
    return dg.MaterializeResult(
        metadata={
            "challenger": challenger.version,
            "estimates": dg.MetadataValue.json(estimated),
            "plot": plots.as_metadata(plots.intervals, shown, "CTR on logged feeds"),
        }
    )


ASSETS = [variant_metrics, guardrail_metrics, off_policy_estimate]


guardrails_job = dg.define_asset_job(
    "guardrails",
    selection=dg.AssetSelection.assets(variant_metrics, guardrail_metrics),
    description="What users do by variant and arm, with intervals: the live version against other "
    "versions, arms against their control.",
    tags={"feedwright/kind": "guardrails"},
)


off_policy_job = dg.define_asset_job(
    "off_policy",
    selection=dg.AssetSelection.assets(off_policy_estimate),
    description="How the challenger would have done on the feeds that were shown.",
    tags={"feedwright/kind": "counting"},
)


ten_minutely_guardrails = dg.ScheduleDefinition(
    name="ten_minutely_guardrails",
    job=guardrails_job,
    cron_schedule="*/10 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every 10 minutes: do users do worse with the live version, or with an arm?",
)


hourly_off_policy = dg.ScheduleDefinition(
    name="hourly_off_policy",
    job=off_policy_job,
    cron_schedule="40 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Hourly: how would the challenger have done on the feeds that were shown?",
)
