"""Which runs are dead: whoever looks at the signs of life of others."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

import dagster as dg
import psutil
import psycopg

from storage.operations import heartbeats
from storage.operations.heartbeats import BEAT_SECONDS

CONFIRM_SECONDS = 2.5 * BEAT_SECONDS
"""Between the look that finds a run silent and the one that declares it dead. A database that
was away, or whose clock jumped, makes all runs silent for one beat."""
GONE_SECONDS = 3 * BEAT_SECONDS
"""Silence that is enough when the process is known to be gone."""


class Life(Enum):
    """What a look at a run found; ``SILENT`` is to be looked at again."""

    ALIVE = "alive"
    SILENT = "silent"
    DEAD = "dead"


@dataclass(frozen=True)
class _Look:
    beaten_at: datetime | None
    at: float


class Watch:
    """Looks at runs again and again.

    Args:
        silence: seconds after which a run that gave no sign of life is dead.
        hasty: those whose processes are known to be gone need not be silent for so long.
    """

    def __init__(self, silence: float, *, hasty: bool = False) -> None:
        self._silence, self._hasty = silence, hasty
        self._silent: dict[str, _Look] = {}

    def look(self, conn: psycopg.Connection, run_id: str, started_at: float | None) -> Life:
        """
        Args:
            started_at: of a run that executes, in epoch seconds.
        """
        beat = heartbeats.last_beat(conn, run_id)
        if beat is not None:
            gone = self._hasty and _gone(beat)
            age, longest = beat.age, GONE_SECONDS if gone else self._silence
        else:
            age = datetime.now(UTC).timestamp() - (started_at or 0.0)
            longest = self._silence
        if abs(age) < longest:  # a clock that went back makes the future of the past
            self._silent.pop(run_id, None)
            return Life.ALIVE
        now, beaten_at = time.monotonic(), beat.beaten_at if beat else None
        first = self._silent.get(run_id)
        if first is None or first.beaten_at != beaten_at:
            self._silent[run_id] = _Look(beaten_at, now)
            return Life.SILENT
        return Life.DEAD if now - first.at >= CONFIRM_SECONDS else Life.SILENT


def bury(conn: psycopg.Connection, instance: dg.DagsterInstance, run_id: str) -> None:
    """Take from a dead run what it holds: its statements and locks in Postgres, and its places in
    pools. Should its process come back, it ends at its next beat."""
    heartbeats.end(conn, run_id)
    heartbeats.end_connections(conn, run_id)
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def _gone(beat: heartbeats.Beat) -> bool:
    """Whether the run was in a process of this machine that is no more."""
    return beat.host == socket.gethostname() and not psutil.pid_exists(beat.pid)
