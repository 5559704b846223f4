"""Fixtures for all tests: one real Postgres for the session, a fresh database for each test."""

from __future__ import annotations

import compileall
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

# Before anything imports NumPy: threads of two processes on two cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Each HTTP client would read these certificates anew, for 40 ms. Nothing here is encrypted.
os.environ.pop("SSL_CERT_FILE", None)

import hypothesis
import psycopg
import pytest
from _pytest.assertion import rewrite
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from psycopg.conninfo import conninfo_to_dict
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from storage.large_imports import expect_large_imports
from storage.postgres.database import connect, migrate
from storage.postgres.embedded import EmbeddedPostgres
from storage.settings import Settings

expect_large_imports()  # those of all tests
ROOT = Path(__file__).parents[1]
# How long an example takes says how busy the machine is, nothing more.
hypothesis.settings.register_profile("feedwright", deadline=None)
hypothesis.settings.load_profile("feedwright")

# Nor does a call that names no limit of its own: httpx gives up after five seconds.
for kind in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, kind, 60.0)

TEMPLATE = "migrated"
WATCHER = """
import shutil, sys
from pathlib import Path
sys.stdin.read()
folder = Path(sys.argv[1])
if (folder / "postgres").exists():
    from storage.postgres.embedded import EmbeddedPostgres
    EmbeddedPostgres(folder / "postgres").remove()
    shutil.rmtree(folder)
"""
TRAINED = "tests/orchestration/test_"
TOGETHER = (TRAINED, "tests/serving/running/")
"""Files that share an installation that was trained on, or a running service, by the beginning of
their names: one worker takes them all."""
LONGEST = (
    TRAINED,
    "tests/e2e/",
    "tests/benchmarks/",
    "tests/deploy/",
    "tests/orchestration/",
    "tests/serving/running/",
    "tests/upgrade/",
    "tests/feedwright/",
    "tests/serving/",
    "tests/going_live/",
    "tests/models/",
)
"""In the order in which they should begin: the short ones fill what is left at the end."""


class ByInstallation(LoadFileScheduling):
    """The tests of a file go to one worker, and those of files that share what is dear."""

    def _split_scope(self, nodeid: str) -> str:
        shared = (start for start in TOGETHER if nodeid.startswith(start))
        return next(shared, None) or super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByInstallation:
    return ByInstallation(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Compile our modules once where Python keeps no bytecode: tests start many processes. And
    SIGTERM ends the tests as Ctrl-C does: what they started is ended too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.dont_write_bytecode and not hasattr(config, "workerinput"):
        for package in ROOT.glob("*/__init__.py"):
            compileall.compile_dir(package.parent, quiet=2)
    if config.getoption("numprocesses", None):
        _rewrite_assertions(config)


def _rewrite_assertions(config: pytest.Config) -> None:
    """Once, as pytest does it when it imports a test, or each worker would do it for all tests."""
    state = config.stash.get(rewrite.assertstate_key, None)
    if state is None:  # --assert=plain
        return
    for pattern in ("test_*.py", "conftest.py"):
        for file in (ROOT / "tests").rglob(pattern):
            kept = rewrite.get_cache_dir(file) / f"{file.stem}{rewrite.PYC_TAIL}"
            if rewrite._read_pyc(file, kept) is None:
                kept.parent.mkdir(exist_ok=True)
                digest, code = rewrite._rewrite_test(file, config)
                rewrite._write_pyc(state, code, digest, kept)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def position(item: pytest.Item) -> int:
        starts = (at for at, start in enumerate(LONGEST) if item.nodeid.startswith(start))
        return next(starts, len(LONGEST))

    items.sort(key=position)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Any:
    """Where ``CI`` is set, a test that is skipped has failed: there all programs are to be had.
    But nobody becomes root, and Docker is more than a program."""
    report = yield
    marked = any(map(item.get_closest_marker, ("needs_root", "needs_docker")))
    may_skip = hasattr(report, "wasxfail") or marked
    if report.skipped and os.environ.get("CI") and not may_skip:
        report.outcome = "failed"
        report.longrepr = f"In CI nothing is skipped. {_why_skipped(report)}"
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    if os.geteuid() != 0 and item.get_closest_marker("needs_root"):
        pytest.skip("not root, who alone can become another user: sudo make test")
    if item.get_closest_marker("needs_docker") and not has_compose():
        pytest.skip("no Docker with Compose: https://docs.docker.com/compose/install")


def has_compose() -> bool:
    """Whether Docker has its Compose plugin."""
    command = ["docker", "compose", "version"]
    found = shutil.which(command[0]) is not None
    return found and subprocess.run(command, capture_output=True).returncode == 0


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was skipped, and the command that brings what it wants."""
    reasons = Counter(_why_skipped(report) for report in terminalreporter.stats.get("skipped", ()))
    for reason, count in reasons.most_common():
        terminalreporter.line(f"skipped: {count} tests: {reason}", yellow=True)


def _why_skipped(report: pytest.TestReport) -> str:
    assert isinstance(report.longrepr, tuple)
    return report.longrepr[2].removeprefix("Skipped: ")


def url_of(server_url: str, database: str) -> str:
    """``server_url`` with the name of another database."""
    name = conninfo_to_dict(server_url)["dbname"]
    return server_url.replace(f"/{name}?", f"/{database}?", 1)


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A temporary folder that every account can enter, in memory where there is room.

    Below pytest's own folder, only the user that runs the tests can enter.
    """
    memory = Path("/dev/shm")
    roomy = (
        os.access(memory, os.W_OK)
        and shutil.disk_usage(memory).free > 4 * 2**30
        and not os.statvfs(memory).f_flag & os.ST_NOEXEC
    )
    with tempfile.TemporaryDirectory(
        prefix="feedwright-tests-", dir=memory if roomy else None
    ) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Address of an embedded server of this test session."""
    fast = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "512MB"}
    with fast_folder() as folder, _removed_after_death(folder):
        server = EmbeddedPostgres(folder / "postgres", fast)
        try:
            yield server.start()
        finally:
            server.remove()


@contextmanager
def _removed_after_death(folder: Path) -> Iterator[None]:
    """Should this process be killed, another ends the server below ``folder`` and removes both:
    its input ends with this process."""
    watcher = subprocess.Popen(
        [sys.executable, "-c", WATCHER, str(folder)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield
    finally:
        watcher.communicate()


@pytest.fixture(scope="session")
def _server(postgres_url: str) -> Iterator[psycopg.Connection]:
    """A connection that makes and drops databases; the migrated template exists."""
    with connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
        migrate(url_of(postgres_url, TEMPLATE))
        yield connection


@pytest.fixture
def empty_database(postgres_url: str, _server: psycopg.Connection) -> Iterator[str]:
    """Address of a database with nothing in it."""
    yield from _fresh(postgres_url, _server, "template1")


@pytest.fixture
def database(postgres_url: str, _server: psycopg.Connection) -> Iterator[str]:
    """Address of a fresh, migrated database."""
    yield from _fresh(postgres_url, _server, TEMPLATE)


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    """Settings of an installation on ``database``, with its state in ``tmp_path``."""
    return Settings(home=tmp_path / "home", database_url=database, profile="marketplace")


def _fresh(postgres_url: str, server: psycopg.Connection, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    try:
        yield url_of(postgres_url, name)
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")
