"""The command line as people use it: help, errors, and the shapes that scripts rely on."""

from __future__ import annotations

import gzip
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from benchmarks.common.ports import free_port
from feedwright.cli.app import app
from storage.loading.log import Log
from storage.loading.values.columns import Entity
from storage.loading.values.validation import Checked, checked
from storage.postgres.database import connect
from storage.settings import get_settings

COMMANDS = (
    "up", "down", "status", "load", "map", "rejected", "train", "feed", "logs", "doctor", "env",
    "clean", "evaluate", "version", "models list", "models show", "models activate",
    "models rollback", "profile show", "profile check", "profile use",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installation of its own for each test, with free ports, and nothing from outside."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "PROFILE", "MLFLOW_URL", "DEBUG"):
        monkeypatch.setenv(f"FEEDWRIGHT_{name}", "")  # so that it is put back as it was:
        monkeypatch.delenv(f"FEEDWRIGHT_{name}")  # a command may set it in this process
    monkeypatch.setenv("FEEDWRIGHT_HOME", str(tmp_path / "home"))
    for name in ("FEED", "DAGSTER", "MLFLOW"):
        monkeypatch.setenv(f"FEEDWRIGHT_{name}_PORT", str(free_port()))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def on_database(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FEEDWRIGHT_DATABASE_URL", database)
    return database


def run(*arguments: str, **options: object) -> Result:
    return CliRunner().invoke(app, list(arguments), **options)  # type: ignore[arg-type]


def fails(*arguments: str) -> str:
    """The one line that the command says when it fails."""
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    said = result.stderr.strip()
    assert said.startswith("error: "), said
    assert "\n" not in said
    assert "Traceback" not in result.output
    return said


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Examples" in result.stdout
    assert f"feedwright {command}" in re.sub(r"\s+", " ", result.stdout)


def test_help_names_every_command() -> None:
    shown = run("--help").stdout
    assert all(command.split()[0] in shown for command in COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    heavy = ("dagster", "mlflow", "bentoml", "polars", "pandas", "sqlalchemy", "httpx", "pydantic")
    code = f"import feedwright.cli.app, sys; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           cwd=Path(__file__).parents[2])  # fmt: skip
    assert shown.stdout.strip() == "[]"


def test_a_setting_of_the_wrong_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEEDWRIGHT_FEED_PORT", "http")
    assert "FEEDWRIGHT_FEED_PORT='http'" in fails("status")


def test_a_database_of_another_make_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEEDWRIGHT_DATABASE_URL", "mysql://localhost/shop")
    said = fails("status")
    assert "FEEDWRIGHT_DATABASE_URL" in said
    assert "postgresql://" in said


def test_a_taken_port_is_named_with_its_holder_and_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        monkeypatch.setenv("FEEDWRIGHT_FEED_PORT", str(port))
        said = fails("up")
    assert f"Port {port} is taken by" in said
    assert "FEEDWRIGHT_FEED_PORT=" in said


def test_up_with_a_bad_profile_says_which_field(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: bad\nlightfm: {dims: many}\n")
    said = fails("up", "--profile", "bad.yaml")
    assert "lightfm.dims" in said


def test_a_full_disk_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("U", (), {"free": 2**20}))
    said = fails("up")
    assert "0.0 GiB free" in said
    assert "FEEDWRIGHT_HOME=" in said


def test_profile_check(tmp_path: Path) -> None:
    assert "is good" in run("profile", "check", "events").stdout
    assert "No such file" in fails("profile", "check", "nothing.yaml")
    (tmp_path / "bad.yaml").write_text("name: [")
    assert "not valid YAML" in fails("profile", "check", "bad.yaml")


def test_profile_use_is_remembered_and_gives_way_to_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run("profile", "use", "events")
    monkeypatch.delenv("FEEDWRIGHT_PROFILE")
    get_settings.cache_clear()
    assert get_settings().profile == "events"
    monkeypatch.setenv("FEEDWRIGHT_PROFILE", "social")
    get_settings.cache_clear()
    assert get_settings().profile == "social"


def test_load_of_a_missing_file() -> None:
    assert "nowhere.csv: no such file" in fails("load", "nowhere.csv")


def test_load_wants_one_source() -> None:
    assert "One source" in fails("load")
    assert "One source" in fails("load", "--sample", "--synthetic", "1x1x1")


@pytest.mark.parametrize("size", ["many", "10x10", "10x10x0", "1x2x3x4"])
def test_load_of_a_synthetic_log_of_no_size(size: str) -> None:
    assert "1000x2000x50000" in fails("load", "--synthetic", size)


def test_a_synthetic_log_is_of_the_domain_asked_for_or_else_of_the_profile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def made(*args: str) -> str:
        get_settings.cache_clear()
        result = run("load", "--synthetic", "20x30x200", "--dry-run", *args)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "made-up marketplace" in made()
    assert "made-up events" in made("--domain", "events")
    monkeypatch.setenv("FEEDWRIGHT_PROFILE", "social")
    assert "made-up social network" in made()
    assert "made-up marketplace" in made("--domain", "marketplace")
    assert "--synthetic" in fails("load", "--sample", "--domain", "events")


def test_load_and_rejected(tmp_path: Path, on_database: str) -> None:
    (tmp_path / "interactions.csv").write_text(
        "user_id,item_id,type,occurred_at\n"
        "ann,i1,click,2026-01-01T10:00:00Z\n"
        "o'brien 😀,i2,view,2026-01-01T11:00:00Z\n"
        "ann,i1,teleport,2026-01-01T12:00:00Z\n"
        "ann,i2,view,20026-01-01T12:00:00Z\n"
        "ann,i3,view,2006-01-01T12:00:00Z\n"
    )
    dry = run("load", "interactions.csv", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "nothing is loaded" in dry.stdout
    loaded = run("load", "interactions.csv")
    assert loaded.exit_code == 0, loaded.output
    old = "1 interactions are older than 730 days"
    assert old in (said := " ".join(loaded.stdout.split()))
    assert "--shift-clock" in said
    said = " ".join(run("load", "interactions.csv", "--shift-clock").stdout.split())
    assert old in said
    assert "--shift-clock" not in said  # it did not help
    with connect(on_database) as connection:
        row = connection.execute("SELECT count(*) FROM feed.interactions").fetchone()
    assert row == (3,)
    rejected = json.loads(run("rejected", "--json").stdout)
    assert len(rejected) == 2
    assert all(row["reason"] and row["raw"] for row in rejected)
    assert "teleport" in run("rejected").stdout


def test_load_tells_what_it_did_not_use_and_what_it_made(tmp_path: Path, on_database: str) -> None:
    (tmp_path / "interactions.csv").write_text(
        "user_id,item_id,type,occurred_at,mood,[bold]\n"
        "ann,i1,click,2026-01-01T10:00:00Z,blue,\n"
        "bob,i2,view,2026-01-01T11:00:00Z,red,\n"
    )
    (tmp_path / "items.csv").write_text("id,lng,town\ni1,7,Bonn\n")
    for dry in (["--dry-run"], []):
        shown = run("load", ".", *dry).stdout
        assert "items.csv: not used: lng, town\n" in shown
        assert "interactions.csv: not used: mood, [bold]\n" in shown
    assert "2 users made from interactions alone\n" in shown
    assert "1 item made from interactions alone\n" in shown
    assert "Next: feedwright train" in shown
    assert "made from" not in run("load", ".").stdout


def test_load_fails_when_no_row_of_a_file_can_be_used(tmp_path: Path, on_database: str) -> None:
    (tmp_path / "interactions.csv").write_text(
        "user_id,item_id,type,occurred_at\nann,i1,click,soon\nbob,i2,view,later\n"
    )
    (tmp_path / "items.csv").write_text("id,title\ni1,Saw\n")
    for dry in (["--dry-run"], []):
        result = run("load", ".", *dry)
        assert result.exit_code == 1
        assert "Not one row of interactions.csv can be used" in result.stderr
        assert "2 × interactions: occurred_at: no time that is understood" in result.stdout
        assert "Next" not in result.stdout
    with connect(on_database) as connection:
        assert connection.execute("SELECT id FROM feed.items").fetchall() == [("i1",)]


def test_load_of_a_file_that_is_cut_short(tmp_path: Path, on_database: str) -> None:
    rows = [f"u{n},i{n * n % 9973},click,2026-01-01" for n in range(3_000)]
    whole = gzip.compress("\n".join(["user_id,item_id,type,occurred_at", *rows]).encode())
    (tmp_path / "interactions.csv.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "items.csv").write_text("id,title\ni1,Saw\n")
    assert "--up-to-damage" in fails("load", ".")
    checked = run("load", ".", "--dry-run", "--json")
    assert checked.exit_code == 1
    document = json.loads(checked.stdout)
    good = document["files"]["interactions"]["good"]
    assert f"The {good:,} rows before that can be read" in document["error"]
    assert document["files"]["items"]["good"] == 1
    loaded = run("load", ".", "--up-to-damage")
    assert loaded.exit_code == 0
    assert f"The {good:,} rows before that can be read" in " ".join(loaded.stdout.split())
    with connect(on_database) as connection:
        row = connection.execute("SELECT count(*) FROM feed.interactions").fetchone()
    assert row == (good,)


class PanicException(BaseException):
    """As the Rust code of polars raises it."""


@pytest.mark.parametrize("error", [KeyError("two of one name"), PanicException("at line 3")])
def test_whatever_fails_in_a_dry_run_is_in_its_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def checks(log: Log, entity: Entity) -> Iterator[Checked]:
        if entity == "interactions":
            raise error
        yield from checked(log, entity)

    monkeypatch.setattr("storage.loading.values.validation.checked", checks)
    (tmp_path / "items.csv").write_text("id,title\ni1,Saw\n")
    (tmp_path / "interactions.csv").write_text(
        "user_id,item_id,type,occurred_at\nu1,i1,click,2026-01-01\n"
    )
    result = run("load", ".", "--dry-run", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    (reason,) = document["files"]["interactions"]["reasons"]
    assert type(error).__name__ in reason["reason"]
    assert type(error).__name__ in document["error"]
    assert document["files"]["items"]["good"] == 1


def test_load_without_a_needed_column(tmp_path: Path, on_database: str) -> None:
    (tmp_path / "log.csv").write_text("user_id,item_id\nann,i1\n")
    assert "log.csv" in fails("load", "log.csv")


def test_status_with_everything_down() -> None:
    result = run("status", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert set(document) == {
        "services", "database_problem", "champion", "feed", "counts", "assets", "sample_users",
    }  # fmt: skip
    assert document["database_problem"] is document["feed"] is None
    assert set(document["services"]) == {"feed", "dagster", "mlflow"}
    for service in document["services"].values():
        assert set(service) == {"url", "ready"}
        assert service["url"].startswith("http://")
        assert service["ready"] is False
    assert document["champion"] is None
    assert document["counts"] == dict.fromkeys(("users", "items", "interactions", "rejected"))
    assert document["assets"] == document["sample_users"] == []
    assert "feedwright up" in run("status").stdout


def test_status_counts_and_names_two_users_with_different_histories(on_database: str) -> None:
    assert run("load", "--synthetic", "50x80x2000").exit_code == 0
    result = run("status", "--json")
    assert result.exit_code == 1  # no service, no model
    document = json.loads(result.stdout)
    assert document["counts"]["users"] == 50
    assert document["counts"]["interactions"] == 2000
    one, other = document["sample_users"]
    with connect(on_database) as connection:
        histories = [
            connection.execute(
                "SELECT array_agg(DISTINCT item_id) FROM feed.interactions "
                "WHERE user_id = %s AND type NOT IN ('impression', 'dismiss', 'unapply')",
                [user],
            ).fetchone()
            for user in (one, other)
        ]
    assert histories[0] != histories[1]


def test_feed_of_a_server_that_is_down() -> None:
    assert "feedwright up" in fails("feed", "405")


def test_train_without_data(on_database: str) -> None:
    assert "no data" in fails("train")


def test_logs_before_anything_ran() -> None:
    assert "No logs" in fails("logs")


def test_logs_of_one_and_of_all(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "logs"
    folder.mkdir(parents=True)
    (folder / "feed.log").write_text("served\n")
    (folder / "mlflow.log").write_text("listening\n")
    assert run("logs", "feed").stdout == "served\n"
    assert run("logs").stdout == "feed | served\nmlflow | listening\n"
    assert "feed, mlflow" in fails("logs", "fed")


def test_env_is_for_a_shell(on_database: str) -> None:
    shown = run("env").stdout
    assert "export DAGSTER_HOME=" in shown
    assert "export FEEDWRIGHT_DAGSTER_DATABASE_URL=" in shown
    assert "postgresql+psycopg2://" in shown


def test_doctor_finds_what_is_there() -> None:
    shown = run("doctor").stdout
    for name in ("Python", "C compiler", "Disk", "Memory", "Postgres", "Sample data", "Locale"):
        assert name in shown


def test_clean_removes_our_state_and_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "feed.log").touch()
    (home / "my-notes.txt").write_text("mine")
    assert "--yes" in fails("clean")
    result = run("clean", "--yes")
    assert result.exit_code == 0, result.output
    assert [path.name for path in home.iterdir()] == ["my-notes.txt"]
    (home / "my-notes.txt").unlink()
    run("clean", "--yes")
    assert not home.exists()


def test_down_when_nothing_runs() -> None:
    assert "Nothing was running" in run("down").stdout


def test_an_unexpected_error_is_one_line_unless_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    def boom(*_: object) -> None:
        raise ZeroDivisionError("of a [bold] kind")

    monkeypatch.setattr("feedwright.local.status.status", boom)
    assert "Unexpected ZeroDivisionError: of a [bold] kind" in fails("status")
    assert "Traceback" in run("--debug", "status").stderr
