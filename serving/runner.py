"""Runs the Bento: one listening socket, and worker processes that share it.

    python -m serving.runner --host 127.0.0.1 --port 3000 --workers 2

It stands in for ``bentoml serve``, whose process manager opens a control port on TCP where any
account of the machine may start any program, without a password. Here there is nothing to
connect to but the feed itself. A worker that dies is logged, counted and started again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from serving.telemetry import logs
from storage.settings import Settings, get_settings

log = logging.getLogger("feedwright.serving")

SERVICE = "serving.service:Feed"
BACKLOG = 2048
STOP_SECONDS = 8.0
"""A worker ends within 5 s by itself; see ``serving/worker.py``."""
ALLOCATOR = {"MALLOC_ARENA_MAX": "2"}
"""glibc keeps a pool of memory for each thread, and hands little of it back: after 10,000 requests
of all kinds a worker held 16 % more than after 1,000."""
STABLE_SECONDS = 30.0
"""A worker that lived shorter is started again after a pause, each time a longer one."""
PAUSE_SECONDS, LONGEST_PAUSE = 0.5, 30.0
DAMAGE = (signal.SIGABRT, signal.SIGBUS, signal.SIGSEGV)
"""What a damaged file of kept lists ends a worker with; the next one must not meet it again."""


class Runner:
    """Keeps ``workers`` processes of a Bento alive."""

    def __init__(
        self, service: str, listening: socket.socket, workers: int, metrics: Path, lists: Path
    ) -> None:
        """
        Args:
            metrics: an empty folder, where the workers count together.
            lists: the folder of the lists that they keep.
        """
        from serving.telemetry import worker_metrics  # it asks for the folder when it is imported

        self._service = service
        self._listening = listening
        self._workers = workers
        self._metrics = metrics
        self._lists = lists
        self._counts = worker_metrics
        self._stopping = asyncio.Event()
        self._began = time.monotonic()
        self._status = 0

    async def run(self) -> int:
        """Until SIGTERM or SIGINT. Returns the exit status: 0, or that of a worker which could
        not start in the first place."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        await asyncio.gather(*(self._keep() for _ in range(self._workers)))
        return self._status

    async def _keep(self) -> None:
        """One worker after the other."""
        pause = 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            process = await self._start()
            await self._wait(process)
            if self._stopping.is_set():
                return
            young = time.monotonic() - began < STABLE_SECONDS
            pause = min(max(pause * 2, PAUSE_SECONDS), LONGEST_PAUSE) if young else 0.0
            self._bury(process, pause)
            await self._sleep(pause)

    async def _start(self) -> asyncio.subprocess.Process:
        file = self._listening.fileno()
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "serving.worker", self._service, "--fd", str(file)),
            stdin=asyncio.subprocess.PIPE,  # it closes with this process, and ends the worker
            pass_fds=[file],
            env={**ALLOCATOR, **os.environ},
        )

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        """Until the worker has ended, by itself or since all of this stops."""
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            process.terminate()
            await asyncio.wait({ended}, timeout=STOP_SECONDS)
        if not ended.done():
            log.warning("worker does not stop and is killed", extra={"pid": process.pid})
            process.kill()
        await ended
        stopping.cancel()

    def _bury(self, process: asyncio.subprocess.Process, pause: float) -> None:
        status = process.returncode
        assert status is not None
        cause = _name(-status) if status < 0 else "exit"
        log.error(
            "worker died",
            extra={"pid": process.pid, "signal": cause, "status": status, "again_in": pause},
        )
        self._counts.DEATHS.labels(cause).inc()
        if -status in DAMAGE:
            from serving.feed import lists as feed_lists  # with NumPy, which a runner seldom needs

            feed_lists.drop(self._lists)
        try:
            self._counts.keep_counts_of(process.pid, self._metrics)
        except (OSError, RuntimeError):  # its numbers are lost; the feed goes on
            log.exception("what a dead worker counted cannot be read")
        if status > 0 and time.monotonic() - self._began < STABLE_SECONDS:
            self._status = status  # it gave up at its first start, so none can start
            self._stopping.set()

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def _name(number: int) -> str:
    return next((other.name for other in signal.Signals if other == number), f"SIG{number}")


def listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def prepare(settings: Settings) -> Path:
    """Set what the workers inherit. Returns the folder where they count, empty."""
    metrics = settings.home / "serving" / "metrics"
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir(parents=True, mode=0o700)
    os.environ |= {
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "BENTOML_DO_NOT_TRACK": "True",  # "1" means no to BentoML
        # More threads a worker only fight over the cores.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    return metrics


def main(arguments: Sequence[str] | None = None) -> int:
    settings = get_settings()
    parser = argparse.ArgumentParser(prog="python -m serving.runner", description=__doc__)
    parser.add_argument("service", nargs="?", default=SERVICE, help="module:name of the Bento")
    parser.add_argument("--host", default=settings.host)
    parser.add_argument("--port", type=int, default=settings.feed_port)
    parser.add_argument("--workers", type=int, default=settings.feed_workers)
    given = parser.parse_args(arguments)
    logs.configure(settings.log_level)
    with listen(given.host, given.port) as listening:  # first: a second one must change nothing
        metrics = prepare(settings)
        log.info("feed starts", extra={"host": given.host, "port": given.port})
        return asyncio.run(
            Runner(given.service, listening, given.workers, metrics, settings.feed_lists).run()
        )


if __name__ == "__main__":
    sys.exit(main())
