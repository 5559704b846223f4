"""What another account of the machine may see of an installation's state: nothing."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.home import PRIVATE, make_closed, tighten
from storage.postgres.embedded import EmbeddedPostgres
from tests.conftest import fast_folder

STRANGER = 43_210  # the uid of nobody at all


@pytest.fixture
def folder() -> Iterator[Path]:
    before = os.umask(PRIVATE)
    try:
        with fast_folder() as found:
            yield found
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def seen_by_a_stranger(folder: Path) -> list[str]:
    """What another account, which knows all names, can read, write or list of ``folder``."""
    paths = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    found = subprocess.run(
        ["find", *paths, "-maxdepth", "0", "(", "-readable", "-o", "-writable", ")"],
        user=STRANGER,
        group=STRANGER,
        extra_groups=[],
        capture_output=True,
        text=True,
    )
    return found.stdout.splitlines()


@pytest.mark.needs_root
def test_a_home_of_an_earlier_release_is_closed_and_its_postgres_starts(folder: Path) -> None:
    home = folder / "home"
    server = EmbeddedPostgres(home / "postgres")
    make_closed(home)
    server.start()
    server.stop()
    home.chmod(0o755)
    server.data_dir.chmod(0o755)
    for path in (home / "lake" / "day=1" / "1.parquet", home / "settings.env"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("personal")
        path.chmod(0o644)
    for opened in (home / "lake", home / "lake" / "day=1"):
        opened.chmod(0o755)
    assert str(home / "lake" / "day=1" / "1.parquet") in seen_by_a_stranger(home)

    make_closed(home)
    tighten(home / "lake")
    for file in (home / "settings.env", server.data_dir / "place.json", server.data_dir / "lock"):
        tighten(file)
    try:
        server.start()
        assert seen_by_a_stranger(home) == []
        assert mode(home) == mode(server.data_dir) == 0o711
    finally:
        server.remove()


def test_all_that_is_ours_is_closed(tmp_path: Path) -> None:
    lists = tmp_path / "serving" / "lists"
    lists.mkdir(parents=True)
    program = tmp_path / "serving" / "run.sh"
    for path, was in ((lists / "data", 0o666), (program, 0o755)):
        path.touch()
        path.chmod(was)
    for path in (lists, tmp_path / "serving"):
        path.chmod(0o777)
    assert tighten(tmp_path / "serving") == 4
    assert [mode(path) for path in (tmp_path / "serving", lists, lists / "data", program)] == [
        0o700, 0o700, 0o600, 0o700,
    ]  # fmt: skip
    assert tighten(tmp_path / "serving") == 0
    assert tighten(tmp_path / "nothing") == 0


def test_a_folder_that_its_owner_cannot_enter_is_mended(tmp_path: Path) -> None:
    made_by_lmdb = tmp_path / "boot"
    made_by_lmdb.mkdir(mode=0o600)
    tighten(made_by_lmdb)
    assert mode(made_by_lmdb) == 0o700


def test_no_link_is_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (elsewhere / "file").chmod(0o644)
    elsewhere.chmod(0o755)
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / "link").symlink_to(elsewhere)
    (tmp_path / "artifacts").symlink_to(elsewhere)
    tighten(lake)
    tighten(tmp_path / "artifacts")
    assert (mode(elsewhere), mode(elsewhere / "file")) == (0o755, 0o644)


def test_a_folder_that_all_share_stays_open(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    make_closed(shared)
    assert mode(shared) == 0o1777
