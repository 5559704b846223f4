"""What only the first start does: load the sample, train the first model."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
from rich.console import Console
from rich.markup import escape

from feedwright.dagster_home import write_dagster_home
from feedwright.environment import ROOT, child_environment, remember
from feedwright.loading import load_into, sample_log, shifted
from feedwright.process import MARK, terminate
from feedwright.supervisor import mark, tail
from models.snapshot import FORMAT, MANIFEST
from storage.settings import Settings

SAMPLE_PROFILE = "social"
TOLD = re.compile(r"(Finished \S+ in|Version \S+:) ")
"""How the lines begin that ``orchestration.launch`` prints for people."""


def has_interactions(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT EXISTS (SELECT FROM feed.interactions)").fetchone()
    return row == (True,)


def champion_version(connection: psycopg.Connection, settings: Settings) -> str | None:
    """Version of the live model. Our own MLflow tables are read directly, since importing
    MLflow takes seconds; a configured server is asked."""
    if settings.mlflow_url is not None:
        from models.registry import Registry

        champion = Registry(settings.mlflow_address, settings.model_name).champion()
        return champion.version if champion else None
    table = connection.execute("SELECT to_regclass('mlflow.registered_model_aliases')").fetchone()
    if table == (None,):
        return None
    row = connection.execute(
        "SELECT version FROM mlflow.registered_model_aliases "
        "WHERE name = %s AND alias = 'champion'",
        [settings.model_name],
    ).fetchone()
    return str(row[0]) if row else None


def is_outdated(settings: Settings, version: str) -> bool:
    """Whether this machine's copy of a model was written by a release that lays it out
    differently: the feed cannot serve it."""
    file = settings.snapshots / version / MANIFEST
    return file.is_file() and json.loads(file.read_text()).get("format") != FORMAT


def load_sample(connection: psycopg.Connection, settings: Settings, console: Console) -> Settings:
    """Load MovieLens 100K, and choose the profile that fits it unless one was chosen."""
    log = shifted(sample_log())
    console.print(f"[dim]{log.notice}[/]", highlight=False, soft_wrap=True)
    load_into(connection, log, console)
    if "profile" in settings.model_fields_set:
        return settings
    console.print(
        f"Profile [bold]{SAMPLE_PROFILE}[/]: it fits films and ratings, which have no places and "
        "no prices. Remembered; FEEDWRIGHT_PROFILE=… chooses another.",
        highlight=False,
        soft_wrap=True,
    )
    return remember(settings, profile=SAMPLE_PROFILE)


def train(settings: Settings, database_url: str, console: Console) -> bool:
    """Run the daily job in a process of its own, its progress shown; whether it succeeded."""
    write_dagster_home(settings)
    log_file = settings.logs / "training.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    environment = child_environment(settings, database_url)
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.launch"],
        env={**environment, MARK: mark(settings.home, "training")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        cwd=ROOT,
        text=True,
        errors="replace",
    )
    try:
        _show(process, log_file, console)
    except BaseException:  # Ctrl-C, or SIGTERM: the child has a session of its own
        terminate(psutil.Process(process.pid), grace=10)
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
    return process.wait() == 0


def _show(process: subprocess.Popen[str], log_file: Path, console: Console) -> None:
    """Write all to the log, and show each step as it ends, and what came of it."""
    assert process.stdout is not None
    with log_file.open("w", encoding="utf-8") as log:
        for line in process.stdout:
            log.write(line)
            log.flush()
            if TOLD.match(line):
                console.print(f"  [dim]{escape(line.strip())}[/]", highlight=False, soft_wrap=True)
            elif "STEP_FAILURE" in line or "RUN_FAILURE" in line:
                failure = line.rpartition(" - ")[2].strip()
                console.print(f"  [red]{escape(failure)}[/]", highlight=False)


def last_words(settings: Settings) -> str:
    """Why the training failed, which is what it says last."""
    lines = [line.strip() for line in tail(settings.logs / "training.log", 30) if line.strip()]
    said = [line.removeprefix("Failed: ") for line in lines if line.startswith("Failed: ")]
    return (said or lines or ["it said nothing"])[-1][:800]


def allow_interrupt() -> None:
    """Undo an ignored SIGINT, as a shell without job control hands it to a process started
    with &: children inherit it, and Dagster then ignores SIGTERM too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
