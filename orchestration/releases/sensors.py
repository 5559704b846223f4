"""What moves the live version, or follows it, because something happened."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from going_live.releases import Releases
from models.versions.version import RegistryAway
from orchestration.releases.jobs import RELEASE_JOBS, rescore_job, rollback_job
from orchestration.resources import Platform
from orchestration.runs.going import going
from orchestration.training.retraining import training_now
from storage.operations import guardrail_reports, releases
from storage.registry.opening import open_registry

RUNNING = dg.DefaultSensorStatus.RUNNING
TRIGGER = "feedwright/trigger"
AGAIN_AFTER = timedelta(minutes=5)
"""A run that failed is not started again earlier for the same reason: it would fail again."""
LONGEST_MOVE = timedelta(minutes=10)
"""A rollback that began longer ago keeps no other waiting: at most it still makes lists."""


def _failed_lately(instance: dg.DagsterInstance, job: str, trigger: str) -> bool:
    failed = dg.RunsFilter(
        job_name=job,
        statuses=[dg.DagsterRunStatus.FAILURE],
        tags={TRIGGER: trigger},
        created_after=(now := datetime.now(UTC)) - AGAIN_AFTER,
        created_before=now,  # else, once a clock was set back, for as long as that
    )
    return instance.get_runs_count(failed) > 0


@dg.sensor(
    job=rollback_job,
    minimum_interval_seconds=30,
    default_status=RUNNING,
    description="Rolls back when the newest guardrail report says that the live version hurts. "
    "With no earlier champion the heuristic answers.",
)
def guardrail_breach(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.RunRequest | dg.SkipReason:
    with platform.connect() as conn:
        try:
            champion = open_registry(platform.settings, platform.url).champion()
            suspects = [champion.version] if champion else []
        except RegistryAway:  # only what is live is reported so
            suspects = releases.recent_breaches(conn)[:1]
        for version in suspects:
            report = guardrail_reports.open_breach(conn, version)
            if report is not None and not releases.activated_after(conn, version, report):
                break
        else:
            return dg.SkipReason(f"no breach by version {', '.join(suspects) or '(none is live)'}")
        if version in releases.withdrawn(conn):
            return dg.SkipReason(f"version {version} is withdrawn: `pending_rollbacks` goes on")
    if going(context.instance, rollback_job.name, within=LONGEST_MOVE):
        return dg.SkipReason("a rollback is on its way")
    why = f"guardrail report {report}"
    if _failed_lately(context.instance, rollback_job.name, why):
        return dg.SkipReason(f"a rollback failed less than {AGAIN_AFTER} ago")
    config = {"reason": why, "expected": version, "automatic": True}
    return dg.RunRequest(run_config={"ops": {"roll_back": {"config": config}}}, tags={TRIGGER: why})


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=RUNNING,
    description="Finishes rollbacks that were noted while MLflow was away, and takes an alias "
    "back that somebody gave to a withdrawn version.",
)
def pending_rollbacks(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
    moved = Releases.of(platform.settings, platform.url).finish_pending()
    return dg.SkipReason("; ".join(move.note for move in moved) or "nothing waits")


@dg.sensor(
    job=rescore_job,
    minimum_interval_seconds=30,
    default_status=RUNNING,
    description="Ranks all ready lists anew when they are not of the live version, whoever moved "
    "it: pipeline, command line, API, or MLflow's page.",
)
def ready_lists(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.RunRequest | dg.SkipReason:
    with platform.connect() as conn:
        made_by = releases.lists_made_by(conn)
        withdrawn = made_by & releases.withdrawn(conn).keys()
    champion = platform.registry.champion()
    if champion is None and not withdrawn:
        return dg.SkipReason("no champion")
    if champion is not None and made_by <= {champion.version}:
        return dg.SkipReason(f"all lists are of version {champion.version}")
    if going(context.instance, *(job.name for job in RELEASE_JOBS)):
        return dg.SkipReason("lists are being made")
    if not withdrawn and training_now(context.instance):
        return dg.SkipReason("a training is on its way, which makes lists at its end")
    now = f"version {champion.version}" if champion else "none"
    why = f"lists of version {', '.join(sorted(made_by))}, and {now} is live"
    if _failed_lately(context.instance, rescore_job.name, why):
        return dg.SkipReason(f"making lists failed less than {AGAIN_AFTER} ago")
    return dg.RunRequest(tags={TRIGGER: why})


RELEASE_SENSORS = [guardrail_breach, pending_rollbacks, ready_lists]
