"""Putting versions live and taking them back: the one place where the alias is moved.

The pipeline, the service and the command line come here. Moves are made one at a time, under a
lock in Postgres. A version that goes is first noted in ``feed.withdrawn_versions``, with its line
in the audit log and its alert, and workers stop serving it from that moment. Then the alias moves.
Whatever breaks off between the two is finished by ``Releases.finish_pending``.

As a command, for processes that do without MLflow's import (2.4 s, 139 MB)::

    python -m going_live.releases activate 7 --actor NAME --reason TEXT [--force]
    python -m going_live.releases rollback --actor NAME --reason TEXT [--expected 6]
    python -m going_live.releases withdraw 7 --actor NAME --reason TEXT

The last line on stdout is JSON. Exit status 0: ``{"version", "previous", "done", "note"}``; with
``done`` false it is noted and will be finished (HTTP 202). Exit status 1: ``{"error", "message"}``,
where ``error`` is a ``Kind``; ``STATUS`` has the HTTP status of each.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

import psycopg

from going_live.alerts import Severity, raise_alert
from models.versions.version import ModelVersion, RegistryAway, RegistryError, UnknownVersion
from storage.events.telemetry import write_audit
from storage.large_imports import expect_large_imports
from storage.operations import releases
from storage.postgres.database import DatabaseError, database_url
from storage.registry.opening import open_registry
from storage.settings import Settings, get_settings

if TYPE_CHECKING:
    from storage.registry.registry import Registry

WAIT_SECONDS = 20.0
"""How long a move waits for another one to end."""

Kind = Literal[
    "unknown_version", "not_servable", "refused", "not_live", "nothing_earlier", "registry_away",
    "database_away", "busy",
]  # fmt: skip
STATUS: Mapping[Kind, int] = {
    "unknown_version": 404,
    "not_servable": 409,
    "refused": 409,
    "not_live": 409,
    "nothing_earlier": 409,
    "registry_away": 503,
    "database_away": 503,
    "busy": 503,
}


class ReleaseError(RuntimeError):
    """Nothing moved; the message says why and what to do, ``kind`` the same for machines."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Moved:
    """What a move came to.

    Attributes:
        version: live from now on; None: none is, and the heuristic answers.
        previous: the version that went; None: none was live.
        done: False: MLflow is away. It is noted, workers go by it, and it will be finished.
    """

    version: str | None
    previous: str | None
    done: bool
    note: str


class Releases:
    """Moves of one installation.

    Args:
        url: address of the database.
        registry: opens MLflow's registry; raises ``RegistryAway`` when it cannot.
    """

    def __init__(self, url: str, registry: Callable[[], Registry]) -> None:
        self._url = url
        self._registry = registry

    @classmethod
    def of(cls, settings: Settings, url: str) -> Self:
        """Those of ``settings``, whose database is at ``url``."""
        return cls(url, partial(open_registry, settings, url))

    def activate(
        self,
        version: str,
        *,
        actor: str,
        reason: str,
        force: bool = False,
        trained_from: datetime | None = None,
    ) -> Moved:
        """Put a version live.

        Args:
            force: also one that was withdrawn, which takes the withdrawal back.
            trained_from: of a version that goes live by itself: when its training began. After
                a later rollback it does not.

        Raises:
            ReleaseError: nothing moved.
        """
        with self._moving() as conn:
            registry = self._registry()
            registry.servable(version)
            refused = releases.refusal(conn, version, trained_from)
            if refused is not None and not force:
                raise ReleaseError("refused", f"{refused}. With --force it goes live all the same")
            previous = _number(registry.champion())
            if version in releases.withdrawn(conn):
                with conn.transaction():
                    releases.restore(conn, version)
                    restored = {"version": version, "reason": reason}
                    write_audit(conn, actor, releases.RESTORED, restored)
            elif previous == version:
                return Moved(version, version, True, f"version {version} is live already")
            detail = {"version": version, "previous": previous, "reason": reason}
            with conn.transaction():  # what cannot be noted does not happen
                write_audit(conn, actor, releases.ACTIVATED, detail)
                raise_alert(conn, "activated", "info", f"Version {version} is live", detail)
                registry.activate(version)
            return Moved(version, previous, True, f"version {version} is live")

    def rollback(
        self, *, actor: str, reason: str, expected: str | None = None, automatic: bool = False
    ) -> Moved:
        """Take the live version back for good; the champion before it is live again.

        Args:
            expected: the version that goes: when another is live, nothing moves. None: the
                live one.
            automatic: with no earlier champion there is none, and the heuristic answers.

        Raises:
            ReleaseError: nothing moved.
        """
        with self._moving() as conn:
            withdrawn = releases.withdrawn(conn)
            try:
                registry = self._registry()
                version = _number(registry.champion())
                earlier = registry.earlier(version, withdrawn)
            except RegistryAway as error:
                if expected is None:
                    raise ReleaseError(
                        "registry_away",
                        f"{error}. So it is not known which version is live: name the one that "
                        "goes (--expected; `model_version` of any feed says it)",
                    ) from error
                return self._wait(conn, expected, actor, reason, live=True)
            if expected not in (None, version):
                raise ReleaseError(
                    "not_live",
                    f"version {expected} is not live, {_what_is_live(version)}; nothing moved",
                )
            if version in withdrawn:  # noted before, and the alias has not moved yet
                return self._finish(conn, registry, withdrawn[version], withdrawn)
            if not earlier and not (automatic and version):
                raise ReleaseError(
                    "nothing_earlier",
                    "there is no earlier champion to roll back to; `feedwright models activate` "
                    "puts any other version live",
                )
            if version is None:
                return self._recover(conn, registry, earlier[-1], actor, reason)
            after = earlier[-1] if earlier else None
            severity: Severity = "critical" if automatic else "warning"
            self._note_rollback(conn, version, after, actor, reason, severity)
            return self._take_back(conn, registry, version, reason, withdrawn)

    def withdraw(self, version: str, *, actor: str, reason: str) -> Moved:
        """See to it that nothing serves this version, be it champion, challenger or neither.

        If it is live that is an automatic rollback. Twice is once.

        Raises:
            ReleaseError: there is no such version.
        """
        with self._moving() as conn:
            withdrawn = releases.withdrawn(conn)
            try:
                registry = self._registry()
                registry.get(version)
                live, challenger = _number(registry.champion()), _number(registry.challenger())
                earlier = registry.earlier(live, {*withdrawn, version})
            except RegistryAway:
                return self._wait(conn, version, actor, reason, live=False)
            if version in withdrawn:
                if withdrawn[version].done_at is not None and version not in (live, challenger):
                    return Moved(live, version, True, f"version {version} was withdrawn before")
                return self._finish(conn, registry, withdrawn[version], withdrawn)
            if version == live:
                after = earlier[-1] if earlier else None
                self._note_rollback(conn, version, after, actor, reason, "critical")
            else:
                self._note_withdrawal(conn, version, actor, reason)
            return self._take_back(conn, registry, version, reason, withdrawn)

    def finish_pending(self) -> list[Moved]:
        """Finish what waits for MLflow, and free each alias that names a withdrawn version.

        Raises:
            ReleaseError: another move goes on for too long.
        """
        with self._moving() as conn:
            withdrawn = releases.withdrawn(conn)
            try:
                registry = self._registry()
                named = {_number(registry.champion()), _number(registry.challenger())}
            except RegistryAway:
                return [_waits(row.version) for row in withdrawn.values() if row.done_at is None]
            rows = reversed(withdrawn.values())
            waiting = [row for row in rows if row.done_at is None or row.version in named]
            return [self._finish(conn, registry, row, withdrawn) for row in waiting]

    def _finish(
        self,
        conn: psycopg.Connection,
        registry: Registry,
        row: releases.Withdrawn,
        withdrawn: Collection[str],
    ) -> Moved:
        moved = self._take_back(conn, registry, row.version, row.reason, withdrawn)
        if moved.done:
            detail = {"version": moved.version, "previous": row.version, "reason": row.reason}
            with conn.transaction():
                write_audit(conn, row.actor, "model.rollback_finished", detail)
                raise_alert(conn, "rollback", "info", moved.note.capitalize(), detail)
        return moved

    def _recover(
        self, conn: psycopg.Connection, registry: Registry, version: str, actor: str, reason: str
    ) -> Moved:
        """Nothing is live, as after the live version was deleted: the last champion is again."""
        detail = {"version": version, "previous": None, "reason": reason}
        with conn.transaction():
            write_audit(conn, actor, releases.ROLLED_BACK, detail)
            raise_alert(conn, "rollback", "warning", f"Version {version} is live again", detail)
            registry.activate(version)
        return Moved(version, None, True, f"version {version} is live again")

    def _wait(
        self, conn: psycopg.Connection, version: str, actor: str, reason: str, *, live: bool
    ) -> Moved:
        """MLflow is away: note it, so that workers go by it, and leave the alias for later."""
        if not version.isdecimal():
            raise ReleaseError("unknown_version", f"there is no model version {version!r}")
        if version not in releases.withdrawn(conn):
            if live:
                self._note_rollback(conn, version, None, actor, reason, "critical")
            else:
                self._note_withdrawal(conn, version, actor, reason)
        return _waits(version)

    def _note_rollback(
        self,
        conn: psycopg.Connection,
        version: str,
        after: str | None,
        actor: str,
        reason: str,
        severity: Severity,
    ) -> None:
        """Commit that the live version goes. From here on workers do not serve it.

        Args:
            after: what will be live then, as far as is known.
        """
        detail = {"version": after, "previous": version, "reason": reason}
        goal = f"to version {after}" if after else "to the heuristic"
        title = f"Version {version} is rolled back {goal}: {reason}"
        with conn.transaction():
            releases.withdraw(conn, version, actor, reason)
            write_audit(conn, actor, releases.ROLLED_BACK, detail)
            raise_alert(conn, "rollback", severity, title, detail)

    def _note_withdrawal(
        self, conn: psycopg.Connection, version: str, actor: str, reason: str
    ) -> None:
        """Commit that a version which is not live goes."""
        detail = {"version": version, "reason": reason}
        title = f"Version {version} is withdrawn: {reason}"
        with conn.transaction():
            releases.withdraw(conn, version, actor, reason)
            write_audit(conn, actor, "model.withdrawn", detail)
            raise_alert(conn, "withdrawn", "warning", title, detail)

    def _take_back(
        self,
        conn: psycopg.Connection,
        registry: Registry,
        version: str,
        reason: str,
        withdrawn: Collection[str],
    ) -> Moved:
        """Free the aliases of a version that is noted."""
        try:
            live = _number(registry.withdraw(version, reason, withdrawn))
        except RegistryAway:
            return _waits(version)
        releases.set_done(conn, version)
        return Moved(live, version, True, f"version {version} is withdrawn, {_what_is_live(live)}")

    @contextmanager
    def _moving(self) -> Iterator[psycopg.Connection]:
        """Hold the lock; turn what others raise into ``ReleaseError``."""
        try:
            with releases.moving(self._url, wait_seconds=WAIT_SECONDS) as conn:
                yield conn
        except releases.Busy as error:
            raise ReleaseError("busy", str(error)) from error
        except UnknownVersion as error:
            raise ReleaseError("unknown_version", str(error)) from error
        except RegistryAway as error:
            raise ReleaseError("registry_away", str(error)) from error
        except RegistryError as error:
            raise ReleaseError("not_servable", str(error)) from error


def _number(version: ModelVersion | None) -> str | None:
    return version.version if version else None


def _what_is_live(live: str | None) -> str:
    return f"version {live} is live" if live else "none is live: the heuristic answers"


def _waits(version: str) -> Moved:
    note = f"version {version} is withdrawn and served no more; MLflow is away, and its alias moves"
    return Moved(None, version, False, f"{note} when it is back")


def main(arguments: list[str] | None = None) -> int:
    """One move as a command: see the module. Returns the exit status."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    expect_large_imports()
    asked = _parser().parse_args(arguments)
    why = {"actor": asked.actor, "reason": asked.reason}
    settings = get_settings()
    try:
        moves = Releases.of(settings, database_url(settings))
        if asked.move == "activate":
            moved = moves.activate(asked.version, force=asked.force, **why)
        elif asked.move == "withdraw":
            moved = moves.withdraw(asked.version, **why)
        else:
            moved = moves.rollback(expected=asked.expected, **why)
    except ReleaseError as error:
        return _fail(error.kind, error)
    except (DatabaseError, psycopg.OperationalError) as error:
        return _fail("database_away", error)
    print(json.dumps(asdict(moved)))
    return 0


def _fail(kind: Kind, error: Exception) -> int:
    print(json.dumps({"error": kind, "message": " ".join(str(error).split())}))
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m going_live.releases")
    moves = parser.add_subparsers(dest="move", required=True)
    activate, rollback, withdraw = map(moves.add_parser, ("activate", "rollback", "withdraw"))
    for move in (activate, rollback, withdraw):
        move.add_argument("--actor", required=True)
        move.add_argument("--reason", required=True)
    for move in (activate, withdraw):
        move.add_argument("version")
    activate.add_argument("--force", action="store_true")
    rollback.add_argument("--expected")
    return parser


if __name__ == "__main__":
    sys.exit(main())
