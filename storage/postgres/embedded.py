"""The embedded Postgres: a private server on a data folder of its own.

It listens only on a Unix socket in a folder of mode 0700, so nobody but the account
that runs it, and root, can connect; within that, no password is asked for. It outlives
the process that started it, until ``stop()``.

Started by root it runs as an existing unprivileged account. No account is
added, and no permission is changed outside the server's own folders. Where that account
cannot reach the data folder (say, below a home folder of mode 0700), the cluster is put
in ``/var/lib/feedwright`` and the data folder keeps a note of the place.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil

from storage.home import make_closed
from storage.postgres.binaries import Account, Binaries, EmbeddedPostgresError, find_binaries
from storage.postgres.place import (
    NOTE,
    OWNER,
    PORT,
    Place,
    choose_place,
    explain_os_error,
    private_folder,
    read_place,
    with_sockets,
)

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

NAME = "feedwright"  # of the role and of the database
MIN_FREE = 256 * 2**20  # bytes
START_SECONDS = 300  # recovery after a crash may take long
STOP_SECONDS = 120

# A server whose starter was killed is still coming up, or the processes of a killed
# server are still leaving: worth a wait.
PREDECESSOR = ('"postmaster.pid" already exists', "pre-existing shared memory block")
PREDECESSOR_SECONDS = 60

# For one developer's machine of 2 cores; what commits stays committed.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",  # Dagster, MLflow and the feed each keep many
    "max_locks_per_transaction": "128",  # many partitions
    "shared_buffers": "256MB",
    "effective_cache_size": "2GB",
    "work_mem": "8MB",  # three workers' hashes fit the 64 MB /dev/shm of a container
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "jit": "off",  # costs more than it gives on queries of milliseconds
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """The server of one data folder. Any number of processes may hold one at once."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        """``settings`` go over ``SERVER_SETTINGS``; a server that runs already keeps its own."""
        self.settings = SERVER_SETTINGS | dict(settings or {})
        self.data_dir = data_dir.expanduser().resolve()

    @property
    def url(self) -> str:
        """Address for libpq.

        Raises:
            EmbeddedPostgresError: the server was never started.
        """
        place = read_place(self.data_dir)
        if place is None:
            raise EmbeddedPostgresError(f"No Postgres was ever started on {self.data_dir}.")
        host = quote(str(place.sockets), safe="")
        return f"postgresql://{NAME}@/{NAME}?host={host}&port={PORT}"

    def is_running(self) -> bool:
        """Whether the server is ready for queries."""
        place = read_place(self.data_dir)
        return place is not None and _is_ready(place)

    def start(self) -> str:
        """Start the server unless it runs, and return its address.

        The first start makes the data folder. Safe in many processes at once.

        Raises:
            EmbeddedPostgresError: no programs, no space, no right to write, or the server
                does not start; the message holds the end of its log.
        """
        if self.is_running():
            return self.url
        with self._lock():
            self._start()
        return self.url

    def stop(self) -> None:
        """Stop the server and wait until it is down. Sessions end; nothing committed is lost.

        Raises:
            EmbeddedPostgresError: it is not down after ``STOP_SECONDS``.
        """
        if read_place(self.data_dir) is None:
            return
        with self._lock():
            self._stop()

    def remove(self) -> None:
        """Stop the server and delete all that it ever made."""
        if not self.data_dir.exists():
            return
        with self._lock() as lock_file:
            place = read_place(self.data_dir)
            if place is not None:
                self._stop()
                for folder in (place.server, place.sockets, place.binaries):
                    if folder.exists():
                        shutil.rmtree(folder)
                if place.base != self.data_dir:
                    (place.base / OWNER).unlink(missing_ok=True)
                    place.base.rmdir()
                    if place.base.parent.name == NAME and not any(place.base.parent.iterdir()):
                        place.base.parent.rmdir()
                (self.data_dir / NOTE).unlink()
            lock_file.unlink()
            if not any(self.data_dir.iterdir()):
                self.data_dir.rmdir()

    # -- steps, all under the lock ---------------------------------------------------

    def _start(self) -> None:
        place = read_place(self.data_dir)
        if place is not None:
            _require_own(place, self.data_dir)
            _give_back(place)
        fresh = place is None or not place.cluster.exists()
        if place is not None and not fresh:
            account = Account.owner_of(place.cluster)
            if os.geteuid() not in (0, account.uid):
                raise EmbeddedPostgresError(
                    f"{place.cluster} belongs to user id {account.uid}. Run as that user, or "
                    "set FEEDWRIGHT_HOME to a folder of your own."
                )
        else:
            account = Account.for_server()
        if place is None:
            place = choose_place(self.data_dir, account)
        if _is_ready(place):  # another process was first
            return
        _require_space(place.base)
        place = with_sockets(place, self.data_dir, account)
        binaries = _reachable_binaries(place, account, fresh)
        if fresh:
            _make_cluster(place, account, binaries)
        for folder in (place.server, place.cluster):
            private_folder(folder, account)
        _forget_dead_postmaster(place)
        _start_server(place, account, binaries, self.settings)

    def _stop(self) -> None:
        place = read_place(self.data_dir)
        if place is None:
            return
        if _postmaster(place) is None:
            if _is_ready(place):
                raise EmbeddedPostgresError(
                    f"Postgres on {self.data_dir} runs, but not as a process that is seen from "
                    "here: stop it from the container or the machine that started it."
                )
            return
        account = Account.owner_of(place.cluster)
        binaries = _reachable_binaries(place, account, fresh=False)
        answer = account.run(
            binaries.folder / "pg_ctl", "stop", "-D", place.cluster,
            "-m", "fast", "-w", "-t", str(STOP_SECONDS),
        )  # fmt: skip
        if answer.returncode != 0 and _postmaster(place) is not None:
            raise EmbeddedPostgresError(
                f"Postgres did not stop: {answer.stderr.strip()}\n{_tail(place.log_file)}"
            )

    @contextmanager
    def _lock(self) -> Iterator[Path]:
        """Keep other processes and threads out; yields the lock file."""
        path = self.data_dir / "lock"
        try:
            while True:
                make_closed(self.data_dir)
                with path.open("a") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    # remove() may have deleted the file while we waited for it
                    if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                        yield path
                        return
        except OSError as error:
            raise EmbeddedPostgresError(explain_os_error(error, self.data_dir)) from error


# -- the server's files and processes --------------------------------------------------


def _is_ready(place: Place) -> bool:
    """Whether a server answers on the socket and says that it takes queries."""
    try:
        status = place.pid_file.read_text().splitlines()[7:8]
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(place.socket))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError as error:
        raise EmbeddedPostgresError(explain_os_error(error, place.server)) from error
    return bool(status) and status[0].strip() == "ready"


def _postmaster(place: Place) -> psutil.Process | None:
    """The server's first process, if the one that its pid file names is really it."""
    try:
        pid = int(place.pid_file.read_text().splitlines()[0])
        process = psutil.Process(pid)
        # not its working directory, which root cannot read in a container without SYS_PTRACE
        return process if _socket_option(place) in process.cmdline() else None
    except (FileNotFoundError, IndexError, psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def _socket_option(place: Place) -> str:
    folder = str(place.sockets).replace('"', '""')
    return f'unix_socket_directories="{folder}"'


def _require_own(place: Place, data_dir: Path) -> None:
    """A cluster outside of the data folder stays where it is when the folder is copied.

    Raises:
        EmbeddedPostgresError: it is not on this machine, or the original goes on using it.
    """
    if place.base == data_dir:
        return
    if not place.base.exists():
        raise EmbeddedPostgresError(
            f"The database of {data_dir} is not on this machine: it was in {place.base}. Copy "
            f"that folder too, with its owner; or, to begin with an empty database, remove "
            f"{data_dir / NOTE}."
        )
    noted = place.base / OWNER
    owner = Path(noted.read_text()) if noted.exists() else data_dir
    if owner != data_dir and read_place(owner) is not None:
        raise EmbeddedPostgresError(
            f"{data_dir} is a copy of {owner}, whose database is in {place.base}: both would write "
            f"to it. Restore a dump into a new FEEDWRIGHT_HOME instead; or, to begin with an empty "
            f"database, remove {data_dir / NOTE}."
        )
    noted.write_text(str(data_dir))


def _give_back(place: Place) -> None:
    """A copy that root made is root's, whom Postgres refuses: it goes to the server's account."""
    if os.geteuid() != 0 or not place.cluster.exists() or Account.owner_of(place.cluster).uid != 0:
        return
    account = Account.for_server()
    for folder in filter(Path.exists, (place.server, place.sockets)):
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _forget_dead_postmaster(place: Place) -> None:
    """Delete lock files whose number now belongs to another program, as after a reboot.

    Postgres does so itself when the number is free; it refuses to start when it is not.
    """
    if _postmaster(place) is None:
        for stale in (place.pid_file, Path(f"{place.socket}.lock")):
            stale.unlink(missing_ok=True)


def _reachable_binaries(place: Place, account: Account, fresh: bool) -> Binaries:
    major = None if fresh else int((place.cluster / "PG_VERSION").read_text())
    binaries = find_binaries(major)
    if binaries.usable_by(account):
        return binaries
    if binaries.in_wheel:
        place.binaries.mkdir(exist_ok=True)
        copy = binaries.copied_to(place.binaries)
        if copy.usable_by(account):
            return copy
    raise EmbeddedPostgresError(
        f"The account that runs Postgres (user id {account.uid}) may not execute the programs in "
        f"{binaries.folder}. Put them where all users can, or set FEEDWRIGHT_DATABASE_URL."
    )


def _make_cluster(place: Place, account: Account, binaries: Binaries) -> None:
    """Make the cluster with its role and database; it appears whole or not at all."""
    unfinished = place.server / "cluster.new"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    locale = ["--encoding=UTF8", "--locale=C"]
    if binaries.major >= 17:  # upper and lower of all letters, the same on every machine
        locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    made = account.run(
        binaries.folder / "initdb", "-D", unfinished, "-U", NAME, "--auth=trust", *locale
    )
    if made.returncode != 0:
        raise _failure("Postgres could not make its data folder", made.stderr, place)
    database = account.run(
        binaries.folder / "postgres", "--single", "-D", unfinished, "postgres",
        stdin=f"CREATE DATABASE {NAME}\n",
    )  # fmt: skip
    if database.returncode != 0 or "ERROR:" in database.stderr:
        raise _failure("Postgres could not make its database", database.stderr, place)
    unfinished.rename(place.cluster)


def _start_server(
    place: Place, account: Account, binaries: Binaries, settings: Mapping[str, str]
) -> None:
    assignments = [f"{name}={value}" for name, value in settings.items()]
    assignments.append(_socket_option(place))
    options = shlex.join([part for each in assignments for part in ("-c", each)])
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    while not _is_ready(place):
        log_start = place.log_file.stat().st_size if place.log_file.exists() else 0
        started = account.run(
            binaries.folder / "pg_ctl", "start", "-D", place.cluster.name,
            "-l", place.log_file.name, "-o", options, "-w", "-t", str(START_SECONDS),
            folder=place.server,  # pg_ctl passes names through a shell, badly quoted
        )  # fmt: skip
        if started.returncode == 0:
            return
        tail = _tail(place.log_file, log_start)
        if not any(sign in tail for sign in PREDECESSOR) or time.monotonic() > deadline:
            raise _failure("Postgres does not start", f"{started.stderr}\n{tail}", place)
        time.sleep(0.2)


# -- what to tell the user -----------------------------------------------------------------


def _failure(what: str, output: str, place: Place) -> EmbeddedPostgresError:
    fix = f"Its log: {place.log_file}"
    if "No space left on device" in output:
        fix = f"The disk of {place.server} is full: free some space and start again."
    return EmbeddedPostgresError(f"{what}. {fix}\n{output.strip()}")


def _tail(path: Path, start: int = 0, lines: int = 20) -> str:
    """The last lines that were written to a log after byte ``start``."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(start, path.stat().st_size - 16_384))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def _require_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE:
        raise EmbeddedPostgresError(
            f"The disk of {folder} is full: {free / 2**20:.0f} MB are free and Postgres needs "
            f"{MIN_FREE / 2**20:.0f} MB. Free some space, or set FEEDWRIGHT_HOME to another disk."
        )
