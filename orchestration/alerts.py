"""What people are told: alerts that wait are delivered, a failed run becomes one."""

import dagster as dg

from going_live.alerts import Severity, raise_alert, send_due
from orchestration.release_jobs import rollback_job
from orchestration.resources import Platform
from storage import telemetry

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
    description="Notes a failed run in `feed.audit_log`, and raises an alert, at most one an hour "
    "for each job.",
)
def failed_run(context: dg.RunFailureSensorContext, platform: Platform) -> None:
    job = context.dagster_run.job_name
    detail = {
        "job": job,
        "run": context.dagster_run.run_id,
        "error": context.failure_event.message,
        "address": f"{platform.settings.dagster_address}/runs/{context.dagster_run.run_id}",
    }
    with platform.connect() as conn:
        telemetry.write_audit(conn, "pipeline", "run.failed", detail)
        told = conn.execute(
            "SELECT FROM feed.alerts WHERE kind = 'run_failed' AND detail->>'job' = %s"
            " AND raised_at > now() - interval '1 hour' LIMIT 1",
            (job,),
        ).fetchone()
        if told is None:
            severity: Severity = "critical" if job == rollback_job.name else "warning"
            raise_alert(conn, "run_failed", severity, f"A run of the job {job} failed", detail)


ALERT_SENSORS = [alerts, failed_run]
