"""Keeps services running: starts them side by side, restarts those that die, stops them all."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from feedwright.errors import FeedwrightError
from feedwright.processes import record as records
from feedwright.processes.process import Identity, marked, spawn, sweep, terminate, trim_log
from feedwright.processes.record import Record
from feedwright.processes.services import Service

log = logging.getLogger("feedwright")

LOOK_SECONDS = 0.25
READY_SECONDS = 240.0
GRACE_SECONDS = 15.0
ORPHAN_SECONDS = 2.0
STABLE_SECONDS = 20.0  # up for so long, a service starts again at once
LONGEST_PAUSE = 60.0
STARTS_BEFORE_READY = 3  # more deaths than this before the first answer: it will never come


@dataclass
class _Child:
    service: Service
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = 1.0
    start_at: float = 0.0
    deaths: int = 0


class Supervisor:
    """The services of one installation, whose state is below ``home``."""

    def __init__(
        self,
        home: Path,
        logs: Path,
        services: Sequence[Service],
        *,
        folder: Path,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self.home, self.logs, self.folder, self.grace = home, logs, folder, grace
        self.children = [_Child(service) for service in services]
        me = Identity.of(os.getpid())
        assert me is not None
        self.record = Record(me)
        records.write(home, self.record)

    def mark(self, name: str = "") -> str:
        """Mark of a service's processes; without a name, what all of ours start with."""
        return mark(self.home, name)

    def start(self) -> None:
        """Start all services; returns before they are ready."""
        for child in self.children:
            self._start(child)

    def wait_ready(
        self, on_ready: Callable[[str, float], None] = lambda name, seconds: None
    ) -> None:
        """Wait until every service answers, and tell ``on_ready`` the seconds of each.

        Raises:
            FeedwrightError: one dies again and again, or does not answer in time.
        """
        began = time.monotonic()
        waiting = list(self.children)
        with httpx.Client(timeout=2.0, trust_env=False) as client:
            while waiting:
                self.look()
                for child in list(waiting):
                    if child.deaths > STARTS_BEFORE_READY:
                        raise self._failure(child, f"stopped {child.deaths} times while starting")
                    if child.process is not None and is_ready(client, child.service.health_url):
                        waiting.remove(child)
                        on_ready(child.service.name, time.monotonic() - began)
                if waiting and time.monotonic() - began > READY_SECONDS:
                    raise self._failure(
                        waiting[0], f"did not answer within {READY_SECONDS:.0f} seconds"
                    )
                time.sleep(LOOK_SECONDS)

    def declare_ready(self) -> None:
        """Let other shells know that all is up, and that everything was said."""
        self.record.state = "ready"
        records.write(self.home, self.record)

    def look(self) -> None:
        """Notice services that died, and restart those whose pause is over."""
        now = time.monotonic()
        for child in self.children:
            try:
                self._look_at(child, now)
            except OSError as error:  # no room on the disk, or no process to be had: it may pass
                log.error("%s: %s", child.service.name, error)
                child.start_at = now + child.pause

    def _look_at(self, child: _Child, now: float) -> None:
        if child.process is None:
            if now >= child.start_at:
                self._start(child)
        elif (status := child.process.poll()) is not None:
            self._bury(child, status, now)
        trim_log(self.logs / f"{child.service.name}.log")

    def stop(self) -> None:
        """Stop all, in the reverse order of their start, and whatever they left behind."""
        self.record.state = "stopping"
        records.write(self.home, self.record)
        for child in reversed(self.children):
            if child.process is not None and child.process.poll() is None:
                terminate(psutil.Process(child.process.pid), self.grace)
                child.process.wait()
        sweep(self.mark())

    def _start(self, child: _Child) -> None:
        service = child.service
        log_file = self.logs / f"{service.name}.log"
        child.process = spawn(
            service.command, service.environment, self.mark(service.name), log_file, self.folder
        )
        child.started = time.monotonic()
        identity = Identity.of(child.process.pid)
        if identity is not None:
            self.record.services[service.name] = identity
            records.write(self.home, self.record)

    def _bury(self, child: _Child, status: int, now: float) -> None:
        name = child.service.name
        if child.service.health_url is not None:
            # Workers that outlive it would hold the port; the service is away meanwhile.
            sweep(self.mark(name), grace=ORPHAN_SECONDS)
        # The daemon holds none, and the runs that it started go on without it.
        if now - child.started > STABLE_SECONDS:
            child.pause = 0.0
        child.process, child.start_at = None, now + child.pause
        child.deaths += 1
        log.warning(
            "%s stopped (%s); it starts again in %.0f s. Its log: %s",
            name,
            f"signal {-status}" if status < 0 else f"exit status {status}",
            child.pause,
            self.logs / f"{name}.log",
        )
        child.pause = min(max(child.pause * 2, 1.0), LONGEST_PAUSE)

    def _failure(self, child: _Child, what: str) -> FeedwrightError:
        file = self.logs / f"{child.service.name}.log"
        last = [line for line in tail(file, 20) if line.strip()][-1:]
        last_words = f" Its last words: {last[0].strip()[:300]}" if last else ""
        return FeedwrightError(
            f"{child.service.name} {what}.{last_words}",
            f"Its log: feedwright logs {child.service.name}",
        )


def mark(home: Path, name: str = "") -> str:
    """Mark of the processes of the installation at ``home``, or of one of its services."""
    return f"{home}#{name}" + ("#" if name else "")


def is_ready(client: httpx.Client, url: str | None) -> bool:
    """Whether the page ``url`` answers 2xx; a service without a page is ready at once."""
    if url is None:
        return True
    try:
        return client.get(url).is_success
    except httpx.HTTPError:
        return False


def tail(file: Path, lines: int) -> list[str]:
    """The last lines of a file, which need not be there."""
    if not file.exists():
        return []
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - 400 * lines))
        return stream.read().decode(errors="replace").splitlines()[-lines:]


def leftovers(home: Path) -> bool:
    """Whether services run that no supervisor looks after."""
    record = records.read(home)
    recorded = record.services.values() if record else ()
    return any(identity.process() for identity in recorded) or bool(marked(mark(home)))


def stop_leftovers(home: Path, grace: float = GRACE_SECONDS) -> None:
    """Stop what a supervisor that was killed left running."""
    record = records.read(home)
    for identity in reversed(list(record.services.values()) if record else []):
        process = identity.process()
        if process is not None:
            terminate(process, grace)
    sweep(mark(home))


def stop_supervisor(home: Path, patience: float = 90.0) -> bool:
    """Ask the supervisor to stop and wait for it; False when there was none.

    One that does not stop in ``patience`` seconds is killed, and its services with it.
    """
    record = records.read(home)
    supervisor = record.supervisor.process() if record else None
    if supervisor is not None:
        supervisor.terminate()
        try:
            supervisor.wait(patience)
        except psutil.TimeoutExpired:
            supervisor.kill()
            supervisor.wait(5)
    stop_leftovers(home)
    records.remove(home)
    return supervisor is not None
