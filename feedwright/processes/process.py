"""One child process of the supervisor, and the end of all that it left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "FEEDWRIGHT_SERVICE"
"""Variable in the environment of a service and so of all that it starts: who owns it. Some
servers put their workers into sessions of their own, where no process group finds them."""
MAX_LOG = 20 * 2**20  # bytes; a longer log is put aside, and one old one is kept
CLOCK_SECONDS = 1.5
"""The start of the machine is known to the second, and two questions may see two of them."""
KILL_SECONDS = 5.0
SWEEP_SECONDS = 12.0
"""A run of the pipeline that is asked to end does so within nine."""


@dataclass(frozen=True)
class Identity:
    """A process for ever: a pid comes back, together with when it started it does not.

    Attributes:
        created: epoch seconds, by the clock of that moment: once it is set or slewed, the system
            gives another answer.
        since_boot: seconds from the start of the machine, which no clock moves. None: of a record
            of an earlier release.
        boot: which start of the machine; empty where the system does not say.
    """

    pid: int
    created: float
    since_boot: float | None = None
    boot: str = ""

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """None when there is no such process."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            return cls(pid, process.create_time(), _since_boot(process), _boot())
        return None

    def process(self) -> psutil.Process | None:
        """The process, unless it is gone or only waits to be reaped."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if self._is(process) and is_alive(process):
                return process
        return None

    def _is(self, process: psutil.Process) -> bool:
        if self.since_boot is None:
            return abs(process.create_time() - self.created) < CLOCK_SECONDS
        return self.boot == _boot() and abs(_since_boot(process) - self.since_boot) < CLOCK_SECONDS


def _since_boot(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return ""


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def open_log(file: Path) -> int:
    """A descriptor to append to ``file``, which is put aside first when it has grown long."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file.stat().st_size > MAX_LOG:
        file.replace(file.with_suffix(".old.log"))
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def trim_log(file: Path) -> None:
    """Put aside a log that has grown long while a process goes on appending to it."""
    if file.exists() and file.stat().st_size > MAX_LOG:
        shutil.copyfile(file, file.with_suffix(".old.log"))
        os.truncate(file, 0)


def spawn(
    command: list[str], environment: Mapping[str, str], mark: str, log_file: Path, folder: Path
) -> subprocess.Popen[bytes]:
    """Start ``command`` in a session of its own, its output appended to ``log_file``.

    SIGINT must not be ignored in the caller: children inherit that, and Dagster then
    ignores SIGTERM too.
    """
    log = open_log(log_file)
    try:
        return subprocess.Popen(
            command,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
        )
    finally:
        os.close(log)


def marked(prefix: str) -> list[psutil.Process]:
    """Processes of services whose mark starts with ``prefix``; the database is no service,
    even when one of them started it."""
    processes = []
    for process in psutil.process_iter(["name"]):
        if process.pid == os.getpid() or process.info["name"] in ("postgres", "pg_ctl"):
            continue
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK, "").startswith(prefix) and is_alive(process):
                processes.append(process)
    return processes


def terminate(process: psutil.Process, grace: float) -> None:
    """End a process and its group: SIGTERM, then after ``grace`` seconds SIGKILL."""
    _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    if is_alive(process):
        _signal_group(process, signal.SIGKILL)


def _signal_group(process: psutil.Process, sign: signal.Signals) -> None:
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, sign)
        else:
            process.send_signal(sign)


def sweep(prefix: str, grace: float = SWEEP_SECONDS) -> int:
    """End whatever still carries a mark that starts with ``prefix``; returns how many."""
    left = marked(prefix)
    _each(left, "terminate")
    _, stubborn = psutil.wait_procs(left, timeout=grace)
    _each(stubborn, "kill")
    psutil.wait_procs(stubborn, timeout=KILL_SECONDS)
    return len(left)


def _each(processes: Iterable[psutil.Process], method: str) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            getattr(process, method)()
