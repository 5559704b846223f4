"""The benchmarks of ingest at a tiny size, on ingest alone, which starts quickly."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from benchmarks import ingest, servers, soak
from benchmarks.report import Row
from serving.launch import settings_environment
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


def test_soak() -> None:
    rows = by_name(soak.measure(3, ingest_alone))
    assert rows["acknowledged"].value > 0
    assert rows["stored"].value == rows["acknowledged"].value
    assert rows["lost"].value == rows["doubled"].value == 0
    assert rows["kills of the service"].value == 3
