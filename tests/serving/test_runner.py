"""The runner with real workers: of a Bento that starts fast."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from benchmarks.common.ports import free_port
from serving.launch import ROOT, feed_environment
from serving.telemetry.worker_metrics import keep_counts_of
from storage.settings import Settings

SERVICE = "benchmarks.common.constant:Constant"


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    settings: Settings
    log: Path

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def answers(self) -> bool:
        try:
            url = f"{self.settings.feed_address}/api/v1/feed"
            return httpx.get(url, trust_env=False).text == "{}"
        except httpx.TransportError:
            return False

    def logged(self, message: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]
        return [line for line in lines if line["message"] == message]


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def running(folder: Path, service: str = SERVICE, workers: int = 1) -> Iterator[Running]:
    settings = Settings(home=folder / "home", feed_port=free_port(), feed_workers=workers)
    (folder / "body.json").write_text("{}")
    log = folder / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.runner", service],
            env=feed_environment(settings)
            | {"CONSTANT_BODY": str(folder / "body.json"), "TMPDIR": str(folder)},
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    made = Running(process, settings, log)
    try:
        yield made
    finally:
        process.terminate()
        process.wait(120)


def test_a_worker_that_dies_is_logged_counted_and_replaced(tmp_path: Path) -> None:
    with running(tmp_path) as runner:
        wait_for(runner.answers)
        (first,) = runner.workers()
        first.send_signal(signal.SIGABRT)
        wait_for(lambda: runner.logged("worker died"))
        wait_for(runner.answers)
        (second,) = runner.workers()
        assert second.pid != first.pid
        (died,) = runner.logged("worker died")
        assert (died["pid"], died["signal"]) == (first.pid, "SIGABRT")
        assert "Fatal Python error: Aborted" in runner.log.read_text()  # and where it was
        folder = runner.settings.home / "serving" / "metrics"
        assert counts_in(folder)["feedwright_worker_deaths_total", ("SIGABRT",)] == 1
        assert not list(tmp_path.glob("bentoml-client-*"))


def test_no_worker_outlives_a_runner_that_was_killed(tmp_path: Path) -> None:
    with running(tmp_path, workers=2) as runner:
        wait_for(runner.answers)
        workers = runner.workers()
        assert len(workers) == 2
        runner.process.kill()
        assert psutil.wait_procs(workers, timeout=30)[1] == []


def test_it_ends_when_no_worker_can_start(tmp_path: Path) -> None:
    with running(tmp_path, "benchmarks.common.constant:Missing") as runner:
        assert runner.process.wait(120) == 1
        assert "has no attribute 'Missing'" in runner.log.read_text()


def test_a_second_one_on_the_same_port_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as runner:
        wait_for(runner.answers)
        again = subprocess.run(
            runner.process.args,
            env=feed_environment(runner.settings) | {"CONSTANT_BODY": "unused"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert again.returncode != 0
        assert "Address already in use" in again.stderr
        assert runner.answers()


def test_metrics_after_two_hundred_deaths(tmp_path: Path) -> None:
    for pid in range(1, 201):
        for kind in ("counter", "gauge_livesum"):
            file = MmapedDict(str(tmp_path / f"{kind}_{pid}.db"))
            file.write_value(mmap_key(kind, kind, ["a"], ["b"], "help"), 2.0, 0.0)
            file.close()
        keep_counts_of(pid, tmp_path)
    assert counts_in(tmp_path) == {("counter", ("b",)): 400.0}
    assert len(list(tmp_path.glob("*.db"))) == 1


def counts_in(folder: Path) -> dict[tuple[str, tuple[str, ...]], float]:
    collector = MultiProcessCollector(CollectorRegistry(), str(folder))
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }
