"""Every connection of Postgres is taken by others: the feed answers, and people are told why."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import psycopg

from feedwright.local.status import status
from storage.postgres.database import migrate
from storage.postgres.embedded import EmbeddedPostgres
from storage.settings import Settings
from tests.conftest import fast_folder
from tests.serving.conftest import running_worker
from tests.serving.fake_mlflow import FakeMlflow

SMALL = {"max_connections": "12", "superuser_reserved_connections": "0", "fsync": "off"}


def test_all_connections_are_taken(mlflow: FakeMlflow, tmp_path: Path) -> None:
    event = {"event_id": str(uuid4()), "user_id": "u0007", "item_id": "i0001", "type": "click"}
    with ExitStack() as stack:
        server = EmbeddedPostgres(stack.enter_context(fast_folder()) / "postgres", SMALL)
        stack.callback(server.remove)
        url = server.start()
        migrate(url)
        settings = Settings(
            home=tmp_path, database_url=url, mlflow_url=mlflow.url, model_poll_seconds=0.05
        )
        worker = stack.enter_context(running_worker(settings, mlflow, "1"))
        worker.wait_for(lambda: worker.fallback() is None)
        others: list[psycopg.Connection] = []

        def all_are_taken() -> bool:
            try:
                while True:
                    others.append(psycopg.connect(url, autocommit=True, application_name="other"))
            except psycopg.OperationalError:
                pass
            others[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND application_name <> 'other'"
            )
            return worker.fallback() == "database_unavailable" and len(others) == 12

        worker.wait_for(all_are_taken)
        assert "All connections are taken" in (status(settings)["database_problem"] or "")
        sent = worker.client.post("/api/v1/interactions", json={"interactions": [event]})
        assert sent.status_code == 202, sent.text
        assert worker.feed(user_id="u0008")["items"]

        for connection in others:
            connection.close()
        worker.wait_for(lambda: worker.fallback() is None)

        def has_arrived() -> bool:
            with psycopg.connect(url) as connection:
                found = connection.execute(
                    "SELECT 1 FROM feed.interactions WHERE event_id = %s", [event["event_id"]]
                )
                return found.fetchone() is not None

        worker.wait_for(has_arrived)
