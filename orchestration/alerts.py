"""Alerts for people: they are delivered, failed runs become some, and so does their end."""

import dagster as dg

from going_live import causes
from going_live.alerts import Severity, send_due
from orchestration import run_log
from orchestration.releases.jobs import rollback_job
from orchestration.resources import Platform
from storage.events import telemetry

RUNNING = dg.DefaultSensorStatus.RUNNING


@dg.sensor(
    name="alerts",
    minimum_interval_seconds=30,
    default_status=RUNNING,
    description="Delivers waiting alerts to FEEDWRIGHT_WEBHOOK_URL, and tries again those that "
    "the receiver did not take. Without an address they are only kept in `feed.alerts`.",
)
def alerts(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
    with platform.connect() as conn:
        sent = send_due(conn, platform.settings)
    if sent.failed or sent.given_up:
        context.log.warning("%d alerts not taken, %d given up", sent.failed, sent.given_up)
    return dg.SkipReason(
        f"{sent.delivered} alerts delivered, {sent.failed} to be tried again, "
        f"{sent.given_up} given up"
    )


@dg.run_failure_sensor(
    name="failed_run",
    default_status=RUNNING,
    minimum_interval_seconds=30,
    description="Notes a failed run in `feed.audit_log`, and raises an alert for each cause (job, "
    "step, data check): when it begins, and daily while it lasts.",
)
def failed_run(context: dg.RunFailureSensorContext, platform: Platform) -> None:
    run, job = context.dagster_run, context.dagster_run.job_name
    link = {"run": run.run_id, "address": run_address(platform, run.run_id)}
    reasons = run_log.causes(context.instance, run.run_id)
    severity: Severity = "critical" if job == rollback_job.name else "warning"
    with platform.connect() as conn:
        error = "; ".join(map(str, reasons)) or context.failure_event.message
        telemetry.write_audit(conn, "pipeline", "run.failed", {"job": job, "error": error, **link})
        for cause in reasons:
            key = causes.Key(job, cause.step, cause.check)
            causes.failed(conn, key, severity, cause.message, {"job": job, **link})


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    name="recovered_run",
    default_status=RUNNING,
    minimum_interval_seconds=30,
    description="Gives the all-clear when what failed passes again.",
)
def recovered_run(context: dg.RunStatusSensorContext, platform: Platform) -> None:
    run, job = context.dagster_run, context.dagster_run.job_name
    link = {"run": run.run_id, "address": run_address(platform, run.run_id)}
    with platform.connect() as conn:
        lasting = causes.lasting(conn, job)
        if not lasting:
            return
        steps, checks = run_log.passed(context.instance, run.run_id)
        for key in lasting:
            passed = key.check in checks if key.check else key.step is None or key.step in steps
            if passed:
                causes.over(conn, key, {"job": job, **link})


def run_address(platform: Platform, run_id: str) -> str:
    """Of the run's page in Dagster."""
    return f"{platform.settings.dagster_public_address}/runs/{run_id}"


ALERT_SENSORS = [alerts, failed_run, recovered_run]
