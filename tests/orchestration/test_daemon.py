"""The real daemon evaluates the sensors of the real code location."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType

ROOT = Path(__file__).parents[2]


def test_a_tick_of_the_daemon(trained, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with (tmp_path / "daemon.log").open("w") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "feedwright.dagster.daemon", "-w", "workspace.yaml"],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        ticks: list = []
        deadline = time.monotonic() + 150
        while time.monotonic() < deadline and not any(tick.is_completed for tick in ticks):
            time.sleep(1)
            states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
            for state in states:
                if state.instigator_name == "guardrail_breach":
                    ticks = list(instance.get_ticks(state.instigator_origin_id, state.selector_id))
            assert daemon.poll() is None, (tmp_path / "daemon.log").read_text()
    finally:
        daemon.terminate()
        daemon.wait(120)
    assert [tick.status.value for tick in ticks if tick.is_completed][:1] == ["SKIPPED"], (
        tmp_path / "daemon.log"
    ).read_text()
