"""When things run by the clock (UTC)."""

from datetime import date, datetime

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG, MAX_RUNTIME_SECONDS_TAG

from orchestration.experiments import ten_minutely_experiments
from orchestration.jobs import (
    daily_job,
    drift_job,
    engagement_job,
    guardrails_job,
    off_policy_job,
    trending_job,
)
from orchestration.partitions import daily, range_tags
from orchestration.privacy import privacy_job
from orchestration.resources import Platform
from orchestration.retraining import training_now
from storage.catalogue import queries

RUNNING = dg.DefaultScheduleStatus.RUNNING


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
    default_status=RUNNING,
    description="Daily at 02:00: read what is new, train, evaluate, gate, publish.",
)
def daily_at_two(
    context: dg.ScheduleEvaluationContext, platform: Platform
) -> dg.RunRequest | dg.SkipReason:
    going = training_now(context.instance)
    if going is not None:
        return dg.SkipReason(f"a training is on its way: run {going.run_id}")
    return training_request(platform, context.scheduled_execution_time, "schedule")


hourly_engagement = dg.ScheduleDefinition(
    name="hourly_engagement",
    job=engagement_job,
    cron_schedule="5 * * * *",
    default_status=RUNNING,
    description="Hourly: counts of what users did with each item.",
)

quarter_hourly_trending = dg.ScheduleDefinition(
    name="quarter_hourly_trending",
    job=trending_job,
    cron_schedule="*/15 * * * *",
    default_status=RUNNING,
    description="Every 15 minutes: what trends.",
)

ten_minutely_guardrails = dg.ScheduleDefinition(
    name="ten_minutely_guardrails",
    job=guardrails_job,
    cron_schedule="*/10 * * * *",
    default_status=RUNNING,
    description="Every 10 minutes: do users do worse with the live version, or with an arm?",
)

hourly_off_policy = dg.ScheduleDefinition(
    name="hourly_off_policy",
    job=off_policy_job,
    cron_schedule="40 * * * *",
    default_status=RUNNING,
    description="Hourly: how would the challenger have done on the feeds that were shown?",
)

hourly_drift = dg.ScheduleDefinition(
    name="hourly_drift",
    job=drift_job,
    cron_schedule="50 * * * *",
    default_status=RUNNING,
    description="Hourly: have the data moved from what the live version learnt?",
)

daily_privacy = dg.ScheduleDefinition(
    name="daily_privacy",
    job=privacy_job,
    cron_schedule="30 1 * * *",
    default_status=RUNNING,
    description="Daily at 01:30, before the training: delete what is old, and erased users.",
)

SCHEDULES = [
    daily_at_two,
    hourly_engagement,
    quarter_hourly_trending,
    ten_minutely_guardrails,
    hourly_off_policy,
    hourly_drift,
    daily_privacy,
    ten_minutely_experiments,
]
