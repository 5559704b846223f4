"""Postgres hangs, again and again, under load: the worker lives, and every feed is answered."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from benchmarks.common.ports import free_port
from serving.launch import ROOT, feed_environment
from storage.postgres.database import connect, migrate
from storage.postgres.embedded import EmbeddedPostgres
from storage.postgres.place import read_place
from storage.settings import Settings
from tests.conftest import fast_folder
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import make_snapshot

ROUNDS = 30
CLIENTS = 4


@contextmanager
def hung(postmaster: psutil.Process) -> Iterator[None]:
    """All processes of Postgres stand still meanwhile."""
    family = [postmaster, *postmaster.children(recursive=True)]
    try:
        _signal(family, signal.SIGSTOP)
        yield
    finally:
        _signal(family, signal.SIGCONT)


def _signal(family: list[psutil.Process], number: signal.Signals) -> None:
    for process in family:
        with suppress(psutil.NoSuchProcess):  # a session that ended just now
            process.send_signal(number)


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    with fast_folder() as folder:
        server = EmbeddedPostgres(folder / "postgres")
        try:
            migrate(server.start())
            yield server
        finally:
            server.remove()


def test_thirty_times(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    mlflow = FakeMlflow()
    mlflow.version = "1"
    settings = Settings(
        home=tmp_path / "home",
        database_url=postgres.url,
        mlflow_url=mlflow.url,
        feed_port=free_port(),
        model_poll_seconds=0.05,
        catalogue_poll_seconds=0.05,
        rate_limit_per_user=0,
    )
    make_snapshot("1").save(settings.snapshots / "1")
    log = tmp_path / "feed.log"
    with open(log, "wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "uvicorn",
             "--factory", "tests.serving.impatient_app:of_settings",
             "--loop", "uvloop", "--port", str(settings.feed_port), "--no-access-log"],
            env=feed_environment(settings), cwd=ROOT, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        with httpx.Client(base_url=f"{settings.feed_address}/api/v1", timeout=20) as http:
            wait_for(lambda: answers(http))
            _hang_under_load(postgres, http)
        assert worker.poll() is None
    except Exception:
        print(log.read_text())
        raise
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(120) in (0, -signal.SIGTERM), log.read_text()
        mlflow.close()


def _hang_under_load(postgres: EmbeddedPostgres, http: httpx.Client) -> None:
    place = read_place(postgres.data_dir)
    assert place is not None
    postmaster = psutil.Process(int(place.pid_file.read_text().split()[0]))
    over = threading.Event()
    acknowledged: list[str] = []

    def browse(number: int) -> None:
        while not over.is_set():
            assert http.get("feed", params={"user_id": f"u{number:04}"}).status_code == 200
            event = {
                "event_id": str(uuid4()),
                "user_id": f"u{number:04}",
                "item_id": "i0001",
                "type": "click",
            }
            answer = http.post("interactions", json={"interactions": [event]})
            assert answer.status_code == 202, answer.text
            acknowledged.append(event["event_id"])

    durations = random.Random(7)
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(browse, number) for number in range(CLIENTS)]
        try:
            for _ in range(ROUNDS):
                with hung(postmaster):
                    time.sleep(durations.uniform(0.02, 0.6))
                time.sleep(durations.uniform(0.0, 0.1))
        finally:
            over.set()
        for one in running:
            one.result()  # a reset connection raises here
    with connect(postgres.url, autocommit=True) as connection:

        def stored() -> set[str]:
            rows = connection.execute("SELECT event_id FROM feed.interactions").fetchall()
            return {str(row[0]) for row in rows}

        wait_for(lambda: stored() == set(acknowledged))


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("status").json()["database_up"]
    except httpx.TransportError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
