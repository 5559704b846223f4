"""The real server with two workers on loopback."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import psycopg

from benchmarks.common.ports import free_port
from serving.launch import ROOT, feed_command, feed_environment
from storage.settings import Settings
from tests.conftest import TEMPLATE, url_of
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import make_snapshot

WORKERS = 2


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    settings: Settings
    mlflow: FakeMlflow
    log: Path

    @property
    def url(self) -> str:
        return self.settings.feed_address

    @property
    def database(self) -> str:
        assert self.settings.database_url is not None
        return self.settings.database_url

    def wait_until_ready(self, seconds: float = 150) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def workers(self) -> list[psutil.Process]:
        return [
            child
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if "serving.worker" in child.cmdline()
        ]


@contextmanager
def bento(
    postgres_url: str, postgres: psycopg.Connection, home: Path, name: str
) -> Iterator[Server]:
    """The server on a database ``name`` of its own, with versions 1 (live) and 2."""
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    mlflow = FakeMlflow()
    mlflow.version = "1"
    settings = Settings(
        home=home,
        database_url=url_of(postgres_url, name),
        mlflow_url=mlflow.url,
        feed_port=free_port(),
        feed_workers=WORKERS,
        model_poll_seconds=0.2,
        catalogue_poll_seconds=0.1,
    )
    for version in ("1", "2"):
        make_snapshot(version, users=200, items=500).save(settings.snapshots / version)
    log = settings.home / "feed.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            feed_command(settings),
            env=feed_environment(settings),
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    running = Server(process, settings, mlflow, log)
    try:
        running.wait_until_ready()
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        mlflow.close()
        postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
