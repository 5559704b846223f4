"""The commands about keys, and the keys that the first start shows."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from feedwright.cli.app import app
from feedwright.local.first_run import greet_with_first_keys
from serving.access.tokens import BadToken, read_token
from storage.operations.keys import list_keys, rotate_secret, signing_secret
from storage.postgres.database import connect
from storage.settings import get_settings

KEY = re.compile(r"fw_(track|read|admin)_[0-9a-f]{8}_[\w-]{43}")


@pytest.fixture(autouse=True)
def _installation(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEEDWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEEDWRIGHT_DATABASE_URL", database)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


@pytest.mark.parametrize("command", ["make", "list", "revoke", "token", "rotate"])
def test_help_shows_an_example(command: str) -> None:
    shown = run(command, "--help").stdout
    assert f"feedwright keys {command}" in re.sub(r"\s+", " ", shown)


def test_a_key_may_be_given_limits_of_its_own() -> None:
    common = ("make", "--scope", "track", "--name", "site")
    assert run(*common, "--limit", "600000", "--limit-per-user", "0").exit_code == 0
    assert run(*common).exit_code == 0
    rows = json.loads(run("list", "--json").stdout)
    limits = [(row["limit_per_key"], row["limit_per_user"]) for row in rows]
    assert limits == [(600_000, 0), (None, None)]
    shown = re.sub(r"[\s│]+", " ", run("list").stdout)
    assert "no limit by user" in shown
    refused = run(*common, "--limit", "-1")
    assert refused.exit_code != 0
    assert "--limit" in refused.stderr


def test_a_key_from_its_making_to_its_end() -> None:
    assert "No key yet" in run("list").stdout
    made = run("make", "--scope", "track", "--name", "[bold]site", "--needs-token")
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()  # the key alone: KEY=$(feedwright keys make …)
    assert KEY.fullmatch(key)
    assert "only time" in made.stderr
    shown = run("list").stdout
    assert "[bold]site" in shown
    assert key not in shown
    [row] = json.loads(run("list", "--json").stdout)
    assert (row["scope"], row["needs_token"], row["revoked_at"]) == ("track", True, None)
    assert row["key_id"] == key.split("_")[2]
    assert "key_hash" not in row
    assert "is revoked" in run("revoke", row["key_id"]).stdout
    assert "revoked" in run("list").stdout


def test_what_cannot_be_made_or_revoked() -> None:
    for arguments, said in (
        (("make", "--scope", "read", "--name", ""), "name"),
        (("make", "--scope", "admin", "--name", "x", "--needs-token"), "not for browsers"),
        (("revoke", "nothing"), "keys list"),
        (("token", "ann", "--hours", "25"), "at most 24"),
        (("token", "ann", "--hours", "nan"), "at most 24"),
        (("token", "", "--hours", "1"), "user_id"),
        (("token", "ann", "--scope", "admin"), "scopes"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1, result.output
        assert said in result.stderr
    assert run("make", "--scope", "write", "--name", "x").exit_code == 2


def test_a_user_token_is_of_one_user_until_the_secret_changes(database: str) -> None:
    made = run("token", "o'Neil", "--hours", "0.5", "--scope", "read")
    assert made.exit_code == 0, made.output
    with connect(database, autocommit=True) as connection:
        secret = signing_secret(connection)
        claims = read_token(made.stdout.strip(), {str(secret.id): secret.secret})
        assert (claims.user_id, claims.scopes) == ("o'Neil", {"read"})
        assert "void" in run("rotate", "--now").stdout
        newer = rotate_secret(connection)
    with pytest.raises(BadToken):
        read_token(made.stdout.strip(), {str(newer.id): newer.secret})


def test_the_first_start_shows_keys_once_and_only_to_a_person(database: str) -> None:
    def greeted(*, terminal: bool) -> str:
        shown = io.StringIO()
        greet_with_first_keys(database, Console(file=shown, force_terminal=terminal, width=60))
        return re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue())

    into_a_log = greeted(terminal=False)
    assert "feedwright keys make" in into_a_log
    assert "fw_" not in into_a_log
    shown = greeted(terminal=True)
    assert [found[1] for found in KEY.finditer(shown)] == ["track", "read", "admin"]
    assert greeted(terminal=True) == greeted(terminal=False) == ""
    with connect(database) as connection:
        assert [row.scope for row in list_keys(connection)] == ["track", "read", "admin"]
