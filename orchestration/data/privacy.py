"""What is deleted: users who were erased, and what was kept long enough. See docs/privacy.md."""

from datetime import UTC, date, datetime

import dagster as dg
import psycopg

from going_live.alerts import raise_alert
from orchestration.data.lake_days import mend_broken_days
from orchestration.policies import LAKE_POOL, TRANSIENT
from orchestration.resources import Platform
from storage.catalogue import changes, refresh_queue
from storage.operations.served import KEPT_DAYS
from storage.privacy import erasures, retention

NEWEST_SNAPSHOTS = 3
"""So many of the highest versions stay on disk, beside those in use. MLflow has them all."""


def erase_from_lake(platform: Platform) -> dict[date, int]:
    """Erase from the lake who was erased from Postgres; returns the rows that went, by day.

    Only where nobody else writes to the lake (pool ``lake``): a day that is being read from
    Postgres might bring the user back.
    """
    with platform.connect() as conn:
        pending = erasures.pending(conn)
    gone = platform.lake.erase_users(pending)
    with platform.connect() as conn:
        erasures.set_done(conn, pending)
    return gone


@dg.op(pool=LAKE_POOL, retry_policy=TRANSIENT, out=dg.Out(dg.Nothing))
def erase_users(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Erase from the lake the users who were erased since the last run. Files that are broken
    cannot be searched for them: Postgres, which they have left, gives these days again."""
    mend_broken_days(context.log, platform)
    with platform.connect() as conn:
        late = erasures.delete_late(conn, None)
    gone = erase_from_lake(platform)
    context.add_output_metadata(
        {
            "late_interactions": late,
            "lake_days_rewritten": len(gone),
            "lake_rows": sum(gone.values()),
        }
    )


@dg.op(
    pool=LAKE_POOL,
    retry_policy=TRANSIENT,
    ins={"erased": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
)
def delete_old(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Delete what is older than the profile's section `privacy` says."""
    limits = platform.profile.privacy
    with platform.connect() as conn:
        conn.autocommit = True
        now = _time_to_delete_by(context, conn)
        first_kept = retention.first_day_kept(limits.retention_days, now)
        months = retention.drop_months(conn, first_kept)
        rows = retention.delete_older(conn, first_kept)
        rejected = retention.delete_rows(conn, "interactions_rejected", limits.rejected_days, now)
        audit = retention.delete_rows(conn, "audit_log", limits.audit_days, now)
        alerts = retention.delete_rows(conn, "alerts", limits.audit_days, now)
        minutes = retention.delete_rows(conn, "served_minutes", KEPT_DAYS, now)
        reports = retention.delete_rows(conn, "guardrail_reports", limits.audit_days, now)
        hours = retention.delete_metrics(
            conn,
            retention.first_day_kept(min(limits.metrics_days, limits.retention_days), now),
        )
        hashes = retention.delete_erasures(conn, limits.audit_days, now)
        changed = changes.prune(conn)
        refresh_queue.forget(conn)
    lake_days = platform.lake.drop_before(first_kept)
    snapshots = retention.delete_folders(
        platform.settings.snapshots, _in_use(platform), newest=NEWEST_SNAPSHOTS
    )
    catalogues = retention.delete_folders(
        platform.settings.home / "serving" / "catalogues", (), newest=NEWEST_SNAPSHOTS
    )
    context.log.info(
        "kept from %s on: dropped %d months, deleted %d interactions, removed %d lake days",
        first_kept, len(months), rows, len(lake_days),
    )  # fmt: skip
    context.add_output_metadata(
        {
            "kept_from": first_kept.isoformat(),
            "months_dropped": dg.MetadataValue.json(months),
            "interactions_deleted": rows,
            "lake_days_removed": len(lake_days),
            "rejected_deleted": rejected,
            "audit_lines_deleted": audit,
            "alerts_deleted": alerts,
            "served_minutes_deleted": minutes,
            "guardrail_reports_deleted": reports,
            "hours_of_users_deleted": hours,
            "erasure_hashes_deleted": hashes,
            "changes_pruned": changed,
            "snapshots_removed": dg.MetadataValue.json(snapshots),
            "catalogues_removed": len(catalogues),
        }
    )


def _time_to_delete_by(context: dg.OpExecutionContext, conn: psycopg.Connection) -> datetime:
    """Now, unless the clock jumped ahead, of which an alert tells."""
    now = datetime.now(UTC)
    followed = retention.follow_clock(conn, now)
    if followed < now:
        message = (
            f"The clock says {now:%Y-%m-%d}, more than {retention.LONGEST_STEP.days} days after "
            f"the last deletion: rows are deleted as on {followed:%Y-%m-%d}, and up to "
            f"{retention.LONGEST_STEP.days} days later each time"
        )
        context.log.warning("%s. If the clock is wrong, set it right before the next run.", message)
        raise_alert(conn, "clock_jumped", "warning", message, {"clock": now.isoformat()})
    return followed


def _in_use(platform: Platform) -> set[str]:
    """Versions that may be served from one moment to the next: the live one, the one before it,
    and the one on trial."""
    registry = platform.registry
    aliases = [
        version.version for version in (registry.champion(), registry.challenger()) if version
    ]
    return {*aliases, *registry.history()[-2:]}


@dg.job(
    name="privacy",
    description="Erase users from the lake who asked for it, and delete what is older than the "
    "profile's `privacy` section says: interactions, lake, refused rows, audit log, snapshots.",
    tags={"feedwright/kind": "privacy"},
)
def privacy_job() -> None:
    delete_old(erased=erase_users())


daily_privacy = dg.ScheduleDefinition(
    name="daily_privacy",
    job=privacy_job,
    cron_schedule="30 1 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Daily at 01:30, before the training: delete what is old, and erased users.",
)
