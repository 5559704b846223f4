"""A worker in this process: the real application on a real Postgres, MLflow faked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from starlette.testclient import TestClient

from models.catalogue.snapshots.snapshot import Snapshot
from serving.app import FeedApp
from storage.settings import Settings
from tests.conftest import TEMPLATE, url_of
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import make_snapshot


@dataclass
class Worker:
    """The application, its parts, and what surrounds it."""

    app: FeedApp
    client: TestClient
    mlflow: FakeMlflow
    settings: Settings

    def publish(self, version: str, snapshot: Snapshot | None = None) -> None:
        """Save the version's snapshot and move the alias to it."""
        snapshot = snapshot or make_snapshot(version)
        snapshot.save(self.settings.snapshots / version)
        self.mlflow.version = version

    def feed(self, **parameters: Any) -> dict[str, Any]:
        answer = self.client.get("/api/v1/feed", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait_for(self, expected: Callable[[], bool], seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while not expected():
            assert time.monotonic() < deadline, self.client.get("/api/v1/status").json()
            time.sleep(0.02)

    def end_sessions(self) -> None:
        """Have Postgres end every session on the worker's database, as a restart does."""
        assert self.settings.database_url is not None
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def fallback(self, user_id: str = "u0007") -> str | None:
        return self.feed(user_id=user_id)["fallback_reason"]


@contextmanager
def running_worker(settings: Settings, mlflow: FakeMlflow, version: str | None) -> Iterator[Worker]:
    app = FeedApp(settings)
    if version is not None:
        make_snapshot(version).save(settings.snapshots / version)
    mlflow.version = version
    with TestClient(
        app.asgi,
        base_url="http://127.0.0.1",
        client=("127.0.0.1", 50_000),  # as a call from this machine: see serving/access
        raise_server_exceptions=False,
    ) as client:
        made = Worker(app, client, mlflow, settings)
        made.wait_for(app.is_ready)
        yield made


@pytest.fixture
def mlflow() -> Iterator[FakeMlflow]:
    fake = FakeMlflow()
    yield fake
    fake.close()


@pytest.fixture
def worker_settings(settings: Settings, mlflow: FakeMlflow) -> Settings:
    return settings.model_copy(update={"mlflow_url": mlflow.url, "model_poll_seconds": 0.05})


@pytest.fixture
def worker(worker_settings: Settings, mlflow: FakeMlflow) -> Iterator[Worker]:
    """A worker with version 1 live, to be broken."""
    with running_worker(worker_settings, mlflow, "1") as made:
        yield made


@pytest.fixture(scope="module")
def steady_worker(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """A worker with version 1 live, shared by tests that change nothing."""
    name = f"serving_{uuid4().hex}"
    _server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    fake = FakeMlflow()
    settings = Settings(
        home=tmp_path_factory.mktemp("home"),
        database_url=url_of(postgres_url, name),
        mlflow_url=fake.url,
        model_poll_seconds=0.05,
    )
    with running_worker(settings, fake, "1") as made:
        yield made
    fake.close()
    _server.execute(f"DROP DATABASE {name} WITH (FORCE)")
