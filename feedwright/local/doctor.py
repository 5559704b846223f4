"""Whether this machine has what Feedwright needs, and how to get what it has not."""

from __future__ import annotations

import locale
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from feedwright.environment import ROOT
from feedwright.errors import FeedwrightError
from feedwright.processes import record as records
from feedwright.processes.ports import holder, is_free
from feedwright.processes.services import addresses
from storage.postgres.binaries import EmbeddedPostgresError, find_binaries
from storage.settings import Settings

GIB = 2**30
NEEDED_DISK = 1 * GIB  # the sample, its models and logs take about half of it
WANTED_DISK = 5 * GIB
WANTED_MEMORY = 4 * GIB  # the servers take about 2


@dataclass(frozen=True)
class Check:
    """One finding. ``essential``: without it nothing starts."""

    name: str
    ok: bool
    finding: str
    fix: str = ""
    essential: bool = False


def examine(settings: Settings) -> list[Check]:
    """All checks, in the order in which they are shown."""
    checks: list[Callable[[Settings], Check]] = [
        python, compiler, home, disk, memory, postgres, database, sample, recommender, text,
    ]  # fmt: skip
    return [check(settings) for check in checks] + ports(settings)


def require_essentials(settings: Settings) -> None:
    """Raises FeedwrightError for the first thing without which nothing starts."""
    for check in (python, home, disk, postgres, recommender):
        checked = check(settings)
        if checked.essential and not checked.ok:
            raise FeedwrightError(f"{checked.finding}.", checked.fix)


def python(settings: Settings) -> Check:
    version = sys.version_info
    return Check(
        "Python",
        (3, 11) <= version < (3, 14),
        f"Python {version.major}.{version.minor}.{version.micro}",
        "Install Python 3.11, 3.12 or 3.13, then: rm -rf .venv; make env",
        essential=True,
    )


def compiler(settings: Settings) -> Check:
    command = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    packages = "Debian: apt-get install gcc libc6-dev python3-dev; macOS: xcode-select --install"
    if command is None:
        return Check("C compiler", False, "none; `make env` needs one for lightfm-next", packages)
    if not headers:
        return Check("C compiler", False, f"{command}, but no Python.h", packages)
    return Check("C compiler", True, command)


def recommender(settings: Settings) -> Check:
    return Check(
        "LightFM",
        find_spec("lightfm") is not None,
        "compiled" if find_spec("lightfm") else "LightFM is not installed",
        "A C compiler, then: make env",
        essential=True,
    )


def home(settings: Settings) -> Check:
    folder = _existing(settings.home)
    ok = os.access(folder, os.W_OK | os.X_OK) and folder.is_dir()
    return Check(
        "State folder",
        ok,
        f"{settings.home}" if ok else f"No right to write to {folder}",
        "Set FEEDWRIGHT_HOME to a folder of your own.",
        essential=True,
    )


def disk(settings: Settings) -> Check:
    free = shutil.disk_usage(_existing(settings.home)).free
    return Check(
        "Disk",
        free >= (NEEDED_DISK if free < NEEDED_DISK else WANTED_DISK),
        f"{free / GIB:.1f} GiB free at {settings.home}, {NEEDED_DISK / GIB:.0f} GiB needed, "
        f"{WANTED_DISK / GIB:.0f} recommended",
        "Free some space, or move the state: FEEDWRIGHT_HOME=/another/disk/feedwright",
        essential=free < NEEDED_DISK,
    )


def memory(settings: Settings) -> Check:
    available = psutil.virtual_memory().available
    return Check(
        "Memory",
        available >= WANTED_MEMORY,
        f"{available / GIB:.1f} GiB available, {WANTED_MEMORY / GIB:.0f} recommended",
        "Close other programs, or set FEEDWRIGHT_FEED_WORKERS=1.",
    )


def postgres(settings: Settings) -> Check:
    if settings.database_url is not None:
        return Check("Postgres", True, "yours, by FEEDWRIGHT_DATABASE_URL", essential=True)
    try:
        binaries = find_binaries()
    except EmbeddedPostgresError as error:
        return Check("Postgres", False, str(error).rstrip("."), "make env", essential=True)
    return Check("Postgres", True, f"Postgres {binaries.major}, embedded", essential=True)


def database(settings: Settings) -> Check:
    from feedwright.local.database import database_address
    from storage.postgres.database import DatabaseError, connect

    try:
        url = database_address(settings)
        if url is None:
            return Check("Database", True, "not started yet")
        connect(url).close()
    except (DatabaseError, EmbeddedPostgresError) as error:
        return Check("Database", False, str(error))
    return Check("Database", True, "answers")


def sample(settings: Settings) -> Check:
    from storage.loading.log import LoadError
    from storage.loading.samples.movielens import sample_path

    try:
        sample_path()
    except LoadError as error:
        return Check("Sample data", False, str(error), "make sample-data")
    return Check("Sample data", True, "MovieLens 100K")


def text(settings: Settings) -> Check:
    encoding = locale.getpreferredencoding(False)
    return Check(
        "Locale",
        encoding.lower().replace("-", "") == "utf8",
        encoding,
        "export LC_ALL=C.UTF-8",
    )


def ports(settings: Settings) -> list[Check]:
    """Free, or held by ourselves."""
    record = records.read(settings.home)
    ours = record is not None and record.is_alive
    checks = []
    for address in addresses(settings):
        if address.name == "mlflow" and settings.mlflow_url is not None:
            continue
        ok = ours or is_free(settings.host, address.port)
        finding = "in use by us" if ours else "free" if ok else f"taken by {holder(address.port)}"
        checks.append(
            Check(
                f"Port {address.port}", ok, f"{address.name}: {finding}",
                f"Stop that, or set {address.port_variable} to another.",
            )
        )  # fmt: skip
    return checks


def _existing(path: Path) -> Path:
    """``path``, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def summary() -> str:
    """Where the program itself is."""
    return f"Python {sys.version.split()[0]} at {sys.executable}, Feedwright at {ROOT}"
