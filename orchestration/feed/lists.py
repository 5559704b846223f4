"""Group ``feed``: lists that are kept ready, and what is counted of the live feed."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_checks.report import CheckReport
from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.snapshot import Snapshot
from models.feed.candidates.rules import allowed
from models.feed.candidates.shortlists import ANYBODY
from models.feed.lists import recommendation_lists
from models.profile.schema import Profile
from models.ranking.learned import ranker_of
from orchestration import plots
from orchestration.data import checks
from orchestration.data.sources import interactions
from orchestration.policies import OWNERS, TRANSIENT
from orchestration.resources import Platform
from orchestration.snapshots import served_snapshot
from orchestration.training.gate import champion
from storage.catalogue import queries
from storage.events import telemetry
from storage.postgres.bulk import replace_rows
from storage.privacy.erasures import delete_orphans

GROUP = "feed"
ENGAGEMENT_HOURS = (720,)
TRENDING_HOURS = (24, 168)
NO_LISTS = (
    "there are no lists: nobody was active lately, or nothing is new to those who were and may be "
    "shown to them"
)
TRAINED_ON = timedelta(hours=1)
"""A version knows what was received up to so long before it was trained, or longer."""


def live_snapshot(platform: Platform) -> Snapshot:
    """The champion's snapshot as it is served, fetched from MLflow if this machine has no copy.

    Raises:
        dagster.Failure: there is no champion.
    """
    version = platform.registry.champion()
    if version is None:
        raise dg.Failure("no champion yet: materialise the asset `champion` first")
    return served_snapshot(platform, version)


def refresh_recommendations(platform: Platform) -> tuple[pl.DataFrame, CheckReport]:
    """Rank for the users who were active lately, check, and only then publish."""
    live, profile = live_snapshot(platform), platform.profile
    now = time.time()
    with platform.connect() as conn:
        since = datetime.now(UTC) - timedelta(days=profile.recommendations.active_days)
        active = queries.active_users(conn, since)
    lists = recommendation_lists(
        live, profile, _rows(live, active), now=now, ranker=ranker_of(live)
    )
    report = checks.recommendations(platform, lists, _may_be_shown(live, profile, now))
    if report.success:
        _publish(platform, live, lists)
    return lists, report


def refresh_lists_of(platform: Platform, users: Sequence[str]) -> pl.DataFrame:
    """Rank anew for these users by the live version, without what they touched since it was
    trained, and publish only their lists. Users whom the version does not know get none.

    Raises:
        dagster.Failure: the lists fail their check, and the old ones stay.
    """
    live, profile, now = live_snapshot(platform), platform.profile, time.time()
    with platform.connect() as conn:
        since = datetime.fromisoformat(live.manifest.trained_at or live.manifest.built_at)
        touched = queries.touched_since(
            conn, users, since - TRAINED_ON, list(profile.interaction_weights)
        )
    most = touched.group_by("user_id").len()["len"].max()
    assert most is None or isinstance(most, int)
    per_user = profile.recommendations.per_user
    longer = profile.recommendations.model_copy(update={"per_user": per_user + (most or 0)})
    lists = recommendation_lists(
        live,
        profile.model_copy(update={"recommendations": longer}),
        _rows(live, users),
        now=now,
        ranker=ranker_of(live),
    )
    lists = (
        lists.join(touched, on=["user_id", "item_id"], how="anti", maintain_order="left")
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int16).over("user_id"))
        .filter(pl.col("rank") <= per_user)
    )
    if not lists.is_empty():
        report = checks.recommendations(platform, lists, _may_be_shown(live, profile, now))
        if not report.success:
            raise dg.Failure(f"refreshed lists were not published: {report.summary}")
    _publish(platform, live, lists, users)
    return lists


def _rows(live: Snapshot, users: Sequence[str]) -> NDArray[np.integer]:
    rows = live.users.ids.indices(pl.Series(users, dtype=pl.String))
    return rows[rows >= 0]


def _may_be_shown(live: Snapshot, profile: Profile, now: float) -> pl.Series:
    """Ids of the items that anybody may be shown."""
    everything = np.arange(len(live.items.ids), dtype=np.int32)
    anyone = allowed(LiveCatalogue(live), ANYBODY, profile, everything, now=now)
    return live.items.ids.to_series().filter(pl.Series(anyone))


def _publish(
    platform: Platform, live: Snapshot, lists: pl.DataFrame, users: Sequence[str] | None = None
) -> None:
    """Replace the lists of these users, or of all, if the version is still the live one."""
    now_live = platform.registry.champion()
    if now_live is None or now_live.version != live.manifest.model_version:
        raise dg.Failure("another version went live meanwhile: its lists are the ones to make")
    with platform.connect() as conn:
        if users is not None:  # some of them may have no list any more
            conn.execute("DELETE FROM feed.recommendations WHERE user_id = ANY(%s)", (list(users),))
        key = None if users is None else "user_id"
        replace_rows(conn, "recommendations", lists, key=key)
        # Whoever was erased meanwhile. The table is locked by now: an erasure either was before
        # this, or waits, and deletes these rows too.
        delete_orphans(conn, "recommendations")


@dg.asset(
    group_name=GROUP,
    kinds={"postgres"},
    owners=OWNERS,
    deps=[champion],
    check_specs=[checks.suite_spec("recommendations", "ranks, scores and eligible items")],
    retry_policy=TRANSIENT,
)
def recommendations(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """A ready list with reasons for each lately active user, by the live version.

    Lists that fail their check are not published: the old ones stay.
    """
    lists, report = refresh_recommendations(platform)
    if lists.is_empty():
        context.log.warning(NO_LISTS)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(lists),
            "users": lists["user_id"].n_unique(),
            "items": lists["item_id"].n_unique(),
            "published": report.success,
            "scores": plots.as_metadata(
                plots.distribution, lists["score"].to_numpy(), "Scores", "score"
            ),
        },
        check_results=[checks.suite_result(platform, report)],
    )


@dg.asset(
    group_name=GROUP,
    kinds={"postgres"},
    owners=OWNERS,
    deps=[dg.AssetDep(interactions, partition_mapping=dg.LastPartitionMapping())],
    retry_policy=TRANSIENT,
)
def engagement_metrics(platform: Platform) -> dg.MaterializeResult:
    """What users did with each item over 30 days, as counts and a score in [0, 1]."""
    profile = platform.profile
    with platform.connect() as conn:
        written = telemetry.refresh_engagement(
            conn, ENGAGEMENT_HOURS, profile.engagement_weights, profile.interaction_types
        )
    return dg.MaterializeResult(metadata={"dagster/row_count": written})


@dg.asset(
    group_name=GROUP,
    kinds={"postgres"},
    owners=OWNERS,
    deps=[dg.AssetDep(interactions, partition_mapping=dg.LastPartitionMapping())],
    retry_policy=TRANSIENT,
)
def trending_items(platform: Platform) -> dg.MaterializeResult:
    """What is liked most in the last day and the last week."""
    profile = platform.profile
    with platform.connect() as conn:
        telemetry.refresh_engagement(
            conn, TRENDING_HOURS, profile.engagement_weights, profile.interaction_types
        )
        rows = telemetry.refresh_trending(conn)
    return dg.MaterializeResult(metadata={"dagster/row_count": rows})


ASSETS = [recommendations, engagement_metrics, trending_items]


engagement_job = dg.define_asset_job(
    "engagement",
    selection=dg.AssetSelection.assets(engagement_metrics),
    description="Counts of what users did with each item over 30 days.",
    tags={"feedwright/kind": "counting"},
)


trending_job = dg.define_asset_job(
    "trending",
    selection=dg.AssetSelection.assets(trending_items),
    description="What trends in the last day and week.",
    tags={"feedwright/kind": "counting"},
)


hourly_engagement = dg.ScheduleDefinition(
    name="hourly_engagement",
    job=engagement_job,
    cron_schedule="5 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Hourly: counts of what users did with each item.",
)


quarter_hourly_trending = dg.ScheduleDefinition(
    name="quarter_hourly_trending",
    job=trending_job,
    cron_schedule="*/15 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every 15 minutes: what trends.",
)
