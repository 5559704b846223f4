"""The benchmarks of ingest at a tiny size, on ingest alone, which starts quickly."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from benchmarks import ingest
from benchmarks.common import servers, visitors
from benchmarks.common.ports import free_port
from benchmarks.common.report import Row
from serving.launch import settings_environment
from storage.postgres.database import connect
from storage.settings import Settings


def ingest_alone(
    database_url: str, folder: Path, port: int
) -> AbstractContextManager[servers.Server]:
    settings = Settings(home=folder / "home", database_url=database_url)
    command = [sys.executable, "-m", "uvicorn", "--factory", "tests.serving.ingest_app:of_settings"]
    command += ["--port", str(port), "--log-level", "warning"]
    return servers.serving(command, settings_environment(settings), port, folder / "feed.log")


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.name: row for row in rows}


def test_ingest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "BATCHES", (1, 200))
    monkeypatch.setattr(ingest, "CLIENTS", (1, 8))
    rows = by_name(ingest.measure(0.1, ingest.Events(100, 100), ingest_alone))
    for batch in (1, 200):
        for clients in (1, 8):
            row = rows[f"throughput (batches of {batch}, clients={clients})"]
            assert row.value > 0
            assert row.baseline == f"COPY, {batch} at a time"
            assert rows[f"p99 (batches of {batch}, clients={clients})"].value > 0
    assert rows["events a second, at most"].baseline_value


def test_visitors_count_what_is_lost_and_what_is_doubled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(visitors, "SETTLE_SECONDS", 0.5)
    tmp_path.chmod(0o755)
    with (
        servers.database(tmp_path) as url,
        ingest_alone(url, tmp_path, free_port()) as server,
        connect(url, autocommit=True) as connection,
        visitors.Visitors(server.url, ["u1", "u2"] * 4, ["i1"]) as there,
    ):
        while there.acknowledged() < 200:
            time.sleep(0.05)
        assert there.missing(connection) == (0, 0)
        while there.acknowledged() < 400:
            time.sleep(0.05)
        first = there.first_of_next()
        connection.execute("DELETE FROM feed.interactions WHERE event_id = %s", (first,))
        assert there.missing(connection) == (1, 0)
        assert there.seen().not_200  # ingest alone has no feed
