"""What runs because something happened."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import httpx

from models.versions import ModelVersion
from orchestration.jobs import daily_job, refresh_job, rollback_job
from orchestration.resources import Platform
from orchestration.schedules import training_request
from storage import queries, refresh_queue, telemetry

RUNNING = dg.DefaultSensorStatus.RUNNING
STALE_SHARE = 0.5
"""Retrain when the champion has used up this share of the age at which serving gives it up."""


def _last_trained(platform: Platform, live: ModelVersion) -> datetime:
    """When the newest of the live version and the challenger was trained."""
    versions = (live, platform.registry.challenger() or live)
    never = "1970-01-01T00:00:00+00:00"
    return max(datetime.fromisoformat(version.trained_at or never) for version in versions)


def _tried_within(instance: dg.DagsterInstance, hours: float) -> bool:
    """Whether a run of the daily job began lately, however it ended: one that failed for bad
    data would fail again a minute later."""
    after = datetime.now(UTC) - timedelta(hours=hours)
    return instance.get_runs_count(dg.RunsFilter(job_name=daily_job.name, created_after=after)) > 0


def _training_now(instance: dg.DagsterInstance) -> bool:
    """Whether a run of the daily job is waiting or running."""
    return _going(instance, daily_job.name)


def _going(instance: dg.DagsterInstance, job: str) -> bool:
    """Whether a run of the job is waiting or running."""
    going = [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
    ]
    filters = dg.RunsFilter(job_name=job, statuses=going)
    return instance.get_runs_count(filters) > 0


@dg.sensor(
    job=daily_job,
    minimum_interval_seconds=60,
    default_status=RUNNING,
    description="Trains when enough interactions have come since the champion was trained "
    "(profile: retraining), never twice at once.",
)
def new_interactions(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.RunRequest | dg.SkipReason:
    rules, now = platform.profile.retraining, datetime.now(UTC)
    live = platform.registry.champion()
    if live is None:
        return dg.SkipReason("no champion yet: the first training is started by hand or schedule")
    if _training_now(context.instance):
        return dg.SkipReason("a training is on its way")
    latest = _last_trained(platform, live)
    between = timedelta(hours=rules.min_hours_between)
    if now - latest < between or _tried_within(context.instance, rules.min_hours_between):
        return dg.SkipReason(f"the last training was less than {rules.min_hours_between:g} h ago")
    with platform.connect() as conn:
        count = queries.count_received_since(conn, latest)
    if count < rules.min_new_interactions:
        return dg.SkipReason(f"{count} new interactions of {rules.min_new_interactions}")
    return training_request(platform, now, f"{count} new interactions")


@dg.sensor(
    job=daily_job,
    minimum_interval_seconds=300,
    default_status=RUNNING,
    description="Trains when the champion is halfway to the age at which serving falls back "
    "to the heuristic.",
)
def stale_model(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.RunRequest | dg.SkipReason:
    live, now = platform.registry.champion(), datetime.now(UTC)
    if live is None:
        return dg.SkipReason("no champion yet")
    limit = timedelta(hours=platform.profile.serving.max_model_age_hours) * STALE_SHARE
    age = now - _last_trained(platform, live)
    if age < limit:
        return dg.SkipReason(f"the newest version is {age} old, the limit is {limit}")
    if _training_now(context.instance):
        return dg.SkipReason("a training is on its way")
    hours = platform.profile.retraining.min_hours_between
    if _tried_within(context.instance, hours):
        return dg.SkipReason(f"the last training was tried less than {hours:g} h ago")
    return training_request(platform, now, f"the newest version is {age} old")


@dg.sensor(
    job=rollback_job,
    minimum_interval_seconds=30,
    default_status=RUNNING,
    description="Rolls back when the newest guardrail report says that the live version hurts.",
)
def guardrail_breach(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.RunRequest | dg.SkipReason:
    live = platform.registry.champion()
    if live is None:
        return dg.SkipReason("no champion yet")
    with platform.connect() as conn:
        report = telemetry.open_breach(conn, live.version)
    if report is None:
        return dg.SkipReason(f"no breach by version {live.version}")
    if len(platform.registry.history()) < 2:
        return dg.SkipReason("a breach, but no earlier champion to roll back to")
    return dg.RunRequest(
        # The same report never rolls back twice.
        run_key=f"guardrail-report-{report}",
        run_config=dg.RunConfig(
            {
                "roll_back": {
                    "config": {"reason": f"guardrail report {report}", "version": live.version}
                }
            }
        ),
    )


@dg.sensor(
    job=refresh_job,
    minimum_interval_seconds=30,
    default_status=RUNNING,
    description="Ranks the ready lists anew of users who did something: anything but an "
    "impression, a dwell from 10 s (profile: recommendations.refresh_minutes).",
)
def waiting_lists(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.RunRequest | dg.SkipReason:
    with platform.connect() as conn:
        waiting = refresh_queue.due(conn)
    if not waiting:
        return dg.SkipReason("nobody waits for a list")
    if _going(context.instance, refresh_job.name):
        return dg.SkipReason("a refresh is on its way")
    if platform.registry.champion() is None:
        return dg.SkipReason("no champion yet")
    return dg.RunRequest(tags={"feedwright/trigger": f"{waiting} users"})


@dg.run_failure_sensor(
    name="failed_run",
    default_status=RUNNING,
    minimum_interval_seconds=30,
    description="Tells about a failed run: a line in `feed.audit_log`, and an HTTP POST to "
    "FEEDWRIGHT_WEBHOOK_URL if it is set.",
)
def failed_run(context: dg.RunFailureSensorContext, platform: Platform) -> None:
    detail = {
        "job": context.dagster_run.job_name,
        "run": context.dagster_run.run_id,
        "error": context.failure_event.message,
        "address": f"{platform.settings.dagster_address}/runs/{context.dagster_run.run_id}",
    }
    with platform.connect() as conn:
        telemetry.write_audit(conn, "pipeline", "run.failed", detail)
    if platform.settings.webhook_url is not None:
        httpx.post(str(platform.settings.webhook_url), json=detail, timeout=10).raise_for_status()


SENSORS = [new_interactions, stale_model, guardrail_breach, waiting_lists, failed_run]
