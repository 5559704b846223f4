"""Time from a fresh clone to a first personalised feed, stage by stage, and of a second start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.common import report
from benchmarks.common.ports import free_port
from benchmarks.common.report import BenchmarkError, Row, log
from benchmarks.common.servers import HOST, stop_tree
from serving.launch import ROOT

TARGET = "target, clone to a first personalised feed"
TARGET_SECONDS = 300.0
LOOK_SECONDS = 0.2
STOP_SECONDS = 180.0
USERS = ("196", "186")  # of MovieLens 100K, the sample data; their histories differ


@dataclass(frozen=True)
class Clone:
    """A clone with an environment, ports and a home of its own."""

    folder: Path
    home: Path
    environment: Mapping[str, str]
    feed_url: str

    def make(self, target: str, deadline: float) -> float:
        """Seconds that ``make TARGET`` took.

        Raises:
            BenchmarkError: it failed, or was not over by ``deadline``.
        """
        return _timed(["make", target], deadline, cwd=self.folder, env=self.environment)

    def start(self) -> subprocess.Popen[bytes]:
        """``make up`` in the background; what it says goes to this process's standard error."""
        return subprocess.Popen(
            ["make", "up"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
        )

    def processes(self) -> list[psutil.Process]:
        """What runs in the name of this clone: by its home, or from its folder."""
        processes = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                mine = process.environ().get("FEEDWRIGHT_HOME") == str(self.home)
            except (psutil.AccessDenied, psutil.NoSuchProcess):
                continue
            if process.pid != os.getpid() and (mine or str(self.folder.parent) in " ".join(words)):
                processes.append(process)
        return processes


def measure(source: Path, minutes: float) -> list[Row]:
    """Clone, make, start, ask; stop, start again, ask; stop, and look for what is left.

    Raises:
        BenchmarkError: a step failed or the time is up; all that was started is stopped.
    """
    deadline = time.monotonic() + minutes * 60
    folder = Path(tempfile.mkdtemp(prefix="feedwright-clone-"))
    folder.chmod(0o755)  # the embedded Postgres of a root user runs as another account
    clone = _prepared(folder)
    try:
        cloning = _timed(["git", "clone", "--quiet", str(source), str(clone.folder)], deadline)
        environment = clone.make("env", deadline)
        first, pages = _start(clone, deadline)
        timings = json.loads((clone.home / "timings.json").read_text(encoding="utf-8"))
        stopping, left = _stop(clone)
        second, _ = _start(clone, deadline)
        left += _stop(clone)[1]
    finally:
        _clean(clone, folder)
    if left:
        raise BenchmarkError(f"left running after `make down`: {', '.join(left)}")
    if pages[0] == pages[1]:
        raise BenchmarkError(f"users {' and '.join(USERS)} got the same feed")

    total = cloning + environment + first
    named = {
        "git clone": cloning,
        "make env": environment,
        **{f"up: {stage['name']}": stage["seconds"] for stage in timings["stages"]},
        **{f"up: ready, {name}": seconds for name, seconds in timings["services"].items()},
        "make up to a personalised feed": first,
    }
    return [
        Row("clone to a first personalised feed", total, "s", TARGET, TARGET_SECONDS),
        *(Row(name, seconds, "s", TARGET, TARGET_SECONDS) for name, seconds in named.items()),
        Row("second make up to a personalised feed", second, "s", "the first make up", first),
        Row("make down", stopping, "s"),
        Row("processes left after make down", len(left), "processes"),
    ]


def _prepared(folder: Path) -> Clone:
    home, port = folder / "home", free_port()
    ours = {name for name in os.environ if name.startswith(("FEEDWRIGHT_", "MAKE", "VIRTUAL_ENV"))}
    environment = {name: value for name, value in os.environ.items() if name not in ours} | {
        "FEEDWRIGHT_HOME": str(home),
        "FEEDWRIGHT_HOST": HOST,
        "FEEDWRIGHT_FEED_PORT": str(port),
        "FEEDWRIGHT_DAGSTER_PORT": str(free_port()),
        "FEEDWRIGHT_MLFLOW_PORT": str(free_port()),
    }
    return Clone(folder / "clone", home, environment, f"http://{HOST}:{port}")


def _timed(command: list[str], deadline: float, **options: Any) -> float:
    """Seconds that a command took; its output goes to this process's standard error."""
    log.info("%s", " ".join(command))
    began = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, **options)
    try:
        status = process.wait(max(deadline - began, 0.0))
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{' '.join(command)}: the time is up") from error
    finally:
        stop_tree(process)
    if status != 0:
        raise BenchmarkError(f"{' '.join(command)} failed with exit status {status}")
    return time.monotonic() - began


def _start(clone: Clone, deadline: float) -> tuple[float, list[list[str]]]:
    """Seconds from ``make up`` to the first personalised feed, and the items of ``USERS``.

    Returns when the whole of it is up.
    """
    log.info("make up")
    began = time.monotonic()
    timings, before = clone.home / "timings.json", time.time()
    process = clone.start()
    seconds: float | None = None
    with httpx.Client(base_url=clone.feed_url, trust_env=False, timeout=5.0) as client:
        while seconds is None or not (timings.exists() and timings.stat().st_mtime > before):
            if process.poll() is not None:
                raise BenchmarkError(f"make up ended with exit status {process.returncode}")
            if time.monotonic() > deadline:
                raise BenchmarkError("make up: the time is up")
            if seconds is None and _items(client, USERS[0]) is not None:
                seconds = time.monotonic() - began
                log.info("a personalised feed after %.1f s", seconds)
            time.sleep(LOOK_SECONDS)
        pages = [_items(client, user) or [] for user in USERS]
    return seconds, pages


def _items(client: httpx.Client, user: str) -> list[str] | None:
    """The user's items, or None while there is no personalised feed."""
    try:
        answer = client.get("/api/v1/feed", params={"user_id": user})
    except httpx.TransportError:
        return None
    page = answer.json() if answer.is_success else {"items": []}
    if not page["items"] or page["fallback_reason"] is not None:
        return None
    return [item["item_id"] for item in page["items"]]


def _stop(clone: Clone) -> tuple[float, list[str]]:
    """Seconds of ``make down``, and what runs on after it."""
    seconds = clone.make("down", time.monotonic() + STOP_SECONDS)
    psutil.wait_procs(clone.processes(), timeout=5)  # make itself may be on its way out
    return seconds, [f"{process.name()} ({process.pid})" for process in clone.processes()]


def _clean(clone: Clone, folder: Path) -> None:
    """Stop what runs and remove what was made, whatever happened before."""
    if (clone.folder / "Makefile").exists():
        subprocess.run(
            ["make", "clean"],
            cwd=clone.folder,
            env=clone.environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            timeout=STOP_SECONDS,
            check=False,  # the rest is done by hand
        )
    for process in clone.processes():
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.parser(__doc__ or "", users=943, items=1_682, interactions=100_000, seconds=1)
    parser.add_argument("--source", type=Path, default=ROOT, help="repository to clone")
    parser.add_argument("--minutes", type=float, default=15, help="give up after so many")
    given = parser.parse_args(arguments)
    if not (given.source / ".git").exists():
        parser.error(f"--source {given.source}: no git repository; run this in a clone")
    return report.run("clone_to_feed", lambda: measure(given.source, given.minutes))


if __name__ == "__main__":
    sys.exit(main())
