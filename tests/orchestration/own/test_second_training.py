"""Commands beside a training that runs: a second `train`, and `down --wait`."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import pytest
import yaml

from models.profile.schema import SHIPPED
from storage.loading.load import load
from storage.postgres.database import connect
from storage.settings import Settings
from tests.orchestration.own.test_small_logs import log_of
from tests.orchestration.test_cancelling import ROOT, wait_for
from tests.orchestration.test_dying import WAITING, locked


def of_one_recommender(folder: Path) -> Path:
    """A profile for trainings where it does not matter who wins."""
    content = yaml.safe_load((SHIPPED / "marketplace.yaml").read_text(encoding="utf-8"))
    file = folder / "one.yaml"
    file.write_text(yaml.safe_dump(content | {"recommenders": {"popularity": {}}}))
    return file


class Command:
    """A `feedwright` command in a process of its own; what it printed is in a file."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "feedwright", *arguments],
                cwd=ROOT, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return " ".join(self.log.read_text().split())

    def says(self, text: str) -> None:
        wait_for(lambda: text in self.said or self.process.poll() is not None, 120, self.said)
        assert text in self.said


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    with ExitStack() as stack:

        def start(name: str, *arguments: str) -> Command:
            made = Command(tmp_path / f"{name}.log", *arguments)
            stack.callback(made.process.wait)
            stack.callback(made.process.kill)
            return made

        yield start


def test_a_second_train_follows_the_first_and_down_waits_for_both(
    small: Settings,
    command: Callable[..., Command],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FEEDWRIGHT_PROFILE", str(of_one_recommender(tmp_path)))
    assert small.database_url is not None
    with connect(small.database_url, autocommit=True) as conn:
        load(conn, log_of())
        with locked(small.database_url, "feed.recommendations"):
            first = command("first", "train")
            wait_for(lambda: conn.execute(WAITING).fetchone(), 120, first.said)
            (run_id,) = conn.execute(WAITING).fetchone() or ("",)
            second, third = command("second", "train"), command("third", "train")
            for follower in (second, third):
                follower.says(f"A training is on its way already, run {run_id} (by hand)")
                follower.says("Finished champion in")
            third.process.send_signal(signal.SIGINT)
            assert third.process.wait(60) != 0
            down = command("down", "down", "--wait")
            down.says("Waiting for the runs of the pipeline")
            assert [one.process.poll() for one in (first, second, down)] == [None] * 3
        for one in (first, second, down):
            assert one.process.wait(200) == 0, one.said
    for one in (first, second):
        assert "Version 1: live" in one.said
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
    assert (run.run_id, run.status) == (run_id, dg.DagsterRunStatus.SUCCESS)
