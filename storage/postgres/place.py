"""Where the parts of an embedded Postgres are: chosen once, then noted in its data folder."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from storage.postgres.binaries import Account, EmbeddedPostgresError

log = logging.getLogger(__name__)

PORT = 5432  # only a part of the socket's name
MAX_SOCKET_PATH = 103  # bytes; Linux allows 107, macOS 103
NOTE = "place.json"
OWNER = "owner"
"""File in a base outside of the data folder, with the path of the folder that it is of."""
STATE = Path("/var/lib")


@dataclass(frozen=True)
class Place:
    """The folders of one server."""

    server: Path  # cluster and log, owned by the server's account
    sockets: Path  # owned by the server's account
    binaries: Path  # a copy of the programs, where one is needed

    @property
    def base(self) -> Path:
        return self.server.parent

    @property
    def cluster(self) -> Path:
        return self.server / "cluster"

    @property
    def log_file(self) -> Path:
        return self.server / "postgres.log"

    @property
    def pid_file(self) -> Path:
        return self.cluster / "postmaster.pid"

    @property
    def socket(self) -> Path:
        return self.sockets / f".s.PGSQL.{PORT}"


def read_place(data_dir: Path) -> Place | None:
    """The place noted in ``data_dir``, or None when no server was ever started on it.

    Raises:
        EmbeddedPostgresError: this user may not read the folder.
    """
    try:
        note = json.loads((data_dir / NOTE).read_text())
    except FileNotFoundError:
        return None
    except (PermissionError, NotADirectoryError) as error:
        raise EmbeddedPostgresError(explain_os_error(error, data_dir)) from error
    place = Place(**{name: data_dir / path for name, path in note.items()})
    if not place.sockets.is_relative_to(place.base) and _key(data_dir) not in place.sockets.name:
        # of the folder that this one is a copy of, whose server may run
        place = replace(place, sockets=place.base / "sockets")
    return place


def choose_place(data_dir: Path, account: Account) -> Place:
    """Make and note the folders: in ``data_dir``, or elsewhere if ``account`` cannot enter it.

    Raises:
        EmbeddedPostgresError: there is no folder that the account can enter.
    """
    base = data_dir
    if account.uid != os.geteuid():
        base.chmod(0o711)  # the account passes through to its own folder, and sees no more
        if not account.can_enter(base):
            base = _base_elsewhere(data_dir, account)
    private_folder(base / "server", account)
    place = Place(base / "server", base / "sockets", base / "binaries")
    _keep_note(data_dir, place)
    if base != data_dir:
        (base / OWNER).write_text(str(data_dir))
    return place


def with_sockets(place: Place, data_dir: Path, account: Account) -> Place:
    """``place`` with a private folder for the socket, whose path every client can take.

    Raises:
        EmbeddedPostgresError: there is none.
    """
    temporary = [Path(t) / f"feedwright-{_key(data_dir)}" for t in (tempfile.gettempdir(), "/tmp")]
    choices = [place.sockets, place.base / "sockets", *temporary]
    for sockets in choices:
        chosen = replace(place, sockets=sockets)
        short = len(os.fsencode(chosen.socket)) <= MAX_SOCKET_PATH
        # a comma or a colon in an address ends the name of a host
        if short and not set(",:") & set(str(sockets)) and account.can_enter(sockets.parent):
            private_folder(sockets, account)
            _keep_note(data_dir, chosen)
            return chosen
    raise EmbeddedPostgresError(
        f"No folder for the socket has a path of at most {MAX_SOCKET_PATH} bytes "
        f"(tried {', '.join(map(str, choices))}). Set TMPDIR to a shorter one."
    )


def _base_elsewhere(data_dir: Path, account: Account) -> Path:
    if os.access(STATE, os.W_OK):
        parent = STATE / "feedwright"
        if not parent.exists():
            parent.mkdir()
            parent.chmod(0o755)
        base = parent / _key(data_dir)
    else:
        base = Path(tempfile.gettempdir()) / f"feedwright-data-{_key(data_dir)}"
        log.warning("Postgres keeps its data in %s, which a reboot may empty", base)
    base.mkdir(exist_ok=True)
    if base.is_symlink() or base.lstat().st_uid != os.geteuid():
        raise EmbeddedPostgresError(f"{base} belongs to another user: remove it.")
    base.chmod(0o711)
    if not account.can_enter(base):
        raise EmbeddedPostgresError(
            f"The account that runs Postgres (user id {account.uid}) can reach neither "
            f"{data_dir} nor {base}. Set FEEDWRIGHT_HOME to a folder below one that all users "
            "can enter, or FEEDWRIGHT_DATABASE_URL to a Postgres of your own."
        )
    return base


def _keep_note(data_dir: Path, place: Place) -> None:
    """Write the note; paths inside the folder are relative, so that it can be moved."""
    note = {
        name: str(path.relative_to(data_dir) if path.is_relative_to(data_dir) else path)
        for name, path in asdict(place).items()
    }
    unfinished = data_dir / f"{NOTE}.new"
    unfinished.write_text(json.dumps(note))
    unfinished.rename(data_dir / NOTE)


def _key(data_dir: Path) -> str:
    return hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]


def private_folder(path: Path, account: Account) -> None:
    """Make ``path``, owned by ``account`` and closed to others.

    The temp folder is open to all, so a folder that somebody else put there is refused. One of the
    account's own that was opened, as by ``chmod -R``, is closed again.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    info = path.lstat()
    if info.st_uid == os.geteuid() != account.uid:  # made by us as root, just now
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
        info = path.lstat()
    if stat.S_ISDIR(info.st_mode) and info.st_uid == account.uid and info.st_mode & 0o077:
        path.chmod(0o700)
        info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != account.uid or info.st_mode & 0o077:
        raise EmbeddedPostgresError(
            f"{path} is not a folder that only user id {account.uid} can enter: remove it."
        )


def explain_os_error(error: OSError, folder: Path) -> str:
    """What went wrong with the files of a server in ``folder``, and the fix."""
    if error.errno == errno.ENOSPC:
        return f"The disk of {folder} is full: free some space and start again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return (
            f"Cannot use {error.filename or folder} for the embedded Postgres ({error.strerror}). "
            "Set FEEDWRIGHT_HOME to a folder that you may write to."
        )
    return f"The embedded Postgres on {folder} failed: {error}"
