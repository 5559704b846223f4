"""The snapshot of the version that an alias names, in memory: loads it, notices when it vanishes,
fetches it again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from models.catalogue.snapshots.refreshed import load_refreshed
from models.catalogue.snapshots.snapshot import MANIFEST, Snapshot, SnapshotError
from models.feed.ranking import Ranker
from serving.versions.background import Background
from serving.versions.fallback import FallbackReason
from serving.versions.registry import SNAPSHOT_TAG, NamedVersion
from serving.versions.tables import FetchTables, TablesOfVersion

log = logging.getLogger("feedwright.serving")
FIRST_RETRY_SECONDS = 2.0
LAST_RETRY_SECONDS = 60.0

Fetch = Callable[[NamedVersion, Path, bool], Background]
"""Starts the download of a version into a folder; True: although it is there."""


@dataclass(frozen=True)
class Loaded:
    """A snapshot in memory. ``stamp`` changes when its folder is replaced."""

    version: str
    snapshot: Snapshot
    ranker: Ranker | None
    trained_at: float | None
    stamp: tuple[int, int]


class AliasSnapshot:
    """Follows an alias from version to version. Used from one thread.

    Attributes:
        loaded: the last one that loaded. It stays, as a catalogue, when the next does not.
        problem, detail: why the wanted version cannot answer; None when it can, and while
            a newer one is being fetched and the older goes on. A detail without a problem: it
            answers by older tables.
    """

    def __init__(
        self, alias: str, snapshots: Path, fetch: Fetch, fetch_tables: FetchTables
    ) -> None:
        self._alias = alias
        self._snapshots = snapshots
        self._fetch = fetch
        self._tables = TablesOfVersion(fetch_tables)
        self._wanted: str | None = None
        self._download: Background | None = None
        self._failures = 0
        self._retry_at = 0.0
        self.loaded: Loaded | None = None
        self.problem: FallbackReason | None = "no_model"
        self.detail: str | None = None

    def follow(self, wanted: NamedVersion | None, beside: Loaded | None = None) -> None:
        """Take the next step towards serving ``wanted``. Never waits for a download.

        Args:
            beside: what another alias has in memory: the same version is not loaded twice.
        """
        if wanted is None:
            self._wanted = None
            self._set("no_model", f"no version has the alias {self._alias}")
            return
        if wanted.version != self._wanted:
            self._wanted, self._failures, self._retry_at = wanted.version, 0, 0.0
            self.stop()
        folder = self._snapshots / wanted.version
        stamp = _stamp(folder)
        if self.loaded and self.loaded.version == wanted.version and self.loaded.stamp == stamp:
            self._refresh(self.loaded, wanted, folder)
        elif self._download is not None and self._download.running():
            self._set_missing(wanted)
        elif self._download is not None and (failure := self._finish_download()):
            self._fail(f"version {wanted.version} cannot be fetched: {failure}")
        elif monotonic() < self._retry_at:
            # Failed, or its folder vanished since: either way it is not there to serve.
            if self.problem is None:
                self._set_missing(wanted)
        elif stamp is None:
            self._start_download(wanted, folder, replace=False)
        elif beside is not None and (beside.version, beside.stamp) == (wanted.version, stamp):
            self._take(beside)
        else:
            self._load(wanted, folder, stamp)

    def stop(self) -> None:
        self._tables.stop()
        if self._download is not None:
            self._download.stop()
            self._download = None

    def let_go(self) -> None:
        """Forget all of it: the alias is not followed for now."""
        self.stop()
        self._wanted, self.loaded = None, None
        self._failures, self._retry_at = 0, 0.0
        self._set("no_model", None)

    def _load(self, wanted: NamedVersion, folder: Path, stamp: tuple[int, int]) -> None:
        try:
            snapshot = Snapshot.load(folder)
            if not snapshot.has_model:
                raise SnapshotError("it holds no model")
            snapshot.check_features(wanted.features)
            snapshot = self._with_tables(snapshot, wanted, folder)
            ranker = _ranker_of(snapshot)
            trained_at = _epoch(snapshot.manifest.trained_at)
        except (SnapshotError, ValueError) as error:
            self._fail(f"version {wanted.version} does not load: {error}")
            if wanted.run_id and wanted.artifact:  # the folder may be damaged: fetch it anew
                self._download = self._fetch(wanted, folder, True)
            return
        self._take(Loaded(wanted.version, snapshot, ranker, trained_at, stamp))

    def _with_tables(self, snapshot: Snapshot, wanted: NamedVersion, folder: Path) -> Snapshot:
        """With those that were kept up to date, if they are there."""
        stamp = self._tables.follow(wanted, folder)
        if stamp is None or stamp == snapshot.refreshed:
            return snapshot
        try:
            return load_refreshed(folder, stamp)
        except SnapshotError as error:
            self._tables.fail(str(error))
            return snapshot

    def _refresh(self, loaded: Loaded, wanted: NamedVersion, folder: Path) -> None:
        snapshot = self._with_tables(loaded.snapshot, wanted, folder)
        if snapshot is not loaded.snapshot:
            loaded = replace(loaded, snapshot=snapshot)
        self._take(loaded)

    def _take(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self._failures, self._retry_at = 0, 0.0
        self._set(None, self._tables.detail)

    def _start_download(self, wanted: NamedVersion, folder: Path, *, replace: bool) -> None:
        if not (wanted.run_id and wanted.artifact):
            self._fail(
                f"version {wanted.version} was registered without a run and the tag "
                f"{SNAPSHOT_TAG}, and {folder} is not there"
            )
            return
        self._download = self._fetch(wanted, folder, replace)
        self._set_missing(wanted)

    def _finish_download(self) -> str | None:
        assert self._download is not None
        failure = self._download.failure()
        self.stop()
        return failure

    def _set_missing(self, wanted: NamedVersion) -> None:
        """The wanted snapshot is not there yet."""
        if self.problem == "model_load_failed":
            return  # until it loads
        another = self.loaded is not None and self.loaded.version != wanted.version
        if another and self.problem is None:
            return  # the older version goes on meanwhile
        self._set("snapshot_missing", f"the snapshot of version {wanted.version} is being fetched")

    def _fail(self, detail: str) -> None:
        wait = min(FIRST_RETRY_SECONDS * 2**self._failures, LAST_RETRY_SECONDS)
        self._failures += 1
        self._retry_at = monotonic() + wait
        self._set("model_load_failed", detail)

    def _set(self, problem: FallbackReason | None, detail: str | None) -> None:
        self.problem, self.detail = problem, detail


def _ranker_of(snapshot: Snapshot) -> Ranker | None:
    """
    Raises:
        ValueError: it is none of this release, or of other features; the message names them.
    """
    if snapshot.ranker is None:
        return None
    from models.ranking.learned import ranker_of  # brings polars, and its trees' library

    return ranker_of(snapshot)


def _stamp(folder: Path) -> tuple[int, int] | None:
    try:
        status = (folder / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _epoch(time: str | None) -> float | None:
    if time is None:
        return None
    moment = datetime.fromisoformat(time)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
