"""An ordinary user for tests that root runs, with a Python that this user may execute."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NAME = "games"
"""An account that every Linux has and nobody uses."""


@dataclass(frozen=True)
class Ordinary:
    """
    Attributes:
        python: with the packages of this process.
        variables: that it needs.
    """

    uid: int
    gid: int
    python: str
    variables: Mapping[str, str]

    def run(self, *command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        """As ``subprocess.run``, as this user."""
        return subprocess.run(
            command,
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            **options,  # type: ignore[call-overload]
        )

    def own(self, folder: Path) -> None:
        """Give to this user what root put there."""
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def ordinary_user(folder: Path, code: Path) -> Ordinary | None:
    """An ordinary user who may execute the packages in ``code``.

    Where root has Python below its own home, a copy goes to ``folder``, which all may enter.

    Returns:
        None: this process is an ordinary one itself, or only root may read ``code``.
    """
    if os.geteuid() != 0:
        return None
    account = pwd.getpwnam(NAME)
    found = Ordinary(account.pw_uid, account.pw_gid, sys.executable, {})
    if not _can_execute(found, Path(sys.executable)):
        python, libraries = _copied_python(folder)
        found = Ordinary(found.uid, found.gid, str(python), {"LD_LIBRARY_PATH": str(libraries)})
    return found if _can_execute(found, code / "feedwright" / "__main__.py") else None


def _can_execute(user: Ordinary, path: Path) -> bool:
    test = "-x" if os.access(path, os.X_OK) else "-r"
    return user.run("test", test, path, cwd="/").returncode == 0


def _copied_python(folder: Path) -> tuple[Path, Path]:
    """An environment like this one on a copy of its Python; also the folder of its libraries."""
    original = Path(sys.base_prefix)
    standard = Path(sysconfig.get_path("stdlib"))
    packages = Path(sysconfig.get_path("purelib"))
    base, environment = folder / "base", folder / "environment"
    (base / "bin").mkdir(parents=True)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(original / "bin" / name, base / "bin" / name)
    unneeded = shutil.ignore_patterns("site-packages", "test", "config-*")
    shutil.copytree(standard, base / "lib" / standard.name, ignore=unneeded)
    for library in (original / "lib").glob("libpython*.so*"):
        shutil.copy(library, base / "lib")
    (environment / "bin").mkdir(parents=True)
    (environment / "lib" / name).mkdir(parents=True)
    (environment / "lib" / name / "site-packages").symlink_to(packages)
    (environment / "bin" / "python").symlink_to(base / "bin" / name)
    (environment / "pyvenv.cfg").write_text(f"home = {base / 'bin'}\n")
    return environment / "bin" / "python", base / "lib"
