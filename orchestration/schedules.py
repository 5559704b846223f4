"""When things run by the clock (UTC)."""

from collections.abc import Iterator
from datetime import date, datetime

import dagster as dg

from orchestration.jobs import daily_job, engagement_job, guardrails_job, trending_job
from orchestration.partitions import daily, range_tags
from orchestration.privacy import privacy_job
from orchestration.resources import Platform
from storage import queries

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
    return dg.RunRequest(tags=tags | {"feedwright/trigger": why})


@dg.schedule(
    job=daily_job,
    cron_schedule="0 2 * * *",
    default_status=RUNNING,
    description="Daily at 02:00: read what is new, train, evaluate, gate, publish.",
)
def daily_at_two(
    context: dg.ScheduleEvaluationContext, platform: Platform
) -> Iterator[dg.RunRequest]:
    yield training_request(platform, context.scheduled_execution_time, "schedule")


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

hourly_guardrails = dg.ScheduleDefinition(
    name="hourly_guardrails",
    job=guardrails_job,
    cron_schedule="20 * * * *",
    default_status=RUNNING,
    description="Hourly: is the live version doing worse than what was live before?",
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
    hourly_guardrails,
    daily_privacy,
]
