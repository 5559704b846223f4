"""The supervisor with real processes: start, restart, stop, and what a killed one leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from feedwright.environment import ROOT
from feedwright.errors import FeedwrightError
from feedwright.processes import record as records
from feedwright.processes.process import MAX_LOG, Identity, marked, open_log
from feedwright.processes.supervisor import (
    GRACE_SECONDS,
    Supervisor,
    leftovers,
    mark,
    stop_leftovers,
    stop_supervisor,
    tail,
)
from tests.feedwright.fakes import program, web_server


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    stop_leftovers(tmp_path, grace=1)


def answers(url: str | None) -> bool:
    assert url is not None
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def test_starts_all_says_so_and_stops_all(home: Path) -> None:
    services = [web_server("one"), web_server("two", with_worker=True)]
    supervisor = Supervisor(home, home / "logs", services, folder=home)
    said: list[str] = []
    supervisor.start()
    supervisor.wait_ready(lambda name, seconds: said.append(name))
    supervisor.declare_ready()
    assert sorted(said) == ["one", "two"]
    assert all(answers(service.health_url) for service in services)
    record = records.read(home)
    assert record is not None
    assert record.state == "ready"
    assert set(record.services) == {"one", "two"}
    assert len(marked(mark(home))) == 3  # two services, and a worker in a session of its own
    supervisor.stop()
    assert not marked(mark(home))
    assert not any(answers(service.health_url) for service in services)
    assert "listening" in (home / "logs" / "one.log").read_text()


def test_restarts_a_service_that_dies(home: Path) -> None:
    service = web_server("web", with_worker=True)
    supervisor = Supervisor(home, home / "logs", [service], folder=home)
    supervisor.start()
    supervisor.wait_ready()
    first = supervisor.record.services["web"]
    os.kill(first.pid, signal.SIGKILL)

    def is_back() -> bool:
        supervisor.look()
        return supervisor.record.services["web"] != first and answers(service.health_url)

    wait_for(is_back)
    assert len(marked(mark(home))) == 2  # the worker of the dead one went with it
    supervisor.stop()


def test_pause_between_restarts_grows(home: Path) -> None:
    supervisor = Supervisor(
        home, home / "logs", [program("bad", "raise SystemExit(3)")], folder=home
    )
    supervisor.start()
    child = supervisor.children[0]
    pauses = []
    for _ in range(3):
        assert child.process is not None
        child.process.wait()
        supervisor.look()
        pauses.append(child.pause)
        child.start_at = 0.0
        supervisor.look()
    assert pauses == [2.0, 4.0, 8.0]
    supervisor.stop()


def test_a_service_that_never_comes_up_is_named_with_its_last_words(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedwright.processes.supervisor.STARTS_BEFORE_READY", 0)
    service = web_server("web")
    broken = type(service)(
        "web", [sys.executable, "-c", "raise SystemExit('no such table')"], os.environ,
        health_url=service.health_url,
    )  # fmt: skip
    supervisor = Supervisor(home, home / "logs", [broken], folder=home)
    supervisor.start()
    with pytest.raises(FeedwrightError, match=r"web stopped.*no such table"):
        supervisor.wait_ready()
    supervisor.stop()


def test_a_deaf_service_is_killed_after_the_grace_time(home: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)\n"
    supervisor = Supervisor(
        home, home / "logs", [program("deaf", code + "time.sleep(600)")], folder=home, grace=0.3
    )
    supervisor.start()
    wait_for(lambda: "deaf" in "".join(tail(home / "logs" / "deaf.log", 5)))
    began = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - began < GRACE_SECONDS
    assert not marked(mark(home))


@pytest.fixture
def supervisor_process(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.feedwright.fakes", str(home)]
    process = subprocess.Popen(command, cwd=ROOT)

    def is_ready() -> bool:
        record = records.read(home)
        return record is not None and record.state == "ready"

    wait_for(is_ready)
    yield process
    process.kill()
    process.wait()


def test_down_finds_what_a_killed_supervisor_left(
    home: Path, supervisor_process: subprocess.Popen[bytes]
) -> None:
    supervisor_process.kill()
    supervisor_process.wait()
    assert leftovers(home)
    assert stop_supervisor(home) is False
    assert not leftovers(home)
    assert records.read(home) is None


def test_down_stops_a_supervisor_in_another_process(
    home: Path, supervisor_process: subprocess.Popen[bytes]
) -> None:
    assert stop_supervisor(home, patience=10) is True
    assert supervisor_process.poll() is not None
    assert not leftovers(home)


def test_a_pid_that_came_back_is_not_ours() -> None:
    me = Identity.of(os.getpid())
    assert me is not None
    assert me.process() == psutil.Process()
    assert Identity(me.pid, me.created - 100).process() is None
    assert Identity(me.pid, me.created).process() is not None  # of an earlier release
    assert me.since_boot is not None
    assert replace(me, since_boot=me.since_boot - 100).process() is None
    assert replace(me, boot="another").process() is None


@pytest.mark.parametrize("seconds", [-1, 1, 3_600, -3_600])
def test_a_process_is_itself_after_the_clock_was_moved(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """The system tells the start of the machine by its clock, so starts of processes move too."""
    me, before = Identity.of(os.getpid()), psutil.boot_time()
    assert me is not None
    platform = psutil._psplatform  # type: ignore[attr-defined]
    monkeypatch.setattr(platform, "boot_time", lambda: before + seconds)
    moved = psutil.Process(os.getpid()).create_time()
    assert moved == pytest.approx(me.created + seconds, abs=0.01)
    assert me.process() is not None


def test_only_one_supervisor_a_home(home: Path) -> None:
    with records.only_one(home) as first, records.only_one(home) as second:
        assert (first, second) == (True, False)
    with records.only_one(home) as again:
        assert again


def test_half_a_record_is_none(home: Path) -> None:
    (home / "supervisor.json").write_text('{"supervisor": {"pi')
    assert records.read(home) is None


def test_a_long_log_is_put_aside(tmp_path: Path) -> None:
    file = tmp_path / "web.log"
    with file.open("wb") as stream:
        stream.truncate(MAX_LOG + 1)
    os.close(open_log(file))
    assert file.stat().st_size == 0
    assert (tmp_path / "web.old.log").stat().st_size == MAX_LOG + 1
