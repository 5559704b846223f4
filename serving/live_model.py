"""Keeps a worker's live state: one thread that polls, and swaps one reference."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.candidates import Indexes
from models.live_catalogue import LiveCatalogue
from models.nearest import NearestError
from models.profile_file import ProfileFile
from models.shortlists import Shortlists
from models.snapshot import Snapshot
from serving.background import Background
from serving.catalogue import (
    FIRST_SECONDS,
    REFRESH_SECONDS,
    built,
    catalogues,
    newest_folders,
    newest_loadable,
)
from serving.champion import ChampionSnapshot, Loaded
from serving.launch import settings_environment
from serving.live_state import Catalogue, LiveState, Source, name_of
from serving.registry import (
    Champion,
    Registry,
    RegistryUnavailable,
    read_pointer,
    write_pointer,
)
from storage.settings import Settings

log = logging.getLogger("feedwright.serving")


SHORTLIST_SECONDS = 60.0
SHORTLIST_CHANGED_SECONDS = 5.0
"""How soon shortlists are made anew: on their own, and after a change."""

MANY_CHANGES = 5_000
"""Changed items from which the index of places is built anew, not just added to."""

CatchUp = Callable[[LiveCatalogue], None]
"""Brings a catalogue to what Postgres holds now, as far as it answers."""


class LiveModel:
    """``state`` is what to serve from now; it may be read from any thread."""

    def __init__(
        self,
        settings: Settings,
        profile: ProfileFile,
        *,
        database_up: Callable[[], bool],
        catch_up: CatchUp = lambda _: None,
    ) -> None:
        self._settings = settings
        self._profile = profile
        self._database_up = database_up
        self._catch_up = catch_up
        self._registry = Registry(settings.mlflow_address, settings.model_name)
        self._pointer_file = settings.home / "serving" / "champion.json"
        self._pointer = read_pointer(self._pointer_file)
        self._champion = ChampionSnapshot(settings.snapshots, self._fetch)
        self._spare: tuple[Path, Snapshot] | None = None
        self._refresh: Background | None = None
        self._refreshed_at = 0.0
        self._rng = np.random.default_rng()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-model", daemon=True)
        self.state = LiveState(profile.profile)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._champion.stop()
        if self._refresh is not None:
            self._refresh.stop()
        self._registry.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.poll()
            except Exception:  # a worker that no longer polls would serve an old model for ever
                log.exception("poll failed")
            self._stopped.wait(self._settings.model_poll_seconds)

    def poll(self) -> None:
        """Look once at MLflow, at the snapshot's folder, at the profile and at the catalogue."""
        before = self.state
        problem = self._profile.problem
        if self._profile.refresh() not in (None, problem):
            log.warning("profile not used", extra={"detail": self._profile.problem})
        wanted, registry_up = self._wanted()
        self._champion.follow(wanted)
        loaded = self._champion.loaded
        self.state = LiveState(
            profile=self._profile.profile,
            catalogue=self._prepared(*self._catalogue(loaded), before),
            model_version=loaded.version if loaded and not self._champion.problem else None,
            trained_at=loaded.trained_at if loaded else None,
            problem=self._champion.problem,
            detail=self._champion.detail,
            registry_up=registry_up,
            polled_at=time.time(),
            profile_since=before.profile_since
            if self._profile.profile is before.profile
            else time.time(),
        )
        _log_change(before, self.state)

    def _prepared(
        self, snapshot: Snapshot | None, source: Source | None, before: LiveState
    ) -> Catalogue | None:
        """The catalogue with its shortlists and indexes, made anew where they are old."""
        if snapshot is None or source is None:
            return None
        old, profile = before.catalogue, self._profile.profile
        same = old is not None and old.snapshot is snapshot
        now = time.time()
        if old is not None and same:
            live, indexes = old.live, old.indexes
            age = now - old.shortlists.made_at
            changed = live.version != old.made_of or profile is not before.profile
            if age < (SHORTLIST_CHANGED_SECONDS if changed else SHORTLIST_SECONDS):
                return old
        else:
            live = LiveCatalogue(snapshot)
            self._catch_up(live)  # before anybody sees it: what was removed since stays removed
            indexes = self._indexes(live, now)
        version = live.version
        if len(live.written) > MANY_CHANGES + indexes.built_after:
            indexes = self._indexes(live, now)
        else:
            indexes = indexes.with_changes(live)
        shortlists = Shortlists.of(live, profile, now, self._rng)
        return Catalogue(name_of(snapshot), live, source, shortlists, indexes, version)

    def _indexes(self, live: LiveCatalogue, now: float) -> Indexes:
        try:
            return Indexes.of(live, self._profile.profile, now=now)
        except NearestError as error:
            log.warning("index of items not used", extra={"detail": str(error)})
            return Indexes.of(live, self._profile.profile, now=now, exact=True)

    def _wanted(self) -> tuple[Champion | None, bool]:
        try:
            champion = self._registry.champion()
        except RegistryUnavailable:
            return self._pointer, False  # the last one that is known of
        if champion != self._pointer:
            self._pointer = champion
            try:
                write_pointer(self._pointer_file, champion)
            except OSError as error:  # a full disk: only a start without MLflow misses the note
                log.warning("champion not noted", extra={"detail": str(error)})
        return champion, True

    def _fetch(self, champion: Champion, folder: Path, replace: bool) -> Background:
        return self._command(
            "serving.download",
            self._settings.mlflow_address,
            str(champion.run_id),
            str(champion.artifact),
            str(folder),
            *(["--replace"] if replace else []),
        )

    def _command(self, module: str, *arguments: str) -> Background:
        return Background(
            sys.executable, "-m", module, *arguments,
            environment=settings_environment(self._settings),
        )  # fmt: skip

    def _catalogue(self, loaded: Loaded | None) -> tuple[Snapshot | None, Source | None]:
        if loaded is not None:
            # Even when its folder was deleted: a mapped file lives on until it is unmapped.
            self._spare = None
            return loaded.snapshot, "champion"
        self._keep_fresh()
        parents = catalogues(self._settings), self._settings.snapshots
        newest = next(iter(newest_folders(*parents)), None)
        if newest is not None and (self._spare is None or built(newest) > built(self._spare[0])):
            self._spare = newest_loadable(*parents) or self._spare
        if self._spare is None:
            return None, None
        folder, snapshot = self._spare
        return snapshot, "database" if folder.parent == parents[0] else "snapshot"

    def _keep_fresh(self) -> None:
        """Have the catalogue built from Postgres from time to time."""
        if self._refresh is not None and not self._refresh.running():
            if failure := self._refresh.failure():
                log.warning("catalogue not built", extra={"detail": failure})
            self._refresh.stop()
            self._refresh = None
        lasts = FIRST_SECONDS if self._spare is None else REFRESH_SECONDS
        due = time.monotonic() - self._refreshed_at > lasts or not self._refreshed_at
        if due and self._refresh is None and self._database_up():
            self._refreshed_at = time.monotonic()
            self._refresh = self._command("serving.catalogue")


def _log_change(before: LiveState, after: LiveState) -> None:
    def told(state: LiveState) -> dict[str, Any]:
        return {
            "model_version": state.model_version,
            "fallback_reason": state.problem,
            "catalogue": state.catalogue and state.catalogue.source,
            "registry_up": state.registry_up,
            "detail": state.detail,
        }

    if told(before) != told(after) or before.polled_at is None:
        level = logging.WARNING if after.problem else logging.INFO
        log.log(level, "live state changed", extra=told(after))
