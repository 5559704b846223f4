"""Group ``sources``: what the product's Postgres holds, checked, and without bad rows."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg
import polars as pl
import psycopg

from models.profile.training_sections import Checks
from orchestration.data import checks
from orchestration.data.lake_days import broken_days, write_days
from orchestration.data.partitions import daily
from orchestration.data.privacy import erase_from_lake
from orchestration.policies import LAKE_POOL, OWNERS, TRANSIENT, value_of
from orchestration.resources import Platform
from storage.catalogue import changes, queries
from storage.events import quarantine
from storage.events.lake import Extent
from storage.loading.values.columns import EARLIEST
from storage.postgres.settled import settled_until
from storage.privacy import erasures

GROUP = "sources"
NEEDED = {
    "users": "There are no users: send or load interactions that have a user_id, or users "
    "themselves (`feedwright load --help`).",
    "items": "There are no items: send or load interactions that have an item_id, or items "
    "themselves (`feedwright load --help`).",
}
"""What a training cannot do without, and what to do about it."""


@dataclass(frozen=True)
class Rows:
    """Rows of the catalogue, and where its change log stood before they were read: with each of
    the three its own, for a run may make one of them anew and take the others as they were."""

    frame: pl.DataFrame
    position: str


@dg.asset(
    group_name=GROUP,
    kinds={"postgres", "parquet"},
    owners=OWNERS,
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[
        *checks.source_specs("interactions", "what must hold of every interaction"),
        checks.strays_spec("interactions"),
        checks.types_spec("interactions"),
    ],
    retry_policy=TRANSIENT,
    pool=LAKE_POOL,
)
def interactions(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """The interaction log as Parquet, one file a day.

    Bad rows go to `feed.interactions_rejected` with their reason. Whatever days a run is for,
    it reads those that got rows since the last run, so that a late one is never passed over,
    and a new day costs its own rows. A run for one day alone reads that day in any case, and one
    that was started for no day reads today.
    A day whose file is broken is read again. What unknown users did, or was done with unknown
    items, is here too, since they may become known; features and models leave it out. Users who
    were erased are erased here too, so no training learns from them.
    """
    chosen = context.has_partition_key or context.has_partition_key_range
    keys = context.partition_keys if chosen else [datetime.now(UTC).date().isoformat()]
    asked = [date.fromisoformat(key) for key in keys]
    lake, profile = platform.lake, platform.profile
    extent = lake.extent()
    with platform.connect() as conn:
        settled = settled_until(conn)
        since = extent.received_until if extent else None
        erasures.delete_late(conn, since and since - queries.OVERLAP)
        changed = queries.changed_days(conn, since)
        broken = broken_days(context.log, lake)
        days = sorted({*changed, *broken, *(asked if len(asked) == 1 else [])})
        rejected = _quarantine(conn, days, platform)
    context.log.info("%d days to read", len(days))
    written = write_days(context.log, platform, days)
    erased = erase_from_lake(platform)
    report = _check_days(platform, days, may_be_empty=bool(lake.days()))
    strays = _find_strays(context, platform, days)
    if report.passed and checks.holds(strays):  # else the next run looks at these days again
        first_day = min([*asked, *days, *([extent.first_day] if extent else [])])
        lake.set_extent(Extent(first_day, settled))
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": written,
            "days_written": len(days),
            "days_mended": len(broken),
            "rejected": dg.MetadataValue.json(rejected),
            "rows_of_erased_users": sum(erased.values()),
            "profile": profile.name,
        },
        check_results=[
            checks.rejected_result("interactions", rejected, written, profile.checks),
            report,
            strays,
            _without_type(context, platform),
        ],
    )


def _quarantine(conn: psycopg.Connection, days: list[date], platform: Platform) -> dict[str, int]:
    start, end = _bounds(days)
    profile = platform.profile
    return quarantine.quarantine_interactions(
        conn, start, end, checks=profile.checks, types=profile.interaction_types
    )


def _check_days(platform: Platform, days: list[date], *, may_be_empty: bool) -> dg.AssetCheckResult:
    return checks.interactions(platform, *_bounds(days), may_be_empty=may_be_empty)


def _find_strays(
    context: dg.AssetExecutionContext, platform: Platform, days: list[date]
) -> dg.AssetCheckResult:
    with platform.connect() as conn:
        result = checks.strays_result(conn, *_bounds(days), platform.profile.checks)
    if not result.passed:
        context.log.warning(str(result.description))
    return result


def _without_type(context: dg.AssetExecutionContext, platform: Platform) -> dg.AssetCheckResult:
    with platform.connect() as conn:
        result = checks.types_result(conn, platform.profile)
    if not result.passed:
        context.log.warning(str(result.description))
    return result


def _bounds(days: list[date]) -> tuple[datetime, datetime]:
    """Start of the first and end of the last; an empty stretch for no days."""
    if not days:
        return EARLIEST, EARLIEST
    return queries.day_bounds(days[0])[0], queries.day_bounds(days[-1])[1]


@dg.asset(
    group_name=GROUP,
    kinds={"postgres"},
    owners=OWNERS,
    dagster_type=value_of(Rows),
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
    dagster_type=value_of(Rows),
    check_specs=checks.source_specs("items", "ids, places, prices, status and times of items"),
    retry_policy=TRANSIENT,
)
def items(platform: Platform) -> dg.MaterializeResult:
    """What is ranked: listings, posts or events. Changes of long ago leave their log."""
    with platform.connect() as conn:
        changes.prune(conn)
    return _good_rows(platform, "items", quarantine.quarantine_items, queries.read_items)


@dg.asset(
    group_name=GROUP,
    kinds={"postgres"},
    owners=OWNERS,
    dagster_type=value_of(Rows),
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
        position = changes.position(conn)
        bad = quarantine.by_reason(find_bad(conn, limits))
    good = f"({quarantine.reason_sql(entity, limits)}) IS NULL"
    frame = read(platform.url, where=good)
    if frame.is_empty() and not bad and entity in NEEDED:
        raise dg.Failure(NEEDED[entity], allow_retries=False)
    schema = [dg.TableColumn(name, str(kind)) for name, kind in frame.schema.items()]
    return dg.MaterializeResult(
        value=Rows(frame, position),
        metadata={
            "dagster/row_count": len(frame),
            "dagster/column_schema": dg.TableSchema(schema),
            "rejected": dg.MetadataValue.json(bad),
        },
        check_results=[
            checks.rejected_result(entity, bad, len(frame), limits),
            checks.catalogue(platform, entity, good),
        ],
    )


ASSETS = [interactions, users, items, owners]
