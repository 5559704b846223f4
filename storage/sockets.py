"""The folder of the Unix sockets by which the processes of one installation talk."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from storage.postgres.binaries import Account
from storage.postgres.place import MAX_SOCKET_PATH, private_folder

LONGEST_NAME = 30  # bytes of a socket's file name


def socket_folder(home: Path) -> Path:
    """A folder of mode 0700 for sockets; made if it is not there. Always the same for one home.

    It is ``<home>/run``, or where the path of a socket would be too long for the system, a
    folder of the temporary one.

    Raises:
        EmbeddedPostgresError: somebody else made a folder of that name.
    """
    folder = home / "run"
    if len(os.fsencode(folder)) + 1 + LONGEST_NAME > MAX_SOCKET_PATH:
        key = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"feedwright-run-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    private_folder(folder, Account(os.geteuid(), os.getegid()))
    return folder
