"""Keeps a worker's live state: threads that poll, and swap one reference."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.catalogue.snapshots.refreshed import FOLDER
from models.catalogue.snapshots.snapshot import Snapshot
from models.profile.file import ProfileFile
from models.versions.version import RegistryAway, good_since
from serving.launch import settings_environment
from serving.state.catalogue import (
    FIRST_SECONDS,
    REFRESH_SECONDS,
    built,
    catalogues,
    newest_folders,
    newest_loadable,
)
from serving.versions.background import Background
from serving.versions.champion import AliasSnapshot, Loaded
from serving.versions.live_state import Catalogue, Challenger, LiveState, Source
from serving.versions.preparation import CatchUp, Preparation
from serving.versions.registry import (
    NamedVersion,
    Registry,
    read_pointer,
    write_pointer,
)
from storage.settings import Settings

log = logging.getLogger("feedwright.serving")

ASKED_SECONDS = 300.0
"""For so long a challenger stays in memory that a request asked for."""
NO_VERSIONS: frozenset[str] = frozenset()


class _Alias:
    """An alias of the registry, and what is in memory of the version that it names.

    Attributes:
        snapshot: of that version.
        served: what is served of it, from which another alias may take it over.
        registry_up: MLflow answered the last look.
    """

    def __init__(
        self,
        name: str,
        registry: Registry,
        pointer_file: Path,
        snapshot: AliasSnapshot,
        preparation: Preparation,
    ) -> None:
        self.name = name
        self.snapshot = snapshot
        self.preparation = preparation
        self.served: tuple[Loaded, Catalogue] | None = None
        self.registry_up = False
        self._registry = registry
        self._pointer_file = pointer_file
        self._pointer = read_pointer(pointer_file)

    def look(self, beside: Loaded | None) -> None:
        """Ask MLflow once, and take the next step towards what it says."""
        self.snapshot.follow(self._wanted(), beside)

    def let_go(self) -> None:
        self.snapshot.let_go()
        self.served = None

    def good_since(self) -> float | None:
        """Epoch seconds from which the age of what is loaded counts."""
        loaded, named = self.snapshot.loaded, self._pointer
        if loaded is None or loaded.trained_at is None:
            return None
        judged = named.judged_at if named and named.version == loaded.version else None
        since = good_since(None, judged)
        return max(loaded.trained_at, since.timestamp()) if since else loaded.trained_at

    def _wanted(self) -> NamedVersion | None:
        try:
            version = self._registry.version(self.name)
        except RegistryAway:
            self.registry_up = False
            return self._pointer  # the last one that is known of
        self.registry_up = True
        if version != self._pointer:
            self._pointer = version
            try:
                write_pointer(self._pointer_file, version)
            except OSError as error:  # a full disk: only a start without MLflow misses the note
                log.warning(f"{self.name} not noted", extra={"detail": str(error)})
        return version


class LiveModel:
    """``state`` is what to serve from now; it may be read from any thread.

    The challenger has a thread of its own: however long it takes to make ready, the champion is
    followed without delay. It is in memory only while it is needed.
    """

    def __init__(
        self,
        settings: Settings,
        profile: ProfileFile,
        *,
        database_up: Callable[[], bool],
        catch_up: CatchUp = lambda _: None,
        withdrawn: Callable[[], frozenset[str]] = lambda: NO_VERSIONS,
        challenger_needed: Callable[[], bool] = lambda: False,
        compared: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            withdrawn: versions that are not served, whatever an alias says.
            challenger_needed: whether an experiment has an arm that it ranks.
            compared: whether an experiment compares what is live.
        """
        self._settings = settings
        self._profile = profile
        self._database_up = database_up
        self._withdrawn = withdrawn
        self._challenger_needed = challenger_needed
        self._compared = compared
        self._asked_at = -ASKED_SECONDS
        self._registry = Registry(settings.mlflow_address, settings.model_name)
        self._champion, self._challenger = (
            _Alias(
                name,
                self._registry,
                settings.home / "serving" / f"{name}.json",
                AliasSnapshot(name, settings.snapshots, self._fetch, self._fetch_tables),
                Preparation(catch_up),
            )
            for name in ("champion", "challenger")
        )
        self._spare: tuple[Path, Snapshot] | None = None
        self._refresh: Background | None = None
        self._refreshed_at = 0.0
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(look,), name=look.__name__, daemon=True)
            for look in (self.poll, self.poll_challenger)
        ]
        self._publishing = threading.Lock()
        self._polled = self.state = LiveState(profile.profile)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        for alias in (self._champion, self._challenger):
            alias.snapshot.stop()
        if self._refresh is not None:
            self._refresh.stop()
        self._registry.close()

    def publish(self, **changed: Any) -> None:
        """Swap the state, without versions that are withdrawn by now. From any thread."""
        with self._publishing:
            before, self._polled = self.state, replace(self._polled, **changed)
            self.state = self._polled.without(self._withdrawn())
            _log_change(before, self.state)

    def ask_challenger(self) -> None:
        """A request would see the challenger: have it loaded for a while."""
        self._asked_at = time.monotonic()

    def _run(self, look: Callable[[], None]) -> None:
        while not self._stopped.is_set():
            try:
                look()
            except Exception:  # a worker that no longer polls would serve an old model for ever
                log.exception("poll failed")
            self._stopped.wait(self._settings.model_poll_seconds)

    def poll(self) -> None:
        """Look once at the champion, at its snapshot's folder, at the profile and at the
        catalogue."""
        problem = self._profile.problem
        if self._profile.refresh() not in (None, problem):
            log.warning("profile not used", extra={"detail": self._profile.problem})
        profile = self._profile.profile
        since = self._polled.profile_since if profile is self._polled.profile else time.time()
        # Once: what stands there may be let go of meanwhile.
        own, other = self._champion, self._challenger.served
        own.look(other[0] if other else None)
        loaded, problem_now = own.snapshot.loaded, own.snapshot.problem
        snapshot, source = self._catalogue(loaded)
        catalogue = None
        if snapshot is not None and source is not None:
            others = [each for each in (self._polled.catalogue, other and other[1]) if each]
            ranker = loaded.ranker if loaded else None
            catalogue = own.preparation.prepared(snapshot, source, profile, others, ranker)
            own.served = (loaded, catalogue) if loaded else None
        self.publish(
            profile=profile,
            catalogue=catalogue,
            model_version=loaded.version if loaded and not problem_now else None,
            trained_at=loaded.trained_at if loaded else None,
            good_since=own.good_since(),
            compared=self._compared(),
            problem=problem_now,
            detail=own.snapshot.detail,
            registry_up=own.registry_up,
            polled_at=time.time(),
            profile_since=since,
        )

    def poll_challenger(self) -> None:
        """The same for the challenger, while it is needed."""
        own, other = self._challenger, self._champion.served
        asked = time.monotonic() - self._asked_at < ASKED_SECONDS
        if not asked and not self._challenger_needed():
            if self._polled.challenger is not None:
                self.publish(challenger=None)
            own.let_go()
            return
        own.look(other[0] if other else None)
        loaded, challenger = own.snapshot.loaded, None
        if loaded is not None and own.snapshot.problem is None:
            others = [served[1] for served in (own.served, other) if served]
            catalogue = own.preparation.prepared(
                loaded.snapshot, "challenger", self._profile.profile, others, loaded.ranker
            )
            own.served = loaded, catalogue
            challenger = Challenger(loaded.version, loaded.trained_at, catalogue)
        self.publish(challenger=challenger)

    def _fetch(self, version: NamedVersion, folder: Path, replace: bool) -> Background:
        return self._command(
            "serving.versions.download",
            self._settings.mlflow_address,
            str(version.run_id),
            str(version.artifact),
            str(folder),
            *(["--replace"] if replace else []),
        )

    def _fetch_tables(self, version: NamedVersion, folder: Path) -> Background:
        return self._command(
            "serving.versions.download",
            self._settings.mlflow_address,
            str(version.run_id),
            f"{FOLDER}/{version.refreshed}",
            str(folder),
            "--tables",
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
            self._refresh = self._command("serving.state.catalogue")


def _log_change(before: LiveState, after: LiveState) -> None:
    def summary(state: LiveState) -> dict[str, Any]:
        return {
            "model_version": state.model_version,
            "challenger_version": state.challenger and state.challenger.version,
            "fallback_reason": state.problem,
            "catalogue": state.catalogue and state.catalogue.source,
            "registry_up": state.registry_up,
            "detail": state.detail,
        }

    if after.polled_at is not None and (
        summary(before) != summary(after) or before.polled_at is None
    ):
        level = logging.WARNING if after.problem else logging.INFO
        log.log(level, "live state changed", extra=summary(after))
