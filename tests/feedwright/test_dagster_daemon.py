"""Sensors and schedules after the clock was set back, as Dagster's own daemon evaluates them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs

from feedwright.dagster.daemon import leave_future
from tests.orchestration.test_cancelling import wait_for

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DEFINITIONS = """
import dagster as dg

@dg.op
def nothing(): ...

@dg.job
def idle(): nothing()

@dg.sensor(job=idle, minimum_interval_seconds=5, default_status=dg.DefaultSensorStatus.RUNNING)
def looking(): return dg.SkipReason("it looked")

@dg.schedule(job=idle, cron_schedule="0 * * * *",
             default_status=dg.DefaultScheduleStatus.RUNNING)
def hourly(): return dg.SkipReason("it is time")

defs = dg.Definitions(jobs=[idle], sensors=[looking], schedules=[hourly])
"""

AHEAD = """
import datetime, pathlib, runpy, sys, time
import dagster._time

set_back, real = pathlib.Path(sys.argv.pop(1)), time.time
time.time = lambda: real() + (0 if set_back.exists() else 86_400)
dagster._time._mockable_get_current_timestamp = time.time
dagster._time._mockable_get_current_datetime = lambda: datetime.datetime.fromtimestamp(
    time.time(), datetime.timezone.utc
)
runpy.run_module("feedwright.dagster.daemon", run_name="__main__", alter_sys=True)
"""
"""The daemon with a clock that is a day ahead until a file is there."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkspaceProcessContext]:
    folder = tmp_path_factory.mktemp("daemon")
    file = folder / "definitions.py"
    file.write_text(DEFINITIONS)
    target = PythonFileTarget(str(file), None, str(folder), "here")
    with (
        dg.DagsterInstance.local_temp(str(folder)) as instance,
        create_test_daemon_workspace_context(target, instance) as context,
    ):
        yield context


def ticks(instance: dg.DagsterInstance, kind: InstigatorType) -> list[datetime]:
    """When each was, by its own word, the last evaluated first."""
    (state,) = instance.all_instigator_state(instigator_type=kind)
    found = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    return [
        datetime.fromtimestamp(tick.timestamp, UTC)
        for tick in sorted(found, key=lambda tick: -tick.tick_id)
    ]


def evaluate(workspace: WorkspaceProcessContext, now: datetime) -> tuple[datetime, datetime]:
    """What a daemon that starts then does; the last tick of the sensor and of the schedule."""
    log = logging.getLogger("dagster.daemon")
    with freeze_time(now):
        list(execute_sensor_iteration(workspace, log, None, None))
        list(launch_scheduled_runs(workspace, log, now, {}))
    return (
        ticks(workspace.instance, InstigatorType.SENSOR)[0],
        max(ticks(workspace.instance, InstigatorType.SCHEDULE)),
    )


def test_sensors_and_schedules_go_on_after_the_clock_was_set_back(
    workspace: WorkspaceProcessContext,
) -> None:
    with freeze_time(NOON + DAY - timedelta(minutes=30)):  # schedules begin to count
        list(launch_scheduled_runs(workspace, logging.getLogger(), NOON + DAY, {}))
    assert evaluate(workspace, NOON + DAY) == (NOON + DAY, NOON + DAY)

    later = NOON + timedelta(hours=2)
    assert evaluate(workspace, later) == (NOON + DAY, NOON + DAY), "Dagster alone rests"

    leave_future(workspace.instance, later.timestamp())
    hour = timedelta(hours=1)
    assert evaluate(workspace, later + timedelta(minutes=1))[0] == later + timedelta(minutes=1)
    assert evaluate(workspace, later + hour) == (later + hour, later + hour)


def test_what_is_past_stays_as_it_is(workspace: WorkspaceProcessContext) -> None:
    evaluate(workspace, NOON + 3 * DAY)
    before = workspace.instance.all_instigator_state()
    leave_future(workspace.instance, (NOON + 4 * DAY).timestamp())
    assert workspace.instance.all_instigator_state() == before


def test_a_daemon_whose_clock_is_set_back_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    set_back = tmp_path / "set_back"
    log = tmp_path / "daemon.log"
    with log.open("w") as output:
        daemon = subprocess.Popen(
            [sys.executable, "-c", AHEAD, str(set_back), "-f", str(tmp_path / "definitions.py")],
            env=os.environ | {"DAGSTER_HOME": str(tmp_path)},
            stdout=output,
            stderr=output,
        )
    try:
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:

            def last_tick() -> datetime | None:
                assert daemon.poll() is None, log.read_text()
                if not instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
                    return None
                return next(iter(ticks(instance, InstigatorType.SENSOR)), None)

            tomorrow = datetime.now(UTC) + DAY
            wait_for(lambda: (last_tick() or NOON) >= tomorrow, 120, "no tick")
            set_back.touch()
            wait_for(lambda: (last_tick() or tomorrow) < tomorrow, 120, "no tick after that")
    finally:
        daemon.terminate()
        daemon.wait(120)
    assert "the clock was set back by 86400 s" in log.read_text()
