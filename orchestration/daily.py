"""The daily job: every step from the sources to the lists that users get, by clock or by need."""

from datetime import UTC, date, datetime

import dagster as dg

from orchestration.dagster_internals import MAX_RETRIES_TAG, MAX_RUNTIME_SECONDS_TAG
from orchestration.data import features, sources
from orchestration.data.partitions import daily, range_tags
from orchestration.feed import lists
from orchestration.releases import guardrails
from orchestration.resources import Platform
from orchestration.training import drift, gate, models, registry
from orchestration.training.retraining import (
    DAILY,
    reason_to_train,
    training_now,
    why_not_now,
)
from storage.catalogue import queries

ASSETS = [
    *sources.ASSETS,
    *features.ASSETS,
    *models.ASSETS,
    *registry.ASSETS,
    *gate.ASSETS,
    *lists.ASSETS,
    *guardrails.ASSETS,
    *drift.ASSETS,
]
"""In the order in which they are made. What is not here is in no daily run."""

daily_job = dg.define_asset_job(
    DAILY,
    selection=dg.AssetSelection.assets(*ASSETS),
    description="Everything once: sources, features, training, evaluation, gate, snapshot, lists.",
    tags={"feedwright/kind": "training"},
)


def days_to_read(platform: Platform, today: date) -> tuple[date, date]:
    """The stretch of partitions that got something since the last run, up to today.

    The asset `interactions` reads what changed before the first partition as well; it is a
    partition once the code location is reloaded.
    """
    extent = platform.lake.extent()
    since = extent.received_until if extent else None
    with platform.connect() as conn:
        changed = queries.changed_days(conn, since)
    first = max(min(changed, default=today), date.fromisoformat(daily.get_partition_keys()[0]))
    return min(first, today), today


def training_request(platform: Platform, now: datetime, why: str) -> dg.RunRequest:
    """A run of the daily job over the days that changed."""
    tags = range_tags(*days_to_read(platform, now.date()))
    rules = platform.profile.retraining
    limits = {
        MAX_RETRIES_TAG: str(rules.max_retries),
        MAX_RUNTIME_SECONDS_TAG: f"{rules.max_run_hours * 3600:.0f}",
    }
    return dg.RunRequest(tags=tags | limits | {"feedwright/trigger": why})


@dg.schedule(
    job=daily_job,
    cron_schedule="0 2 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Daily at 02:00: read what is new, train, evaluate, gate, publish.",
)
def daily_at_two(
    context: dg.ScheduleEvaluationContext, platform: Platform
) -> dg.RunRequest | dg.SkipReason:
    going = training_now(context.instance)
    if going is not None:
        return dg.SkipReason(f"a training is on its way: run {going.run_id}")
    return training_request(platform, context.scheduled_execution_time, "schedule")


@dg.sensor(
    job=daily_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
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
