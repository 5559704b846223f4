"""What can be started: by schedules, by sensors, and by hand from the launchpad."""

from datetime import timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from orchestration.assets import drift, feed, guardrails, search
from orchestration.experiments import experiments_job
from orchestration.privacy import privacy_job
from orchestration.release_jobs import RELEASE_JOBS
from orchestration.resources import Platform
from storage.catalogue import refresh_queue

daily_job = dg.define_asset_job(
    "daily",
    selection=dg.AssetSelection.all() - dg.AssetSelection.assets(search.hyperparameter_search),
    description="Everything once: sources, features, training, evaluation, gate, snapshot, lists.",
    tags={"feedwright/kind": "training"},
)

search_job = dg.define_asset_job(
    "search",
    selection=dg.AssetSelection.assets(search.hyperparameter_search),
    description="Better settings of the recommenders, on the data of the last training. It takes "
    "as long as its configuration says, goes on where it was, and changes nothing.",
    tags={"feedwright/kind": "search"},
)

engagement_job = dg.define_asset_job(
    "engagement",
    selection=dg.AssetSelection.assets(feed.engagement_metrics),
    description="Counts of what users did with each item over 30 days.",
    tags={"feedwright/kind": "counting"},
)

trending_job = dg.define_asset_job(
    "trending",
    selection=dg.AssetSelection.assets(feed.trending_items),
    description="What trends in the last day and week.",
    tags={"feedwright/kind": "counting"},
)

guardrails_job = dg.define_asset_job(
    "guardrails",
    selection=dg.AssetSelection.assets(guardrails.variant_metrics, guardrails.guardrail_metrics),
    description="What users do by variant and arm, with intervals: the live version against other "
    "versions, arms against their control.",
    tags={"feedwright/kind": "guardrails"},
)

off_policy_job = dg.define_asset_job(
    "off_policy",
    selection=dg.AssetSelection.assets(guardrails.off_policy_estimate),
    description="How the challenger would have done on the feeds that were shown.",
    tags={"feedwright/kind": "counting"},
)


drift_job = dg.define_asset_job(
    "drift",
    selection=dg.AssetSelection.assets(drift.drift_report),
    description="How far the data have moved from what the live version learnt.",
    tags={"feedwright/kind": "counting"},
)


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
        rows += len(feed.refresh_lists_of(platform, taken.users))
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


JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    daily_job,
    search_job,
    engagement_job,
    trending_job,
    guardrails_job,
    drift_job,
    off_policy_job,
    *RELEASE_JOBS,
    refresh_job,
    privacy_job,
    experiments_job,
]
