"""`feedwright up` from the first check to the last goodbye."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import httpx
import psutil
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

from feedwright.environment import ROOT
from feedwright.errors import FeedwrightError
from feedwright.local import doctor, first_run, training
from feedwright.local.cleaning import FILES, FOLDERS
from feedwright.local.database import database_address
from feedwright.local.first_run import greet_with_first_keys
from feedwright.local.stages import Stages
from feedwright.local.status import sample_users
from feedwright.processes import record as records
from feedwright.processes.ports import require_free
from feedwright.processes.process import marked, open_log
from feedwright.processes.services import addresses, services
from feedwright.processes.supervisor import (
    Supervisor,
    is_ready,
    leftovers,
    stop_leftovers,
    stop_supervisor,
)
from storage.home import tighten
from storage.operations import heartbeats
from storage.postgres.binaries import EmbeddedPostgresError
from storage.postgres.database import connect
from storage.postgres.embedded import EmbeddedPostgres
from storage.preparation import prepare
from storage.settings import Settings

log = logging.getLogger("feedwright")

POSTGRES_LOOK_SECONDS = 5.0
ALREADY_UP_SECONDS = 600.0


class Stopping(BaseException):
    """Ctrl-C or SIGTERM came."""


def up(settings: Settings, console: Console, *, sample: bool = True) -> None:
    """Start everything, wait until told to stop, and stop everything.

    Raises:
        FeedwrightError, EmbeddedPostgresError, DatabaseError, LoadError: it cannot start;
            what was started by then is stopped again. Or another starts, and does not come up.
    """
    with records.only_one(settings.home) as alone:
        if alone:
            _log_to_file(settings)
            with _stop_signals(), suppress(Stopping):
                _run(settings, console, sample)
            return
    wait_for_other(settings, console)


def detach(settings: Settings, console: Console, *, sample: bool = True) -> None:
    """Run ``up`` in the background, in a session of its own; returns when all is ready.

    Raises:
        FeedwrightError: it does not start.
    """
    if records.is_held(settings.home):
        wait_for_other(settings, console)
        return
    file = settings.logs / "supervisor.log"
    handle = open_log(file)
    shown = file.stat().st_size
    command = [sys.executable, "-m", "feedwright", "up"] + ([] if sample else ["--no-sample"])
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=handle, stderr=handle, start_new_session=True
    )
    try:
        while child.poll() is None and not _is_up(settings, child.pid):
            shown = _print_new(file, shown, console)
            time.sleep(0.2)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise
    finally:
        _print_new(file, shown, console)
    # Without an error it ends too where another was first, or `down` came.
    if child.returncode or not _is_up(settings):
        raise FeedwrightError("It did not start; the reason is above.", f"The whole log: {file}")


def down(settings: Settings, console: Console, *, wait: bool = False) -> None:
    """Stop all that ``up`` started, wherever it runs, and the embedded Postgres.

    Args:
        wait: let the pipeline's runs come to their end first; else they are cancelled.
    """
    if wait:
        _wait_for_runs(settings, console)
    with console.status("Stopping …"):
        was_up = stop_supervisor(settings.home)
        postgres = _embedded(settings)
        if postgres is not None and postgres.is_running():
            postgres.stop()
            was_up = True
    console.print("Stopped. Nothing is lost." if was_up else "Nothing was running.")


def _wait_for_runs(settings: Settings, console: Console) -> None:
    """Wait for those that execute now, and for the commands that show them; Ctrl-C leaves
    everything as it is."""
    url = database_address(settings)
    if url is None:
        return
    commands = marked(training.training_mark(settings))
    with connect(url, autocommit=True) as connection:
        waited = heartbeats.executing(connection)
        if waited or commands:
            console.print("Waiting for the runs of the pipeline …")
        while waited & heartbeats.executing(connection):
            time.sleep(1)
    psutil.wait_procs(commands)


def _run(settings: Settings, console: Console, sample: bool) -> None:
    stages = Stages(console)
    supervisor: Supervisor | None = None
    postgres = _embedded(settings)
    try:
        with stages.stage("checks", "Looking at this machine", "This machine has all it takes"):
            if leftovers(settings.home):
                stop_leftovers(settings.home)
            _close_to_others(settings)
            doctor.require_essentials(settings)
            for address in addresses(settings):
                if address.name != "mlflow" or settings.mlflow_url is None:
                    require_free(settings.host, address.port, address.port_variable)
        # the record shows other shells that this is starting
        supervisor = Supervisor(settings.home, settings.logs, [], folder=ROOT)
        with stages.stage("database", "Starting the database", "Database ready"):
            url = prepare(settings)
        settings, user = _first_run(settings, url, console, stages, sample)
        supervisor = Supervisor(settings.home, settings.logs, services(settings, url), folder=ROOT)
        _start_services(supervisor, console, stages)
        stages.save(settings.home / "timings.json")
        _greet(settings, console, user, stages.total)
        greet_with_first_keys(url, console)
        supervisor.declare_ready()
        _watch(supervisor, postgres)
    finally:
        _stop(supervisor, postgres, settings, console)


def _close_to_others(settings: Settings) -> None:
    """State that earlier releases left open. What Postgres keeps is its own account's."""
    ours = [settings.home / name for name in (*FOLDERS, *FILES)]
    ours += [settings.postgres_dir / name for name in ("lock", "place.json")]
    changed = sum(map(tighten, ours))
    if changed:
        log.info("Closed %d files and folders of %s to other accounts.", changed, settings.home)


def _first_run(
    settings: Settings, url: str, console: Console, stages: Stages, sample: bool
) -> tuple[Settings, str | None]:
    """Data and a model, if there are none; the settings and a user to show the feed of."""
    with connect(url, autocommit=True) as connection:
        if sample and not first_run.has_interactions(connection):
            began = time.monotonic()
            settings = first_run.load_sample(connection, settings, console)
            stages.finish("sample", "Sample data loaded", began)
        users = sample_users(connection)
        champion = first_run.champion_version(connection, settings)
        outdated = champion is not None and first_run.is_outdated(settings, champion)
    if not users:
        console.print("No data yet: [bold]feedwright load PATH[/], then [bold]feedwright train[/].")
    elif champion is None or outdated:
        began = time.monotonic()
        console.print(
            "The model was made by another release. Training anew …"
            if outdated
            else "Training the first model …"
        )
        failed = training.train(settings, url, console)
        if failed is None:
            stages.finish("first_model", "Model trained", began)
        else:
            stages.seconds["first_model"] = time.monotonic() - began
            console.print(
                f"[red]✗[/] The training failed: {escape(failed)}\n"
                "  The feed answers by the heuristic. See the run in Dagster or "
                "[bold]feedwright logs training[/], then [bold]feedwright train[/].",
            )
    return settings, users[0] if users else None


def _start_services(supervisor: Supervisor, console: Console, stages: Stages) -> None:
    began = time.monotonic()
    names = ", ".join(child.service.name for child in supervisor.children)

    def show(name: str, seconds: float) -> None:
        stages.services[name] = seconds
        console.print(f"  [dim]{name} after {seconds:.1f} s[/]", highlight=False)

    console.print(f"Starting {names} …", highlight=False)
    supervisor.start()
    supervisor.wait_ready(show)
    stages.finish("services", "Services ready", began)


def _watch(supervisor: Supervisor, postgres: EmbeddedPostgres | None) -> None:
    """Look after services and the embedded database, for ever; Stopping ends it."""
    next_look = 0.0
    while True:
        supervisor.look()
        if postgres is not None and time.monotonic() >= next_look:
            _revive(postgres)
            next_look = time.monotonic() + POSTGRES_LOOK_SECONDS
        time.sleep(0.5)


def _revive(postgres: EmbeddedPostgres) -> None:
    try:
        if not postgres.is_running():
            log.warning("The database is down; it starts again.")
            postgres.start()
    except EmbeddedPostgresError as error:
        log.error("The database does not start: %s", error)


def _stop(
    supervisor: Supervisor | None,
    postgres: EmbeddedPostgres | None,
    settings: Settings,
    console: Console,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # stop once, and to the end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if supervisor is None:
        return
    console.print("\nStopping …")
    supervisor.stop()
    stop_leftovers(settings.home)  # a training may have been under way
    if postgres is not None:
        postgres.stop()
    records.remove(settings.home)
    console.print("Stopped. Nothing is lost; `feedwright up` goes on from here.")


def _embedded(settings: Settings) -> EmbeddedPostgres | None:
    return EmbeddedPostgres(settings.postgres_dir) if settings.database_url is None else None


@contextmanager
def _stop_signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise Stopping once; later ones change nothing."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda number, frame: None)
        raise Stopping

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def wait_for_other(settings: Settings, console: Console) -> None:
    """Wait until all that another `up` of this home starts is ready.

    Raises:
        FeedwrightError: it ended before, is on its way down, or takes too long.
    """
    deadline = time.monotonic() + ALREADY_UP_SECONDS
    warned = False
    while not _is_up(settings):
        record = records.read(settings.home)
        if not records.is_held(settings.home):
            raise FeedwrightError(
                "The other `feedwright up` of this home ended before all was ready.",
                f"Its log: {settings.logs / 'supervisor.log'}. Start again: feedwright up",
            )
        if (record and record.state == "stopping") or time.monotonic() > deadline:
            raise FeedwrightError(
                "Another `feedwright up` of this home is on its way down.",
                "Try again in some seconds.",
            )
        if not warned:
            console.print("It is starting already …")
            warned = True
        time.sleep(0.5)
    record = records.read(settings.home)
    pid = record.supervisor.pid if record else "?"
    console.print(f"Already up, by process {pid}.", highlight=False)
    _show_addresses(settings, console)


def _is_up(settings: Settings, pid: int | None = None) -> bool:
    """Whether a supervisor, that with ``pid`` if it is named, lives and says that all is ready."""
    record = records.read(settings.home)
    return (
        record is not None
        and record.state == "ready"
        and pid in (None, record.supervisor.pid)
        and record.is_alive
    )


def _greet(settings: Settings, console: Console, user: str | None, seconds: float) -> None:
    console.print(f"\n[bold green]Feedwright is up[/] [dim]after {seconds:.1f} s[/]\n")
    _show_addresses(settings, console)
    if user is not None:
        console.print("A user's feed:", highlight=False)
        console.print(
            f"  {feed_curl(settings, user)}", highlight=False, soft_wrap=True, markup=False
        )
    console.print("To stop: Ctrl-C here, or [bold]make down[/] ([bold]feedwright down[/]).")


def feed_curl(settings: Settings, user: str) -> str:
    """A command to paste that asks for ``user``'s feed."""
    address = httpx.URL(
        f"{settings.feed_address}/api/v1/feed", params={"user_id": user, "limit": 5}
    )
    quoted = str(address).replace("'", "%27")
    return f"curl -s '{quoted}'"


def _show_addresses(settings: Settings, console: Console) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    with httpx.Client(timeout=2.0, trust_env=False) as client:
        for address in addresses(settings):
            ready = "[green]ready[/]" if is_ready(client, address.health_url) else "[red]down[/]"
            table.add_row(f"[bold]{address.name}[/]", address.url, ready, f"[dim]{address.what}[/]")
    console.print(table)


def _print_new(file: Path, shown: int, console: Console) -> int:
    with file.open("rb") as stream:
        stream.seek(shown)
        text = stream.read()
    if text:
        console.print(text.decode(errors="replace"), end="", markup=False, highlight=False)
    return shown + len(text)


def _log_to_file(settings: Settings) -> None:
    """Warnings of the supervisor go to the terminal and, unless that is it, to its log."""
    log.setLevel(logging.INFO)
    log.handlers.clear()
    log.addHandler(RichHandler(show_path=False, markup=False))
    if sys.stdout.isatty():
        settings.logs.mkdir(parents=True, exist_ok=True)
        to_file = logging.FileHandler(settings.logs / "supervisor.log", encoding="utf-8")
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(to_file)
