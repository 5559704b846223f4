"""Moves of the live version, on a real Postgres and a real MLflow store."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner, Result

from feedwright.cli.app import app
from going_live import releases
from going_live.releases import STATUS, Moved, ReleaseError, Releases
from models.versions.version import WITHDRAWN_TAG
from storage.operations.releases import MOVE_LOCK, refusal, withdrawn
from storage.postgres.database import connect
from storage.registry.opening import open_registry
from storage.registry.registry import Registry
from storage.settings import Settings, get_settings
from tests.conftest import TEMPLATE, _fresh

WHO: dict[str, Any] = {"actor": "ann", "reason": "it hurts"}
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def url(postgres_url: str, _server: psycopg.Connection) -> Iterator[str]:
    """One database for the module: MLflow takes seconds to make its tables."""
    yield from _fresh(postgres_url, _server, TEMPLATE)


@pytest.fixture
def settings(url: str, tmp_path) -> Settings:
    """An installation with no model yet."""
    return Settings(home=tmp_path, database_url=url, model_name=f"feed-{uuid4().hex[:8]}")


@pytest.fixture
def conn(url: str) -> Iterator[psycopg.Connection]:
    with connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE feed.withdrawn_versions, feed.audit_log, feed.alerts")
        yield connection


@pytest.fixture
def registry(settings: Settings, url: str) -> Registry:
    return open_registry(settings, url)


@pytest.fixture
def moves(settings: Settings, url: str, conn: psycopg.Connection) -> Releases:
    return Releases.of(settings, url)


@pytest.fixture
def without_mlflow(settings: Settings, url: str, conn: psycopg.Connection) -> Releases:
    away = Settings(**settings.model_dump() | {"mlflow_url": NOWHERE})
    return Releases.of(away, url)


def make(registry: Registry, count: int, *, servable: bool = True) -> None:
    """New versions, bare ones; the last one is challenger."""
    client, name = registry.client, registry.model_name
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    tags = {"snapshot_artifact": "snapshot"} if servable else {}
    made = []
    for _ in range(count):
        run = client.create_run(registry.experiment_id()).info.run_id
        client.log_text(run, "{}", "snapshot/manifest.json")
        made.append(client.create_model_version(name, "nowhere", run_id=run, tags=tags))
    client.set_registered_model_alias(name, "challenger", made[-1].version)


@pytest.fixture
def three(registry: Registry, moves: Releases, conn: psycopg.Connection) -> None:
    """Versions 1, 2 and 3 were live, one after the other."""
    make(registry, 3)
    for version in ("1", "2", "3"):
        registry.activate(version)


def live(registry: Registry) -> str | None:
    champion = registry.champion()
    return champion.version if champion else None


def audited(conn: psycopg.Connection) -> list[tuple]:
    return conn.execute(
        "SELECT action, actor, detail->>'version', detail->>'previous' FROM feed.audit_log"
        " ORDER BY id"
    ).fetchall()


def alerted(conn: psycopg.Connection) -> list[tuple]:
    return conn.execute("SELECT kind, severity, title FROM feed.alerts ORDER BY id").fetchall()


def fails(kind: str, move: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ReleaseError) as caught:
        move(*arguments, **options)
    assert caught.value.kind == kind
    return str(caught.value)


def test_a_version_goes_live(registry, moves, conn) -> None:
    make(registry, 2)
    assert moves.activate("1", **WHO) == Moved("1", None, True, "version 1 is live")
    assert moves.activate("2", **WHO) == Moved("2", "1", True, "version 2 is live")
    assert live(registry) == "2"
    assert moves.activate("2", **WHO).note == "version 2 is live already"
    assert audited(conn) == [
        ("model.activated", "ann", "1", None),
        ("model.activated", "ann", "2", "1"),
    ]
    assert [title for _, _, title in alerted(conn)] == ["Version 1 is live", "Version 2 is live"]


def test_what_cannot_go_live(registry, moves, conn) -> None:
    make(registry, 1, servable=False)
    assert "models list" in fails("unknown_version", moves.activate, "7", **WHO)
    assert "no snapshot" in fails("not_servable", moves.activate, "1", **WHO)
    assert audited(conn) == []


def test_a_rollback_is_noted_told_and_done(registry, moves, conn, three) -> None:
    make(registry, 1)  # a challenger, which stays
    moved = moves.rollback(**WHO)
    assert moved == Moved("2", "3", True, "version 3 is withdrawn, version 2 is live")
    assert live(registry) == "2"
    assert registry.history() == ["1", "2"]
    assert registry.challenger().version == "4"
    assert registry.get("3").tags[WITHDRAWN_TAG] == "it hurts"
    (row,) = withdrawn(conn).values()
    assert (row.version, row.actor, row.reason) == ("3", "ann", "it hurts")
    assert row.done_at is not None
    assert audited(conn) == [("model.rolled_back", "ann", "2", "3")]
    assert alerted(conn) == [
        ("rollback", "warning", "Version 3 is rolled back to version 2: it hurts")
    ]


def test_rollbacks_in_a_row_until_none_is_left(registry, moves, conn, three) -> None:
    assert [moves.rollback(**WHO).version for _ in range(2)] == ["2", "1"]
    assert withdrawn(conn).keys() == {"2", "3"}
    before = audited(conn)
    assert "models activate" in fails("nothing_earlier", moves.rollback, **WHO)
    assert live(registry) == "1"
    assert audited(conn) == before
    assert withdrawn(conn).keys() == {"2", "3"}

    moved = moves.rollback(**WHO, expected="1", automatic=True)
    assert (moved.version, moved.previous, moved.done) == (None, "1", True)
    assert live(registry) is None
    assert registry.history() == []
    assert alerted(conn)[-1] == (
        "rollback", "critical", "Version 1 is rolled back to the heuristic: it hurts"
    )  # fmt: skip
    fails("not_live", moves.rollback, **WHO, expected="1", automatic=True)
    fails("nothing_earlier", moves.rollback, **WHO)
    fails("nothing_earlier", moves.rollback, **WHO, automatic=True)


def test_only_the_expected_version_goes(registry, moves, conn, three) -> None:
    said = fails("not_live", moves.rollback, **WHO, expected="2")
    assert said == "version 2 is not live, version 3 is live; nothing moved"
    assert live(registry) == "3"
    assert withdrawn(conn) == {}


def test_a_withdrawn_version_needs_force(registry, moves, conn, three) -> None:
    moves.rollback(**WHO)
    assert "withdrawn by ann" in fails("refused", moves.activate, "3", **WHO)
    assert live(registry) == "2"
    assert moves.activate("3", force=True, actor="bob", reason="mended").version == "3"
    assert withdrawn(conn) == {}
    assert WITHDRAWN_TAG not in registry.get("3").tags
    assert audited(conn)[1:] == [
        ("model.restored", "bob", "3", None),
        ("model.activated", "bob", "3", "2"),
    ]
    assert moves.rollback(**WHO).version == "2"


def test_a_rollback_passes_over_what_was_withdrawn_or_deleted(registry, moves, conn, three) -> None:
    moved = moves.withdraw("2", **WHO)
    assert (moved.version, moved.done) == ("3", True)
    registry.client.delete_model_version(registry.model_name, "1")
    make(registry, 1)
    moves.activate("4", **WHO)
    assert moves.rollback(**WHO).version == "3"
    fails("nothing_earlier", moves.rollback, **WHO)
    assert live(registry) == "3"


def test_a_version_without_files_never_goes_live(registry, moves, conn, three) -> None:
    """By nobody's will, and not by a rollback either."""
    run = registry.client.get_run(registry.get("2").run_id)
    shutil.rmtree(run.info.artifact_uri.removeprefix("file://"))
    for force in (False, True):
        told = fails("not_servable", moves.activate, "2", **WHO, force=force)
        assert "the files of version 2 are gone" in told
    assert live(registry) == "3"
    assert moves.rollback(**WHO).version == "1"


def test_the_live_version_was_deleted(registry, moves, conn, three) -> None:
    registry.client.delete_model_version(registry.model_name, "3")
    assert live(registry) is None
    moved = moves.rollback(**WHO)
    assert (moved.version, moved.previous) == ("2", None)
    assert live(registry) == "2"
    assert withdrawn(conn) == {}


def test_a_training_that_began_before_a_rollback_waits(registry, moves, conn, three) -> None:
    began = datetime.now(UTC)
    make(registry, 1)
    assert refusal(conn, "4", began) is None
    moves.rollback(**WHO)
    said = fails(
        "refused", moves.activate, "4", actor="pipeline", reason="better", trained_from=began
    )
    assert "after the training of version 4 began" in said
    assert registry.challenger().version == "4"
    assert refusal(conn, "4", datetime.now(UTC) + timedelta(seconds=1)) is None
    assert moves.activate("4", **WHO).version == "4"  # by hand


def test_a_rollback_from_before_the_clock_was_set_back_refuses_no_later_training(
    registry, moves, conn, three
) -> None:
    began = datetime.now(UTC)
    moves.rollback(**WHO)
    conn.execute("UPDATE feed.audit_log SET occurred_at = occurred_at + interval '1 day'")
    assert refusal(conn, "4", began) is None
    ahead = refusal(conn, "4", began + timedelta(hours=23, minutes=59))
    assert ahead is not None, "that training began before the clock was set back too"


def test_mlflow_is_away_and_comes_back(registry, moves, without_mlflow, conn, three) -> None:
    assert "--expected" in fails("registry_away", without_mlflow.rollback, **WHO)
    fails("registry_away", without_mlflow.activate, "2", **WHO)
    assert withdrawn(conn) == {}
    assert audited(conn) == alerted(conn) == []

    for _ in range(2):  # twice is once
        moved = without_mlflow.rollback(**WHO, expected="3")
        assert (moved.version, moved.previous, moved.done) == (None, "3", False)
    assert withdrawn(conn)["3"].done_at is None
    assert audited(conn) == [("model.rolled_back", "ann", None, "3")]
    assert len(alerted(conn)) == 1
    assert [one.done for one in without_mlflow.finish_pending()] == [False]
    assert live(registry) == "3"

    (moved,) = moves.finish_pending()
    assert (moved.version, moved.previous, moved.done) == ("2", "3", True)
    assert live(registry) == "2"
    assert withdrawn(conn)["3"].done_at is not None
    assert audited(conn)[1:] == [("model.rollback_finished", "ann", "2", "3")]
    assert moves.finish_pending() == []
    assert without_mlflow.finish_pending() == []
    assert "'x'" in fails("unknown_version", without_mlflow.rollback, **WHO, expected="x")


def test_a_second_rollback_finishes_the_one_that_waits(
    registry, moves, without_mlflow, conn, three
) -> None:
    without_mlflow.rollback(**WHO, expected="3")
    assert moves.rollback(**WHO).version == "2"  # not 1: it was version 3 that they saw
    assert moves.finish_pending() == []


def test_a_rollback_that_waited_may_leave_none(registry, moves, without_mlflow, conn) -> None:
    make(registry, 1)
    moves.activate("1", **WHO)
    without_mlflow.rollback(**WHO, expected="1")
    (moved,) = moves.finish_pending()
    assert moved.version is None
    assert live(registry) is None


def test_mlflow_goes_away_in_the_middle(
    registry, settings, url, moves, conn, three, monkeypatch
) -> None:
    def fail(*_: object) -> None:
        raise MlflowException("connection refused")

    half = open_registry(settings, url)
    for call in ("set_registered_model_alias", "set_registered_model_tag"):
        with monkeypatch.context() as patch:
            patch.setattr(half.client, call, fail)
            moved = Releases(url, lambda: half).rollback(**WHO)
        assert not moved.done
        assert withdrawn(conn)[str(moved.previous)].done_at is None
        (finished,) = moves.finish_pending()
        assert finished.version == live(registry) == str(int(str(moved.previous)) - 1)
    assert registry.history() == ["1"]

    make(registry, 1)
    with monkeypatch.context() as patch:
        patch.setattr(half.client, "set_registered_model_alias", fail)
        fails("registry_away", Releases(url, lambda: half).activate, "4", **WHO)
    assert live(registry) == "1"
    assert audited(conn)[-1][0] != "model.activated"
    fails("nothing_earlier", moves.rollback, **WHO)  # what was half activated is none


def test_a_challenger_is_withdrawn(registry, moves, without_mlflow, conn, three) -> None:
    make(registry, 2)
    moved = moves.withdraw("5", **WHO)
    assert (moved.version, moved.done) == ("3", True)
    assert registry.challenger() is None
    assert audited(conn) == [("model.withdrawn", "ann", "5", None)]
    assert moves.withdraw("5", **WHO).note == "version 5 was withdrawn before"
    assert len(audited(conn)) == 1
    assert refusal(conn, "4", datetime.now(UTC) - timedelta(minutes=1)) is None  # no rollback
    fails("unknown_version", moves.withdraw, "77", **WHO)

    assert not without_mlflow.withdraw("4", **WHO).done
    assert [one.version for one in moves.finish_pending()] == ["3"]
    assert moves.withdraw("3", **WHO).version == live(registry) == "2"
    assert audited(conn)[-1] == ("model.rolled_back", "ann", "2", "3")


def test_an_alias_given_to_a_withdrawn_version_is_taken_back(registry, moves, conn, three) -> None:
    moves.rollback(**WHO)
    for alias in ("champion", "challenger"):
        registry.client.set_registered_model_alias(registry.model_name, alias, "3")
    (moved,) = moves.finish_pending()
    assert moved.version == live(registry) == "2"
    assert registry.challenger() is None


def test_one_move_at_a_time(registry, moves, conn, three, monkeypatch) -> None:
    monkeypatch.setattr(releases, "WAIT_SECONDS", 0.1)
    conn.execute("SELECT pg_advisory_lock(%s)", (MOVE_LOCK,))
    assert "another move" in fails("busy", moves.rollback, **WHO)
    conn.execute("SELECT pg_advisory_unlock(%s)", (MOVE_LOCK,))
    assert moves.rollback(**WHO).version == "2"


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("home", "database_url", "model_name"):
        monkeypatch.setenv(f"FEEDWRIGHT_{name.upper()}", str(getattr(settings, name)))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_two_at_once_move_once(registry, conn, three, settings, url) -> None:
    def move(_: int) -> Moved | str:
        try:
            return Releases.of(settings, url).rollback(**WHO, expected="3")
        except ReleaseError as error:
            return error.kind

    with ThreadPoolExecutor(2) as pool:
        moved, refused = sorted(pool.map(move, range(2)), key=lambda one: isinstance(one, str))
    assert isinstance(moved, Moved)
    assert (moved.version, moved.previous, moved.done) == ("2", "3", True)
    assert moved.note == "version 3 is withdrawn, version 2 is live"
    # On a slow machine the first takes longer than the second waits for it.
    assert refused in ("not_live", "busy")
    assert live(registry) == "2"
    assert STATUS["not_live"] == 409
    assert len(alerted(conn)) == 1


CRASH = """
import os, signal
from storage.registry.registry import Registry
Registry.withdraw = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from going_live.releases import main
main(["rollback", "--actor", "ann", "--reason", "it hurts"])
"""


def test_a_crash_after_the_note_is_made_good(registry, moves, conn, three, environment) -> None:
    assert subprocess.run([sys.executable, "-c", CRASH], check=False).returncode == -9
    assert live(registry) == "3"
    assert withdrawn(conn)["3"].done_at is None
    assert audited(conn) == [("model.rolled_back", "ann", "2", "3")]
    (moved,) = moves.finish_pending()
    assert moved.version == live(registry) == "2"
    assert withdrawn(conn)["3"].done_at is not None


def test_the_command(registry, conn, three, environment, monkeypatch, capsys) -> None:
    who = ["--actor", "ann", "--reason", "it hurts"]

    def run(*arguments: str) -> dict[str, Any]:
        releases.main([*arguments, *who])
        return json.loads(capsys.readouterr().out)

    assert run("withdraw", "2")["version"] == "3"
    assert run("activate", "2")["error"] == "refused"
    assert run("activate", "2", "--force")["version"] == "2"
    assert run("activate", "9")["error"] == "unknown_version"
    monkeypatch.setenv("FEEDWRIGHT_MLFLOW_URL", NOWHERE)
    get_settings.cache_clear()
    assert run("rollback")["error"] == "registry_away"
    assert run("rollback", "--expected", "2")["done"] is False
    monkeypatch.setenv("FEEDWRIGHT_DATABASE_URL", "postgresql://x@127.0.0.1:9/x")
    get_settings.cache_clear()
    assert run("rollback")["error"] == "database_away"


def test_on_the_command_line(registry, conn, three, environment) -> None:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["models", *arguments])

    done = run("rollback", "--reason", "fewer [b]applies", "--expected", "3")
    assert done.stdout == "Version 3 is withdrawn, version 2 is live.\n"
    assert audited(conn) == [("model.rolled_back", "command line", "2", "3")]
    late = run("rollback", "--expected", "3")
    assert late.exit_code == 1
    assert "error: version 3 is not live, version 2 is live; nothing moved" in late.stderr
    assert "fewer [b]applies" in run("list").stdout
    listed = {one["version"]: one["withdrawn"] for one in json.loads(run("list", "--json").stdout)}
    assert listed == {"1": None, "2": None, "3": "fewer [b]applies"}
    refused = run("activate", "3")
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert run("activate", "3", "--force").stdout == "Version 3 is live.\n"
