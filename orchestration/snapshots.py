"""Snapshots of registered versions, on this machine."""

from __future__ import annotations

from pathlib import Path

from models.catalogue.snapshots import refreshed
from models.catalogue.snapshots.snapshot import Snapshot
from models.versions.version import ModelVersion
from orchestration.resources import Platform

DOWNLOADS = "downloads"


def snapshot_of(platform: Platform, version: ModelVersion) -> Snapshot:
    """The version's snapshot as it was trained, fetched from MLflow if this machine has no copy.

    Raises:
        RegistryError: the version has none.
        SnapshotError: it does not load.
    """
    return Snapshot.load(folder_of(platform, version))


def served_snapshot(platform: Platform, version: ModelVersion) -> Snapshot:
    """The same with the tables by which it is served now.

    Raises:
        as ``snapshot_of``.
    """
    folder, stamp = folder_of(platform, version), version.refreshed
    if stamp is not None and not (tables := refreshed.folder_of(folder, stamp)).is_dir():
        fetched = platform.registry.fetch_tables(version, stamp, platform.settings.home / DOWNLOADS)
        tables.parent.mkdir(exist_ok=True)
        fetched.rename(tables)
    return refreshed.load_refreshed(folder, stamp)


def folder_of(platform: Platform, version: ModelVersion) -> Path:
    """Where this machine has the version's snapshot.

    Raises:
        RegistryError: the version has none.
    """
    folder = platform.settings.snapshots / version.version
    if not folder.is_dir():
        fetched = platform.registry.fetch_snapshot(version, platform.settings.home / DOWNLOADS)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fetched.rename(folder)
    return folder
