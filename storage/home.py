"""The folder with all state of an installation is closed to other accounts of the machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PRIVATE = 0o077
"""Umask of all our processes: what they write is for their own account alone."""


def make_closed(folder: Path) -> None:
    """Make the home, or a folder on the way to Postgres', if it is not there; mode 0700.

    Root's has 0711. Its embedded Postgres runs as another account, which passes through to its
    own folder and sees nothing on the way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    info = folder.stat()
    mode = 0o711 if info.st_uid == 0 else 0o700
    shared = info.st_mode & stat.S_ISVTX  # such as /tmp
    if info.st_uid == os.geteuid() and stat.S_IMODE(info.st_mode) != mode and not shared:
        folder.chmod(mode)


def tighten(path: Path) -> int:
    """Take from other accounts what they may do with a file, or a folder and all that is in it.

    For state of releases that were less careful. No link is followed, and what belongs to
    somebody else, which only root could change, is left alone.

    Returns:
        How many modes were changed.
    """
    try:
        info = path.lstat()
    except FileNotFoundError:
        return 0
    return _tighten(str(path), info)


def _tighten(path: str, info: os.stat_result) -> int:
    is_folder = stat.S_ISDIR(info.st_mode)
    if info.st_uid != os.geteuid() or not (is_folder or stat.S_ISREG(info.st_mode)):
        return 0
    now = stat.S_IMODE(info.st_mode)
    # A folder that its owner cannot enter is a mistake of py-lmdb's.
    wanted = now & ~0o077 | (0o700 if is_folder else 0)
    changed = 0
    if now != wanted:
        os.chmod(path, wanted)
        changed = 1
    if is_folder:
        with os.scandir(path) as entries:
            for entry in entries:
                changed += _tighten(entry.path, entry.stat(follow_symlinks=False))
    return changed
