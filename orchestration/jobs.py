"""What can be started: by schedules, by sensors, and by hand from the launchpad."""

from datetime import timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from orchestration.assets import feed
from orchestration.policies import TRANSIENT
from orchestration.privacy import privacy_job
from orchestration.resources import Platform
from storage import refresh_queue
from storage.telemetry import write_audit

daily_job = dg.define_asset_job(
    "daily",
    selection=dg.AssetSelection.all(),
    description="Everything once: sources, features, training, evaluation, gate, snapshot, lists.",
    tags={"feedwright/kind": "training"},
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
    selection=dg.AssetSelection.assets(feed.guardrail_metrics),
    description="CTR and conversion of the live version against those of other versions.",
    tags={"feedwright/kind": "guardrails"},
)


class RollbackConfig(dg.Config):
    """Which version goes, and why.

    Attributes:
        version: the one that goes; if it is no longer live, nothing moves. None: the live one.
    """

    reason: str = "by hand"
    version: str | None = None


# Not retried: a second try would go back by one more version.
@dg.op
def roll_back(context: dg.OpExecutionContext, config: RollbackConfig, platform: Platform) -> str:
    """Make the previous champion the champion again; workers follow within seconds."""
    live = platform.registry.champion()
    if live is not None and config.version not in (None, live.version):
        context.log.warning("version %s is no longer live: nothing to do", config.version)
        return live.version
    with platform.connect() as conn:  # first: what cannot be noted does not happen
        live = platform.registry.rollback()
        detail = {"version": live.version, "reason": config.reason, "run": context.run_id}
        write_audit(conn, "pipeline", "model.rolled_back", detail)
    context.log.warning("rolled back to version %s: %s", live.version, config.reason)
    return live.version


@dg.op(retry_policy=TRANSIENT)
def rescore(context: dg.OpExecutionContext, platform: Platform, version: str) -> None:
    """Rank the ready lists anew with the version that is live now."""
    lists, report = feed.refresh_recommendations(platform)
    if not report.success:
        raise dg.Failure(f"lists of version {version} were not published: {report.summary}")
    context.log.info("%d recommendations by version %s", len(lists), version)


@dg.job(
    name="rollback",
    description="Put the previous champion back and rank the ready lists with it. No training.",
    tags={"feedwright/kind": "rollback"},
)
def rollback_job() -> None:
    rescore(roll_back())


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
            taken = refresh_queue.take(conn, min(config.at_once, config.most - users))
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
    engagement_job,
    trending_job,
    guardrails_job,
    rollback_job,
    refresh_job,
    privacy_job,
]
