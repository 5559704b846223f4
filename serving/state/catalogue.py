"""The catalogue that the heuristic serves from while there is no model.

Built from Postgres into a folder that every worker maps, by a command of its own
(``python -m serving.state.catalogue``): polars and the rows stay out of the workers. The
folders are also the last good copy for when Postgres is away.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from models.catalogue.snapshots.snapshot import MANIFEST, Snapshot, SnapshotError
from models.profile.schema import Profile, load_profile
from serving.postgres.database import database_address
from storage.settings import Settings, get_settings

KEPT = 2
RECENT_DAYS = 30
TRENDING_DAYS = 7
REFRESH_SECONDS = 600.0
"""How old a catalogue may get: changes are followed, only counts need this."""
FIRST_SECONDS = 5.0
"""How soon to look again while there is none."""


def catalogues(settings: Settings) -> Path:
    """The folder of built catalogues."""
    return settings.home / "serving" / "catalogues"


def load_catalogue(url: str, profile: Profile) -> Snapshot:
    """Users, items, owners and recent interactions in Postgres, as a snapshot without a model.

    Interactions are those of ``RECENT_DAYS`` and all that applied, trending is of
    ``TRENDING_DAYS``: a stopgap must not read years of history again and again.

    Raises:
        DatabaseError, adbc_driver_manager.Error: Postgres does not answer.
    """
    # Heavy, and not for workers.
    import polars as pl

    from models.catalogue.building import Catalogue, build_snapshot
    from models.data.ids import IdIndex
    from models.data.interactions.engagement import engagement
    from models.data.interactions.matrices import interaction_matrix, recent_items
    from storage.catalogue import changes, queries
    from storage.events.quarantine import reason_sql
    from storage.postgres.database import connect

    now, types = datetime.now(UTC), profile.interaction_types
    with connect(url) as conn:
        position = changes.position(conn)  # before anything is read
    good = {
        name: f"({reason_sql(name, profile.checks)}) IS NULL"
        for name in ("users", "items", "owners")
    }
    users = queries.read_users(url, where=good["users"])
    items = queries.read_items(url, where=good["items"])
    # Who applied is a rule, and places left are counted from it: that is of all time.
    touched = queries.read(
        url,
        "SELECT user_id, item_id, type, occurred_at FROM feed.interactions"
        " WHERE item_id IS NOT NULL"
        " AND (occurred_at >= $1 OR type = ANY(string_to_array($2, ',')))",
        (now - timedelta(days=RECENT_DAYS), ",".join(frozenset().union(*types.of_applied))),
        schema={
            "user_id": pl.String,
            "item_id": pl.String,
            "type": pl.String,
            "occurred_at": pl.Datetime("us", "UTC"),
        },
    )
    recent = touched.filter(pl.col("occurred_at") >= now - timedelta(days=RECENT_DAYS))
    weights = profile.engagement_weights
    weighted = recent.with_columns(
        weight=pl.col("type").replace_strict(weights, default=0.0, return_dtype=pl.Float64)
    )
    by_item = pl.col("weight").sum().clip(0)
    trending = (
        weighted.filter(pl.col("occurred_at") >= now - timedelta(days=TRENDING_DAYS))
        .group_by("item_id")
        .agg(score=by_item)
        .with_columns(score=pl.col("score") / pl.max_horizontal(pl.col("score").max(), 1.0))
    )
    catalogue = Catalogue(
        users=users,
        items=items,
        owners=queries.read_owners(url, where=good["owners"]),
        engagement=engagement(recent.lazy(), weights, types),
        trending=trending,
        preferences=queries.read_preferences(url),
        position=position,
    )
    user_ids, item_ids = IdIndex.of(users["id"]), IdIndex.of(items["id"])
    kinds = profile.interaction_weights
    return build_snapshot(
        catalogue,
        interaction_matrix(touched, user_ids, item_ids, kinds, types),
        profile,
        now=now,
        recent=recent_items(recent, user_ids, item_ids, kinds, types=types),
    )


def refresh(settings: Settings) -> Path | None:
    """Build a fresh catalogue, unless another process is at it or has just done so.

    Returns:
        its folder, or None when there was nothing to do.
    """
    parent = catalogues(settings)
    parent.mkdir(parents=True, exist_ok=True)
    with open(parent / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        newest = newest_folders(parent)
        lasts = REFRESH_SECONDS if newest_loadable(parent) else FIRST_SECONDS
        if newest and time.time() - built(newest[0]) < lasts / 2:
            return None
        snapshot = load_catalogue(database_address(settings), load_profile(settings.profile))
        folder = snapshot.save(parent / str(time.time_ns()))
        for old in newest_folders(parent)[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def newest_folders(*parents: Path) -> list[Path]:
    """Folders with a manifest below ``parents``, the newest first."""
    manifests = [manifest for parent in parents for manifest in parent.glob(f"*/{MANIFEST}")]
    dated = [(built(file.parent), file.parent) for file in manifests]
    return [folder for _, folder in sorted(dated, reverse=True)]


def built(folder: Path) -> float:
    """When the snapshot in ``folder`` was written, epoch seconds; 0 if it is gone."""
    try:
        return (folder / MANIFEST).stat().st_mtime
    except OSError:
        return 0.0


def newest_loadable(*parents: Path) -> tuple[Path, Snapshot] | None:
    """The newest snapshot below ``parents`` that loads and has an item."""
    for folder in newest_folders(*parents):
        try:
            snapshot = Snapshot.load(folder)
        except SnapshotError:
            continue
        if len(snapshot.items.ids):
            return folder, snapshot
    return None


if __name__ == "__main__":
    try:
        refresh(get_settings())
    except Exception as error:  # the worker logs the one line
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
