"""Two `up` of one home: the second says what became of the first."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.common.ports import free_port
from feedwright.environment import ROOT
from feedwright.errors import FeedwrightError
from feedwright.local.up import wait_for_other
from feedwright.processes import record as records
from feedwright.processes.process import Identity
from storage.settings import Settings

HOLDER = """
import sys, time
from pathlib import Path
from feedwright.processes import record as records
from feedwright.processes.process import Identity
home, state = Path(sys.argv[1]), sys.argv[2]
with records.only_one(home) as alone:
    assert alone
    if state != "none":
        import os
        records.write(home, records.Record(Identity.of(os.getpid()), state))
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    ports = {f"{name}_port": free_port() for name in ("feed", "dagster", "mlflow")}
    return Settings.model_validate({"home": tmp_path / "home", **ports})


def holder(settings: Settings, state: str) -> subprocess.Popen[str]:
    """A process that is another `up`, as far as its lock and its record say."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(settings.home), state],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def first(request: pytest.FixtureRequest, settings: Settings) -> Iterator[subprocess.Popen[str]]:
    process = holder(settings, request.param)
    yield process
    process.kill()
    process.communicate()


class Said(io.StringIO):
    """A terminal that calls back when it is told of a start that is on its way."""

    def __init__(self, waiting: object) -> None:
        super().__init__()
        self.waiting = waiting

    def write(self, text: str) -> int:
        if "starting already" in text:
            self.waiting()  # type: ignore[operator]
        return super().write(text)


@pytest.mark.parametrize("first", ["none", "starting"], indirect=True)
def test_a_first_that_dies_is_told(first: subprocess.Popen[str], settings: Settings) -> None:
    with pytest.raises(FeedwrightError, match="ended before all was ready"):
        wait_for_other(settings, Console(file=Said(first.kill)))


@pytest.mark.parametrize("first", ["none"], indirect=True)
def test_what_an_earlier_one_left_is_not_believed(
    first: subprocess.Popen[str], settings: Settings
) -> None:
    dead = Identity(os.getpid(), 0.0)
    records.write(settings.home, records.Record(dead, "ready"))
    with pytest.raises(FeedwrightError, match="ended before all was ready"):
        wait_for_other(settings, Console(file=Said(first.kill)))


@pytest.mark.parametrize("first", ["starting"], indirect=True)
def test_a_first_that_comes_up_is_waited_for(
    first: subprocess.Popen[str], settings: Settings
) -> None:
    def come_up() -> None:
        record = records.read(settings.home)
        assert record is not None
        record.state = "ready"
        records.write(settings.home, record)

    said = Said(come_up)
    wait_for_other(settings, Console(file=said))
    assert f"Already up, by process {first.pid}" in said.getvalue()


@pytest.mark.parametrize("first", ["stopping"], indirect=True)
def test_a_first_that_stops_is_told(first: subprocess.Popen[str], settings: Settings) -> None:
    with pytest.raises(FeedwrightError, match="on its way down"):
        wait_for_other(settings, Console(file=io.StringIO()))


def test_neither_of_two_that_cannot_start_says_that_all_is_well(settings: Settings) -> None:
    given = {
        f"FEEDWRIGHT_{name.upper()}": str(getattr(settings, name))
        for name in ("home", "feed_port", "dagster_port", "mlflow_port")
    } | {"FEEDWRIGHT_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "feedwright", "up", *options],
            cwd=ROOT, env={**os.environ, **given}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for options in ((), ("--detach",))
    ]  # fmt: skip
    for up in both:
        said, _ = up.communicate(timeout=120)
        assert up.returncode == 1, said
        assert "Already up" not in said
