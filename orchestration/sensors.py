"""What runs because something happened."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from orchestration.jobs import daily_job, refresh_job
from orchestration.resources import Platform
from orchestration.retraining import reason_to_train, why_not_now
from orchestration.runs import going
from orchestration.schedules import training_request
from storage.catalogue import refresh_queue

RUNNING = dg.DefaultSensorStatus.RUNNING


@dg.sensor(
    job=daily_job,
    minimum_interval_seconds=60,
    default_status=RUNNING,
    description="Trains when enough interactions have come since the last training, when the data "
    "have drifted, or when the champion is halfway to the age at which serving falls back "
    "to the heuristic (profile: retraining, drift, serving). Never two at once; waits after a "
    "training, longer after failures and rollbacks.",
)
def retraining(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.RunRequest | dg.SkipReason:
    now = datetime.now(UTC)
    if (wait := why_not_now(platform, context.instance, now=now)) is not None:
        return dg.SkipReason(wait)
    why, otherwise = reason_to_train(platform, context.instance, now=now)
    return training_request(platform, now, why) if why else dg.SkipReason(otherwise)


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
    rules = platform.profile.recommendations
    with platform.connect() as conn:
        waiting = refresh_queue.due(conn, timedelta(minutes=rules.refresh_minutes))
    if not waiting:
        return dg.SkipReason("nobody waits for a list")
    if going(context.instance, refresh_job.name):
        return dg.SkipReason("a refresh is on its way")
    if platform.registry.champion() is None:
        return dg.SkipReason("no champion yet")
    return dg.RunRequest(tags={"feedwright/trigger": f"{waiting} users"})


SENSORS = [retraining, waiting_lists]
