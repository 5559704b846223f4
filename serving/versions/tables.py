"""A version's tables that were kept up to date since its training, fetched beside its snapshot."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from models.catalogue.snapshots.refreshed import MANIFEST, folder_of
from serving.versions.background import Background
from serving.versions.registry import NamedVersion

log = logging.getLogger("feedwright.serving")
RETRY_SECONDS = 60.0

FetchTables = Callable[[NamedVersion, Path], Background]
"""Starts the download of a version's refreshed tables into a folder."""


class TablesOfVersion:
    """Used from one thread.

    Attributes:
        detail: why those that the registry names do not serve; None: they do, or are on their way.
    """

    def __init__(self, fetch: FetchTables) -> None:
        self._fetch = fetch
        self._wanted: tuple[str, str | None] | None = None
        self._download: Background | None = None
        self._retry_at = 0.0
        self.detail: str | None = None

    def follow(self, wanted: NamedVersion, snapshot: Path) -> str | None:
        """The stamp of tables that can be loaded; None: there are none, or not yet. Never waits.

        Args:
            snapshot: folder of the version's snapshot.
        """
        if (wanted.version, wanted.refreshed) != self._wanted:
            self.stop()
            self._wanted = wanted.version, wanted.refreshed
            self._retry_at, self.detail = 0.0, None
        if wanted.refreshed is None or monotonic() < self._retry_at:
            return None
        if self._download is not None:
            if self._download.running():
                return None
            failure = self._download.failure()
            self.stop()
            if failure:
                self.fail(failure)
                return None
        folder = folder_of(snapshot, wanted.refreshed)
        if (folder / MANIFEST).exists():
            return wanted.refreshed
        self._download = self._fetch(wanted, folder)
        return None

    def fail(self, why: str) -> None:
        """They do not load: the last good ones serve, and it is tried again later."""
        self._retry_at = monotonic() + RETRY_SECONDS
        assert self._wanted is not None
        version, stamp = self._wanted
        self.detail = f"tables {stamp} of version {version} do not serve, older ones do: {why}"
        log.warning("refreshed tables not used", extra={"detail": self.detail})

    def stop(self) -> None:
        if self._download is not None:
            self._download.stop()
            self._download = None
