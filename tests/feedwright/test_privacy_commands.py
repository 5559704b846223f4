"""Export and erasure from the command line, on a real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feedwright.cli.app import app
from storage.postgres.database import connect
from storage.settings import get_settings


@pytest.fixture
def url(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("FEEDWRIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("FEEDWRIGHT_DATABASE_URL", database)
    get_settings.cache_clear()
    yield database
    get_settings.cache_clear()


def test_a_user_is_exported_whole_then_erased(url: str, tmp_path: Path) -> None:
    with connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO feed.users (id) VALUES ('Zoë')")
        connection.execute(
            "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
            " SELECT gen_random_uuid(), 'Zoë', 'i', 'view', now() FROM generate_series(1, 2500)"
        )
    file = tmp_path / "user.json"
    shell = CliRunner()
    assert shell.invoke(app, ["export", "Zoë", "-o", str(file)]).exit_code == 0
    document = json.loads(file.read_text())
    assert [row["id"] for row in document["user"]] == ["Zoë"]
    assert len({row["event_id"] for row in document["interactions"]}) == 2_500

    asked = shell.invoke(app, ["erase", "Zoë"])
    assert asked.exit_code == 1
    assert "--yes" in asked.output
    assert "Erased" in shell.invoke(app, ["erase", "Zoë", "--yes"]).output
    again = shell.invoke(app, ["export", "Zoë"])
    assert again.exit_code == 1
    assert "Nothing is stored" in again.output
    assert "nothing of this user" in shell.invoke(app, ["erase", "Zoë", "--yes"]).output
    with connect(url) as connection:
        actors = connection.execute("SELECT actor FROM feed.audit_log").fetchall()
    assert actors == [("cli",)]
