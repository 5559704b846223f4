"""The faults: how each is brought about, and how one sees that it is over."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import polars as pl
import psutil
import psycopg

from benchmarks.common.installation import Installation
from benchmarks.common.report import BenchmarkError, log
from feedwright.processes import record as records
from feedwright.processes.process import marked
from feedwright.processes.supervisor import mark
from storage.postgres.embedded import EmbeddedPostgres
from storage.postgres.place import read_place

GARBAGE = os.urandom(4096)
SMALL = 64 * 2**10
"""Bytes that a full disk takes."""
LOOKS = 6
"""At the feed, by new connections, so that every worker is seen."""


class CannotBreak(RuntimeError):
    """A fault cannot be brought about here; the message says why."""


class Broken(Installation):
    """An installation whose parts are found, hurt and looked at.

    Attributes:
        user: somebody whom the model knows.
    """

    user = ""

    def remember(self) -> None:
        """What a sound installation looks like, once it is up."""
        self.postgres = EmbeddedPostgres(self.state / "postgres")
        self.database = self.postgres.url
        self._stopped: list[psutil.Process] = []

    def mend(self) -> None:
        """Let go on what stands still."""
        for process in getattr(self, "_stopped", []):
            _signal([process], signal.SIGCONT)

    def service(self, name: str) -> psutil.Process | None:
        """The process of a service, if it lives."""
        record = records.read(self.state)
        identity = record.services.get(name) if record is not None else None
        return identity.process() if identity is not None else None

    def processes(self, *words: str) -> list[psutil.Process]:
        """Processes of this installation with all of these words in their command."""
        processes = []
        for process in marked(mark(self.state)):
            with suppress(psutil.Error):
                if set(words) <= set(process.cmdline()):
                    processes.append(process)
        return processes

    def feed_workers(self) -> list[psutil.Process]:
        return self.processes("serving.worker")

    def postmaster(self) -> psutil.Process:
        place = read_place(self.postgres.data_dir)
        assert place is not None
        return psutil.Process(int(place.pid_file.read_text().split()[0]))

    def is_whole(self) -> bool:
        """All workers are there, each has the champion and Postgres, and the consoles answer."""
        with suppress(httpx.TransportError), httpx.Client(trust_env=False, timeout=10) as http:
            if len(self.feed_workers()) != self.workers:
                return False
            for _ in range(LOOKS):
                answer = http.get(f"{self.feed}/api/v1/status", headers={"Connection": "close"})
                status = answer.json()
                if status["fallback_reason"] is not None or not status["database_up"]:
                    return False
            return all(
                http.get(f"{url}/{page}").is_success
                for url, page in ((self.dagster, "code_ready"), (self.mlflow, "health"))
            )
        return False

    @contextmanager
    def standing_still(self, family: list[psutil.Process]) -> Iterator[None]:
        self._stopped = family
        try:
            _signal(family, signal.SIGSTOP)
            yield
        finally:
            self.mend()

    def postgres_family(self) -> list[psutil.Process]:
        postmaster = self.postmaster()
        return [postmaster, *postmaster.children(recursive=True)]


@dataclass(frozen=True)
class Fault:
    """
    Attributes:
        happens: a context in which it is so.
        seconds: that it lasts.
        is_over: what must hold besides that the installation is whole.
    """

    name: str
    happens: Callable[[Broken], AbstractContextManager[None]]
    seconds: float = 0.0
    needs_root: bool = False
    is_over: Callable[[Broken], bool] = field(default=lambda installation: True)


def catalogue(seconds: float) -> list[Fault]:
    """All faults, those that hurt most at the end."""
    return [
        Fault("a worker killed", _killed(lambda installation: installation.feed_workers()[:1])),
        Fault("all workers killed", _killed(lambda installation: installation.feed_workers())),
        Fault("runner killed", _killed_service("feed")),
        Fault("gateway killed", _killed_service("gateway")),
        Fault("MLflow killed", _killed_service("mlflow")),
        Fault("Dagster's webserver killed", _killed_service("dagster-webserver")),
        Fault(
            "Dagster's daemon killed",
            _killed_service("dagster-daemon"),
            is_over=lambda installation: installation.service("dagster-daemon") is not None,
        ),
        Fault(
            "code servers killed",
            _killed(lambda installation: installation.processes("api", "grpc")),
            is_over=lambda installation: bool(installation.processes("api", "grpc")),
        ),
        Fault(
            "MLflow stopped",
            _stopped(lambda installation: installation.processes("mlflow")),
            seconds,
        ),
        Fault("Postgres stopped", _stopped(Broken.postgres_family), seconds),
        Fault("Postgres killed", _killed(lambda installation: [installation.postmaster()])),
        Fault("Postgres restarted", _postgres_restarted),
        Fault("all connections taken", _connections_taken, seconds),
        Fault("spool's disk full", _spool_full, seconds),
        Fault("home's disk full", _home_full, seconds, needs_root=True),
        Fault("spool segment corrupt", _spool_corrupt, seconds),
        Fault("profile corrupt", _profile_corrupt, seconds),
        Fault("kept lists corrupt", _files_corrupt("serving/lists/*/data.mdb")),
        Fault("snapshot corrupt", _files_corrupt("snapshots/*/*")),
        Fault("lake's day corrupt", _lake_corrupt, is_over=_lake_is_whole),
        Fault("run worker killed", _run_killed, is_over=_no_run_hangs),
        Fault("supervisor killed", _supervisor_killed),
        Fault("artifacts deleted", _artifacts_deleted, seconds),
    ]


def _signal(family: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


Find = Callable[[Broken], list[psutil.Process]]


def _killed(find: Find) -> Callable[[Broken], AbstractContextManager[None]]:
    @contextmanager
    def happens(installation: Broken) -> Iterator[None]:
        victims = find(installation)
        if not victims:
            raise CannotBreak("there is no such process")
        _signal(victims, signal.SIGKILL)
        psutil.wait_procs(victims, timeout=10)
        yield

    return happens


def _killed_service(name: str) -> Callable[[Broken], AbstractContextManager[None]]:
    def find(installation: Broken) -> list[psutil.Process]:
        process = installation.service(name)
        return [] if process is None else [process]

    return _killed(find)


def _stopped(find: Find) -> Callable[[Broken], AbstractContextManager[None]]:
    return lambda installation: installation.standing_still(find(installation))


@contextmanager
def _postgres_restarted(installation: Broken) -> Iterator[None]:
    installation.postgres.stop()
    installation.postgres.start()
    yield


@contextmanager
def _connections_taken(installation: Broken) -> Iterator[None]:
    with ExitStack() as taken:
        with suppress(psycopg.OperationalError):
            while True:
                taken.enter_context(psycopg.connect(installation.database))
        yield


@contextmanager
def _spool_full(installation: Broken) -> Iterator[None]:
    """Events go to the spool, whose disk takes hardly any."""
    spool = installation.state / "serving" / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    full = _small_disk(spool) if os.geteuid() == 0 else _small_files(installation.feed_workers())
    with full:
        with installation.standing_still(installation.postgres_family()):
            yield
        _wait_until(lambda: not list(spool.glob("*.spool")))


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """Root may mount one."""
    options = f"size={SMALL},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def _small_files(family: list[psutil.Process]) -> Iterator[None]:
    """Others may forbid their processes to write any further into any file."""
    before = [process.rlimit(psutil.RLIMIT_FSIZE) for process in family]
    try:
        for process, (_, most) in zip(family, before, strict=True):
            process.rlimit(psutil.RLIMIT_FSIZE, (SMALL, most))
        yield
    finally:
        for process, limits in zip(family, before, strict=True):
            with suppress(psutil.NoSuchProcess):
                process.rlimit(psutil.RLIMIT_FSIZE, limits)


@contextmanager
def _home_full(installation: Broken) -> Iterator[None]:
    filler = installation.state / "filler"
    try:
        with open(filler, "wb") as file, suppress(OSError):
            while True:
                file.write(bytes(2**20))
                file.flush()
        yield
    finally:
        filler.unlink()


@contextmanager
def _spool_corrupt(installation: Broken) -> Iterator[None]:
    """Some bytes of every segment go bad while Postgres hangs."""
    with installation.standing_still(installation.postgres_family()):
        yield
        for segment in (installation.state / "serving" / "spool").glob("*.spool"):
            _overwrite(segment, segment.stat().st_size // 3, b"\xff" * 16)


@contextmanager
def _profile_corrupt(installation: Broken) -> Iterator[None]:
    profile = installation.home / "profile.yaml"
    sound = profile.read_bytes()
    profile.write_bytes(GARBAGE)
    try:
        yield
    finally:
        profile.write_bytes(sound)


def _files_corrupt(pattern: str) -> Callable[[Broken], AbstractContextManager[None]]:
    """Garbage in the middle and at the start of files; the workers then have to open them."""

    @contextmanager
    def happens(installation: Broken) -> Iterator[None]:
        files = [path for path in installation.state.glob(pattern) if path.is_file()]
        if not files:
            raise CannotBreak(f"no {pattern}")
        for file in files:
            _overwrite(file, 0, GARBAGE)
            _overwrite(file, file.stat().st_size // 2, GARBAGE)
        victims = installation.feed_workers()
        _signal(victims, signal.SIGKILL)
        psutil.wait_procs(victims, timeout=10)
        yield

    return happens


@contextmanager
def _lake_corrupt(installation: Broken) -> Iterator[None]:
    """One day cannot be read when a training begins, which reads it again from Postgres."""
    days = _days(installation)
    days[len(days) // 2].write_bytes(GARBAGE)
    try:
        installation.run("train")
    except BenchmarkError as error:
        log.warning("lake's day corrupt: %s", error)
    yield


def _lake_is_whole(installation: Broken) -> bool:
    """Whether every day can be read."""
    try:
        pl.scan_parquet(_days(installation)).collect()
    except pl.exceptions.PolarsError:
        return False
    return True


def _days(installation: Broken) -> list[Path]:
    return sorted((installation.state / "lake").rglob("*.parquet"))


@contextmanager
def _run_killed(installation: Broken) -> Iterator[None]:
    installation.call("POST", "train", {"reason": "to be killed"})
    _wait_until(lambda: bool(_runs(installation)))
    time.sleep(3)
    _signal(_runs(installation), signal.SIGKILL)
    yield


def _runs(installation: Broken) -> list[psutil.Process]:
    """A run is a process that a code server spawns."""
    return [
        child
        for server in installation.processes("api", "grpc")
        for child in server.children()
        if any("spawn_main" in word for word in child.cmdline())
    ]


def _no_run_hangs(installation: Broken) -> bool:
    training = installation.call("GET", "status")["training"]
    return training is None or not training["running"]


@contextmanager
def _supervisor_killed(installation: Broken) -> Iterator[None]:
    record = records.read(installation.state)
    supervisor = record.supervisor.process() if record is not None else None
    if supervisor is None:
        raise CannotBreak("there is no supervisor")
    supervisor.kill()
    supervisor.wait()
    time.sleep(1)
    installation.run("up", "--detach", "--no-sample")
    yield


@contextmanager
def _artifacts_deleted(installation: Broken) -> Iterator[None]:
    """As a clean-up of the disk does it; the workers keep what they have fetched."""
    artifacts, aside = installation.state / "artifacts", installation.home / "artifacts"
    shutil.move(artifacts, aside)
    victims = installation.feed_workers()
    _signal(victims, signal.SIGKILL)
    try:
        yield
    finally:
        shutil.rmtree(artifacts, ignore_errors=True)
        shutil.move(aside, artifacts)


def _overwrite(file: Path, at: int, data: bytes) -> None:
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.seek(at)
        stream.write(data[: max(size - at, 0)])


def _wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise CannotBreak("it takes too long")
        time.sleep(0.1)
