"""Runs that are told to end, or die, while Postgres keeps them waiting. All in real processes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._daemon.monitoring import execute_run_monitoring_iteration
from dagster_graphql.test.utils import execute_dagster_graphql

from storage.operations import heartbeats
from storage.postgres.database import connect
from storage.settings import get_settings
from tests.orchestration.test_cancelling import ROOT, TERMINATE, launch, wait_for

CANCELED, FAILURE = dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE
WAITING = (
    "SELECT split_part(application_name, ' ', 3) FROM pg_stat_activity"
    " WHERE application_name LIKE 'feedwright run %' AND wait_event_type = 'Lock'"
)


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """Whoever reads the table waits in Postgres meanwhile."""
    with connect(url) as conn:
        conn.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


@pytest.fixture
def waiting_run(conn: psycopg.Connection) -> Callable[[], str]:
    """Waits for a run whose statement waits; its id."""

    def find() -> str:
        wait_for(lambda: conn.execute(WAITING).fetchone(), 120, "no run waits for the lock")
        return conn.execute(WAITING).fetchone()[0]  # type: ignore[index]

    return find


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    return instance.get_run_by_id(run_id).status  # type: ignore[union-attr]


def waits_no_more(conn: psycopg.Connection, run_id: str) -> bool:
    name = heartbeats.application_name(run_id)
    asked = "SELECT FROM pg_stat_activity WHERE application_name = %s"
    return conn.execute(asked, (name,)).fetchone() is None


@contextmanager
def training(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A training as the command line starts it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestration.launch"],
            cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_sigterm_ends_a_training_while_a_statement_runs(
    trained, instance, conn, waiting_run, tmp_path: Path
) -> None:
    """The statement is ADBC's, which waits in C, and its asset has a retry policy."""
    log = tmp_path / "log"
    with locked(trained.database_url, "feed.users"), training(log) as process:
        run_id = waiting_run()
        process.terminate()
        assert process.wait(60) == 1, log.read_text()  # while the lock is held
        assert waits_no_more(conn, run_id)
    assert status(instance, run_id) is CANCELED
    assert "Failed: it was cancelled" in log.read_text()
    assert heartbeats.last_beat(conn, run_id) is None


def test_a_training_that_was_killed_keeps_nobody_waiting(
    trained, instance, conn, waiting_run, tmp_path: Path
) -> None:
    from orchestration.runs.going import end_dead_runs, next_in_line

    with locked(trained.database_url, "feed.users"), training(tmp_path / "log") as process:
        run_id = waiting_run()
        process.kill()
        process.wait()
        assert next_in_line(instance, "daily").run_id == run_id  # type: ignore[union-attr]

        def ended() -> bool:
            end_dead_runs(instance, "daily")
            return status(instance, run_id) is FAILURE

        wait_for(ended, 240, "it is taken for alive")
        wait_for(lambda: waits_no_more(conn, run_id), 120, "its statement goes on")
    assert next_in_line(instance, "daily") is None


def test_runs_of_the_code_server(
    trained, instance, conn, workspace, waiting_run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is terminated in Dagster; one dies with its code server, on a machine of another name."""
    with locked(trained.database_url, "feed.interactions"):
        terminated = launch(workspace, "trending")
        assert waiting_run() == terminated
        answer = execute_dagster_graphql(
            workspace.create_request_context(), TERMINATE, {"run": terminated}
        ).data["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer
        wait_for(lambda: status(instance, terminated) is CANCELED, 120, "it goes on")
        wait_for(lambda: waits_no_more(conn, terminated), 120, "its statement goes on")

        monkeypatch.setenv("FEEDWRIGHT_RUN_SILENCE_SECONDS", "5")
        get_settings.cache_clear()
        died = launch(workspace, "trending")
        assert waiting_run() == died
        beat = heartbeats.last_beat(conn, died)
        assert beat is not None
        server = int(Path(f"/proc/{beat.pid}/stat").read_text().rpartition(")")[2].split()[1])
        for pid in (server, beat.pid):
            os.kill(pid, signal.SIGKILL)
        conn.execute("UPDATE feed.run_heartbeats SET host = 'another'")

        def look() -> bool:
            assert list(execute_run_monitoring_iteration(workspace, logging.getLogger())) == [None]
            return status(instance, died) is FAILURE

        assert not look()
        wait_for(look, 240, "it is taken for alive")
        wait_for(lambda: waits_no_more(conn, died), 120, "its statement goes on")
    get_settings.cache_clear()
    assert instance.get_run_by_id(died).tags["dagster/will_retry"] == "true"
