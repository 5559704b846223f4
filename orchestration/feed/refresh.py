"""Ready lists of users who did something since theirs was made: ranked anew, as they come."""

from datetime import timedelta

import dagster as dg

from orchestration.feed.lists import refresh_lists_of
from orchestration.resources import Platform
from orchestration.runs.going import going
from storage.catalogue import refresh_queue


class RefreshConfig(dg.Config):
    """
    Attributes:
        at_once: users whose lists are made and published together.
        most: users of one run; the next run goes on.
    """

    at_once: int = 500
    most: int = 5_000


# Not retried: who was taken and not done is taken again by a later run.
@dg.op
def refresh_waiting_lists(
    context: dg.OpExecutionContext, config: RefreshConfig, platform: Platform
) -> None:
    """Make the lists of users anew who did something since theirs was made."""
    interval = timedelta(minutes=platform.profile.recommendations.refresh_minutes)
    users = rows = 0
    while users < config.most:
        with platform.connect() as conn:
            taken = refresh_queue.take(conn, min(config.at_once, config.most - users), interval)
        if not taken.users:
            break
        rows += len(refresh_lists_of(platform, taken.users))
        with platform.connect() as conn:
            refresh_queue.done(conn, taken, interval)
        users += len(taken.users)
    context.log.info("lists of %d users, %d recommendations", users, rows)
    context.add_output_metadata({"users": users, "recommendations": rows})


@dg.job(
    name="refresh",
    description="Rank the ready lists anew of users who did something, with the live version.",
    tags={"feedwright/kind": "refresh"},
)
def refresh_job() -> None:
    refresh_waiting_lists()


@dg.sensor(
    job=refresh_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
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
