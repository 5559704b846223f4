"""The real service over real HTTP, and a stand-in for its ingest that can be made to fail."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from serving.app import FeedApp
from storage.settings import Settings
from tests.conftest import TEMPLATE, url_of
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import make_snapshot


@contextmanager
def served(application: ASGIApp) -> Iterator[str]:
    """The address of an application that a server in a thread answers for."""
    config = uvicorn.Config(application, port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def wait_for(expected: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not expected():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def service(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the real application with a model."""
    name = f"client_{uuid4().hex}"
    _server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    mlflow = FakeMlflow()
    mlflow.version = "1"
    settings = Settings(
        home=tmp_path_factory.mktemp("client"),
        database_url=url_of(postgres_url, name),
        mlflow_url=mlflow.url,
        model_poll_seconds=0.2,
    )
    make_snapshot("1").save(settings.snapshots / "1")
    app = FeedApp(settings)
    with served(app.asgi) as url:
        wait_for(app.is_ready)
        yield url
    mlflow.close()
    _server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass
class Ingest:
    """Takes events as the real one does. ``failures``: statuses to answer first; 0: take the
    events, and cut the connection before the answer."""

    url: str = ""
    failures: list[int] = field(default_factory=list)
    requests: list[list[dict[str, Any]]] = field(default_factory=list)
    stored: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    key: str | None = None
    limited: dict[str, int] = field(default_factory=dict)  # user: times to be put back
    retry_after: float = 1.0

    async def take(self, request: Request) -> Response:
        self.times.append(time.monotonic())
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return Response(json.dumps({"detail": "a key is needed"}), 401)
        events = json.loads(await request.body())["interactions"]
        self.requests.append(events)
        failure = self.failures.pop(0) if self.failures else None
        if failure:
            return Response(status_code=failure, headers={"Retry-After": "0"})
        results = [self._store(event) for event in events]
        if failure == 0:
            return Response("{", headers={"content-length": "100"})
        return Response(json.dumps({"results": results}), 202)

    def _store(self, event: dict[str, Any]) -> dict[str, Any]:
        if event["type"] == "stare":
            return {"outcome": "rejected", "field": "type", "reason": "unknown type"}
        if self.limited.get(event["user_id"], 0) > 0:
            self.limited[event["user_id"]] -= 1
            return {"outcome": "rejected", "reason": "slow down", "retry_after": self.retry_after}
        key = event["event_id"], event["occurred_at"]
        outcome = "duplicate" if key in self.stored else "accepted"
        self.stored[key] = event
        return {"outcome": outcome, "reason": None}


@pytest.fixture
def ingest() -> Iterator[Ingest]:
    made = Ingest()
    app = Starlette(routes=[Route("/api/v1/interactions", made.take, methods=["POST"])])
    with served(app) as made.url:
        yield made
