"""Group ``sources``: what the product's Postgres holds, checked, and without bad rows."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import psycopg

from models.profile import Checks
from orchestration import checks
from orchestration.partitions import daily
from orchestration.policies import OWNERS, TRANSIENT, value_of
from orchestration.resources import Platform
from storage import quarantine, queries
from storage.lake import Extent

GROUP = "sources"
OVERLAP = timedelta(minutes=15)
"""A transaction may commit after a later one was read; rows of that long are read again."""
READ_DAYS = 31


@dg.asset(
    group_name=GROUP,
    kinds={"postgres", "parquet"},
    owners=OWNERS,
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=checks.source_specs("interactions", "what must hold of every interaction"),
    retry_policy=TRANSIENT,
)
def interactions(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """The interaction log as Parquet, one file a day.

    Bad rows go to `feed.interactions_rejected` with their reason. In a run over several days
    only those that got rows since the last run are read: a new day costs its own rows.
    """
    days = [date.fromisoformat(key) for key in context.partition_keys]
    lake, profile = platform.lake, platform.profile
    with platform.connect() as conn:
        received = queries.last_received(conn)
        extent = lake.extent()
        since = extent.received_until if extent else None
        if len(days) > 1:
            changed = queries.changed_days(conn, since - OVERLAP if since else None)
            wanted = set(days)
            days = [day for day in changed if day in wanted]
        rejected = _quarantine(conn, days, platform)
    context.log.info("%d days to read", len(days))
    written = 0
    for first, last in _stretches(days):
        rows = queries.read_interactions(platform.url, first, last)
        rows = rows.with_columns(day=pl.col("occurred_at").dt.date())
        parts = rows.partition_by("day", include_key=False, as_dict=True)
        for day in days:
            if first <= day <= last:
                lake.write_day(day, parts.get((day,), rows.clear()))
        written += len(rows)
        context.log.info("%s to %s: %d interactions", first, last, len(rows))
    whole = len(context.partition_keys) > 1 or extent is None
    if whole and received is not None:
        lake.set_extent(Extent(_earliest(lake.first_day(), context), received))
    report = _check_days(platform, days)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": written,
            "days_written": len(days),
            "rejected": dg.MetadataValue.json(rejected),
            "profile": profile.name,
        },
        check_results=[
            checks.rejected_result(
                "interactions", rejected, written, profile.checks.max_rejected_share
            ),
            report,
        ],
    )


def _earliest(known: date | None, context: dg.AssetExecutionContext) -> date:
    first = date.fromisoformat(context.partition_keys[0])
    return min(known, first) if known else first


def _stretches(days: list[date]) -> list[tuple[date, date]]:
    """Runs of neighbouring days, none longer than ``READ_DAYS``, so memory stays bounded."""
    stretches: list[tuple[date, date]] = []
    for day in days:
        first, last = stretches[-1] if stretches else (day, day)
        near = stretches and day - last <= timedelta(days=1)
        if near and (day - first).days < READ_DAYS:
            stretches[-1] = (first, day)
        else:
            stretches.append((day, day))
    return stretches


def _quarantine(conn: psycopg.Connection, days: list[date], platform: Platform) -> dict[str, int]:
    if not days:
        return {}
    start, end = queries.day_bounds(days[0])[0], queries.day_bounds(days[-1])[1]
    return quarantine.quarantine_interactions(conn, start, end, checks=platform.profile.checks)


def _check_days(platform: Platform, days: list[date]) -> dg.AssetCheckResult:
    start = queries.day_bounds(days[0])[0] if days else datetime.now(UTC)
    end = queries.day_bounds(days[-1])[1] if days else datetime.now(UTC)
    return checks.interactions(platform, start, end, may_be_empty=bool(platform.lake.days()))


@dg.asset(
    group_name=GROUP,
    kinds={"postgres"},
    owners=OWNERS,
    dagster_type=value_of(pl.DataFrame),
    check_specs=checks.source_specs("users", "ids, places and times of users"),
    retry_policy=TRANSIENT,
)
def users(platform: Platform) -> dg.MaterializeResult:
    """Who the feed is for: place, chosen tags, attributes."""
    return _good_rows(platform, "users", quarantine.quarantine_users, queries.read_users)


@dg.asset(
    group_name=GROUP,
    kinds={"postgres"},
    owners=OWNERS,
    dagster_type=value_of(pl.DataFrame),
    check_specs=checks.source_specs("items", "ids, places, prices, status and times of items"),
    retry_policy=TRANSIENT,
)
def items(platform: Platform) -> dg.MaterializeResult:
    """What is ranked: listings, posts or events."""
    return _good_rows(platform, "items", quarantine.quarantine_items, queries.read_items)


@dg.asset(
    group_name=GROUP,
    kinds={"postgres"},
    owners=OWNERS,
    dagster_type=value_of(pl.DataFrame),
    check_specs=checks.source_specs("owners", "ids and rates of owners"),
    retry_policy=TRANSIENT,
)
def owners(platform: Platform) -> dg.MaterializeResult:
    """Who posted the items: rating, completion rate, finished jobs. There may be none."""
    return _good_rows(platform, "owners", quarantine.quarantine_owners, queries.read_owners)


def _good_rows(
    platform: Platform,
    entity: quarantine.Catalogue,
    find_bad: Callable[[psycopg.Connection, Checks], dict[str, str]],
    read: Callable[..., pl.DataFrame],
) -> dg.MaterializeResult:
    """The rows without those that break a rule, which are recorded with their reason."""
    limits = platform.profile.checks
    with platform.connect() as conn:
        bad = quarantine.by_reason(find_bad(conn, limits))
    good = f"({quarantine.reason_sql(entity, limits)}) IS NULL"
    frame = read(platform.url, where=good)
    schema = [dg.TableColumn(name, str(kind)) for name, kind in frame.schema.items()]
    return dg.MaterializeResult(
        value=frame,
        metadata={
            "dagster/row_count": len(frame),
            "dagster/column_schema": dg.TableSchema(schema),
            "rejected": dg.MetadataValue.json(bad),
        },
        check_results=[
            checks.rejected_result(entity, bad, len(frame), limits.max_rejected_share),
            checks.catalogue(platform, entity, good),
        ],
    )


ASSETS = [interactions, users, items, owners]
