"""Stages of a child process, reported to the parent line by line, and seen from there.

The child prints ``{"begin": name}``, ``{"end": name, "seconds": …, "cpu": …}`` and
``{"fact": name, "value": …}``; the parent puts the memory that it sees down to the stage.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from benchmarks.common.report import BenchmarkError, log
from benchmarks.common.servers import stop_tree
from serving.launch import ROOT

LOOK_SECONDS = 0.01  # less than it takes to touch 100 MB of new memory


@dataclass
class Run:
    """What a child reported, and what was seen of it. Memory is resident, in bytes."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """In the child: what runs within is timed."""
    _tell({"begin": name})
    cpu, started = time.process_time(), time.perf_counter()
    yield
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    _tell({"end": name, "seconds": seconds, "cpu": cpu})


def fact(name: str, value: float) -> None:
    _tell({"fact": name, "value": float(value)})


def watch(module: str, arguments: Sequence[str]) -> Run:
    """Run ``python -m module arguments`` and look at its memory all the while.

    Raises:
        BenchmarkError: it failed.
    """
    done, now = Run(), ["start"]
    command = [sys.executable, "-m", module, *arguments]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    seen = psutil.Process(child.pid)
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            try:
                memory = seen.memory_info().rss
            except psutil.NoSuchProcess:
                return
            done.peaks[now[0]] = max(done.peaks.get(now[0], 0), memory)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        assert child.stdout is not None
        for line in child.stdout:
            said = json.loads(line)
            if "begin" in said:
                now[0] = said["begin"]
            elif "end" in said:
                done.seconds[said["end"]] = said["seconds"]
                done.cpu[said["end"]] = said["cpu"]
                log.info("%s: %.2f s", said["end"], said["seconds"])
            else:
                done.facts[said["fact"]] = said["value"]
        if child.wait() != 0:
            raise BenchmarkError(f"{now[0]} failed with exit status {child.returncode}")
    finally:
        over.set()
        watcher.join()
        stop_tree(child)
    return done


def _tell(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)
