"""Snapshots of registered versions, on this machine."""

from __future__ import annotations

from models.catalogue.snapshots.snapshot import Snapshot
from models.versions.version import ModelVersion
from orchestration.resources import Platform


def snapshot_of(platform: Platform, version: ModelVersion) -> Snapshot:
    """The version's snapshot, fetched from MLflow if this machine has no copy.

    Raises:
        RegistryError: the version has none.
        SnapshotError: it does not load.
    """
    folder = platform.settings.snapshots / version.version
    if not folder.is_dir():
        fetched = platform.registry.fetch_snapshot(version, platform.settings.home / "downloads")
        folder.parent.mkdir(parents=True, exist_ok=True)
        fetched.rename(folder)
    return Snapshot.load(folder)
