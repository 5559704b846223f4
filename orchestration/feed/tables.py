"""The champion's tables, brought up to date every hour by what users did since: no training, and
no new version. A run that fails leaves the last good tables."""

import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl

from models.catalogue.snapshots.refreshed import RefreshedTables
from models.catalogue.snapshots.snapshot import Snapshot
from models.data.ids import IdIndex
from models.recommenders.files import RecommenderFileError
from models.recommenders.incremental.likes import Likes
from models.recommenders.incremental.state import TableState, affordable, makers_of
from models.versions.version import ModelVersion
from orchestration.feed.lists import GROUP
from orchestration.policies import OWNERS, TRANSIENT
from orchestration.resources import Platform
from orchestration.runs.going import going
from orchestration.snapshots import folder_of, snapshot_of
from orchestration.training.gate import champion
from storage.catalogue import queries
from storage.events import changed
from storage.postgres.settled import settled_until

STATE = "pipeline/table-state"
"""Folder of the installation, among what runs leave for later ones."""


@dataclass(frozen=True)
class Known:
    """``until``: what was received before is in the state; None: nothing is."""

    state: TableState
    until: datetime | None


@dg.asset(
    group_name=GROUP,
    kinds={"numpy", "mlflow"},
    owners=OWNERS,
    deps=[champion],
    retry_policy=TRANSIENT,
)
def refreshed_tables(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """The champion's tables of what goes with what and what follows what, as of now: counts are
    added for what was done since, and taken off for what was undone, erased or kept long enough.

    They belong to the version, as its snapshot does: workers take them in within seconds. Cost
    follows what changed, but for the first time after a version went live.
    """
    version = platform.registry.champion()
    if version is None:
        return _nothing(platform, "there is no champion")
    snapshot, started = snapshot_of(platform, version), time.monotonic()
    if not makers_of(snapshot.tables):
        return _nothing(
            platform, f"no table of version {version.version} can be brought up to date"
        )
    known = _known(context, platform, version, snapshot)
    with platform.connect() as conn:
        settled = settled_until(conn)  # before anything is read
        users = _changed(platform, conn, known)
    state = _updated(platform, known.state, users)
    same = all(one is other for one, other in zip(state.counted, known.state.counted, strict=True))
    stamp = None
    if not same or version.refreshed is None:
        stamp = _publish(platform, version, snapshot, state)
    notes = {"version": version.version, "until": settled.isoformat()}
    state.save(platform.settings.home / STATE, notes)
    return dg.MaterializeResult(
        metadata={
            "version": version.version,
            "published": stamp or "nothing changed",
            "users_changed": len(users),
            "items_added": len(state.likes.items) - len(snapshot.items.ids),
            "tables": ", ".join(state.tables(snapshot.tables)),
            "seconds": time.monotonic() - started,
        }
    )


def _nothing(platform: Platform, why: str) -> dg.MaterializeResult:
    """And nothing of users stays of what was counted before."""
    shutil.rmtree(platform.settings.home / STATE, ignore_errors=True)
    return dg.MaterializeResult(metadata={"published": why})


def _known(
    context: dg.AssetExecutionContext, platform: Platform, version: ModelVersion, snapshot: Snapshot
) -> Known:
    """What the last run left, or else what the lake has."""
    try:
        state, notes = TableState.load(platform.settings.home / STATE)
        if notes["version"] == version.version:
            return Known(state, datetime.fromisoformat(notes["until"]))
    except RecommenderFileError as error:
        context.log.info("counting anew: %s", error)
    extent, users = platform.lake.extent(), IdIndex.of(changed.users_there(platform.url))
    likes = Likes.of(platform.lake.scan(), users, snapshot.items.ids, platform.profile)
    made_by = makers_of(snapshot.tables)
    kept = affordable(made_by, likes)
    for one in made_by:
        if one not in kept:
            context.log.warning("%s waits for trainings: too many pairs", one["recommender"])
    return Known(TableState.of(likes, kept), extent.received_until if extent else None)


def _changed(platform: Platform, conn: Any, known: Known) -> list[str]:
    """Users whose histories are others than in the state."""
    since = datetime.fromtimestamp(0, UTC)
    if known.until is not None:
        since = known.until - queries.OVERLAP
    likes = known.state.likes
    ids = likes.users.to_list()
    users = changed.active_users(conn, since) | changed.deleted_users(conn, ids, since)
    users |= changed.written_users(conn, since) - set(ids)
    first = changed.kept_from(conn, platform.profile.privacy.retention_days)
    if first is not None:
        users |= {ids[row] for row in (likes.oldest < first.timestamp()).nonzero()[0].tolist()}
    return sorted(users)


def _updated(platform: Platform, state: TableState, users: list[str]) -> TableState:
    if not users:
        return state
    histories = changed.histories_of(platform.url, users)
    named = histories["item_id"].unique()
    unknown = named.filter(state.likes.items.indices(named) < 0).to_list()
    state = state.with_items(changed.items_there(platform.url, unknown))
    ids = pl.Series(users, dtype=pl.String)
    return state.updated(
        ids, Likes.of(histories.lazy(), IdIndex.of(ids), state.likes.items, platform.profile)
    )


def _publish(
    platform: Platform, version: ModelVersion, snapshot: Snapshot, state: TableState
) -> str:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    added = state.likes.items.to_list()[len(snapshot.items.ids) :]
    tables = RefreshedTables(version.version, stamp, state.tables(snapshot.tables), added)
    tables.instead_of(snapshot)  # refused here rather than by each worker
    platform.registry.add_tables(version, tables.save(folder_of(platform, version)))
    return stamp


ASSETS = [refreshed_tables]

tables_job = dg.define_asset_job(
    "tables",
    selection=dg.AssetSelection.assets(refreshed_tables),
    description="The champion's tables by what users did since.",
    tags={"feedwright/kind": "refresh"},
)


@dg.schedule(
    job=tables_job,
    cron_schedule="20 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Hourly: the champion's tables learn what users did since.",
)
def hourly_tables(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    if going(context.instance, tables_job.name):
        return dg.SkipReason("one is on its way")
    return dg.RunRequest()
