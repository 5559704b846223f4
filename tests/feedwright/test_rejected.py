"""``feedwright rejected`` on a real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from feedwright.cli.app import app
from storage.postgres.database import connect
from storage.settings import get_settings

runner = CliRunner()


def run(*arguments: str) -> Any:
    return runner.invoke(app, ["rejected", *arguments])


@pytest.fixture
def rows(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[psycopg.Connection]:
    """Three refused interactions and an item, with the ids 1 to 4."""
    monkeypatch.setenv("FEEDWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEEDWRIGHT_DATABASE_URL", database)
    get_settings.cache_clear()
    monkeypatch.chdir(tmp_path)
    connection = connect(database, autocommit=True)
    good = {"user_id": "u", "item_id": "i", "type": "view", "occurred_at": "2026-05-17T09:30:00Z"}
    for entity, raw in (
        ("interactions", good | {"type": "teleport", "mood": "blue"}),
        ("interactions", good | {"occurred_at": "noon"}),
        ("interactions", good),
        ("items", {"id": "i", "lat": 91}),
    ):
        connection.execute(
            "INSERT INTO feed.interactions_rejected (entity, source, reason, raw)"
            " VALUES (%s, 'log.csv', 'is wrong', %s)",
            (entity, json.dumps(raw)),
        )
    yield connection
    connection.close()
    get_settings.cache_clear()


def counts(rows: psycopg.Connection) -> tuple[Any, ...] | None:
    return rows.execute(
        "SELECT (SELECT count(*) FROM feed.interactions),"
        " (SELECT count(*) FROM feed.interactions_rejected)"
    ).fetchone()


def test_listed_replayed_and_fixed(rows: psycopg.Connection) -> None:
    assert [row["id"] for row in json.loads(run("--json").stdout)] == [4, 3, 2, 1]
    again = run("replay", "--all")
    assert "1 taken in, 0 there already, 2 refused again" in again.stdout, again.output
    assert "teleport" in again.stdout
    assert counts(rows) == (1, 3)

    fixed = run("fix", "1", "--set", "type=click", "--set", "mood=", "--set", "item_id=7")
    assert fixed.exit_code == 0, fixed.output
    corrected = {"user_id": "u", "type": "search", "occurred_at": "2026-05-17T12:00:00Z"}
    Path("corrected.jsonl").write_text(json.dumps({"id": 2, "event": corrected}) + "\n")
    assert "1 taken in" in run("fix", "--from", "corrected.jsonl").stdout
    assert counts(rows) == (3, 1)
    found = rows.execute("SELECT type, item_id FROM feed.interactions ORDER BY type").fetchall()
    assert found == [("click", "7"), ("search", None), ("view", "i")]


def test_what_cannot_be_done_is_told(rows: psycopg.Connection) -> None:
    for arguments, says in (
        (["replay"], "--all"),
        (["replay", "--id", "4"], "PUT"),
        (["fix"], "--from"),
        (["fix", "1", "--set", "type"], "FIELD=VALUE"),
        (["fix", "99", "--set", "type=click"], "no refused row 99"),
        (["replay", "--id", "2"], "noon"),
    ):
        done = run(*arguments)
        assert done.exit_code == 1, done.output
        assert says in done.output
    assert counts(rows) == (0, 4)
    assert "no refused row" in run("replay", "--id", "99").output.lower()
