"""Keeps a worker's live state: one thread that polls, and swaps one reference."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.profile import Profile
from models.snapshot import Snapshot
from serving.background import Background
from serving.catalogue import REFRESH_SECONDS, built, catalogues, newest_folders, newest_loadable
from serving.champion import ChampionSnapshot, Loaded
from serving.launch import settings_environment
from serving.live_state import LiveState, Source, ready_list
from serving.registry import (
    Champion,
    Registry,
    RegistryUnavailable,
    read_pointer,
    write_pointer,
)
from storage.settings import Settings

log = logging.getLogger("feedwright.serving")


class LiveModel:
    """``state`` is what to serve from now; it may be read from any thread."""

    def __init__(
        self, settings: Settings, profile: Profile, *, database_up: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._profile = profile
        self._database_up = database_up
        self._registry = Registry(settings.mlflow_address, settings.model_name)
        self._pointer_file = settings.home / "serving" / "champion.json"
        self._pointer = read_pointer(self._pointer_file)
        self._champion = ChampionSnapshot(settings.snapshots, self._fetch)
        self._spare: tuple[Path, Snapshot] | None = None
        self._refresh: Background | None = None
        self._refreshed_at = 0.0
        self._ready_of: Snapshot | None = None
        self._ready_at = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-model", daemon=True)
        self.state = LiveState()

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
        """Look once at MLflow, at the snapshot's folder and at the catalogue."""
        wanted, registry_up = self._wanted()
        self._champion.follow(wanted)
        loaded = self._champion.loaded
        catalogue, source = self._catalogue(loaded)
        before = self.state
        ready, ready_total = self._ready(catalogue, before)
        self.state = LiveState(
            catalogue=catalogue,
            source=source,
            model_version=loaded.version if loaded and not self._champion.problem else None,
            trained_at=loaded.trained_at if loaded else None,
            problem=self._champion.problem,
            detail=self._champion.detail,
            ready=ready,
            ready_total=ready_total,
            registry_up=registry_up,
            polled_at=time.time(),
        )
        _log_change(before, self.state)

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
        due = time.monotonic() - self._refreshed_at > REFRESH_SECONDS or not self._refreshed_at
        if due and self._refresh is None and self._database_up():
            self._refreshed_at = time.monotonic()
            self._refresh = self._command("serving.catalogue")

    def _ready(
        self, catalogue: Snapshot | None, before: LiveState
    ) -> tuple[list[dict[str, Any]], int]:
        """The popular list, made anew for a new catalogue and when it is a minute old."""
        kept = before.ready, before.ready_total
        if catalogue is None:
            return kept
        now = time.time()
        if catalogue is self._ready_of and now - self._ready_at < REFRESH_SECONDS:
            return kept
        self._ready_of, self._ready_at = catalogue, now
        try:
            return ready_list(catalogue, self._profile, now)
        except Exception:  # the list before is better than none
            log.exception("popular list not made")
            return kept


def _log_change(before: LiveState, after: LiveState) -> None:
    def told(state: LiveState) -> dict[str, Any]:
        return {
            "model_version": state.model_version,
            "fallback_reason": state.problem,
            "catalogue": state.source,
            "registry_up": state.registry_up,
            "detail": state.detail,
        }

    if told(before) != told(after) or before.polled_at is None:
        level = logging.WARNING if after.problem else logging.INFO
        log.log(level, "live state changed", extra=told(after))
