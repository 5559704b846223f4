"""Runs that are on their way."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import dagster as dg

from orchestration.runs.launcher import HeartbeatRunLauncher
from orchestration.runs.silence import Life, Watch
from storage.settings import get_settings

GOING = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
OVER = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
DAEMON = "MONITORING"
DAEMON_SECONDS = 90.0
"""Dagster's daemon says every 30 s that it is there."""


def going(instance: dg.DagsterInstance, *jobs: str, within: timedelta | None = None) -> bool:
    """Whether a run of one of the jobs is waiting or running.

    Args:
        within: one that began longer ago counts no more.
    """
    oldest = datetime.now(UTC) - within if within is not None else None
    return any(
        instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=GOING, created_after=oldest))
        for job in jobs
    )


def end_dead_runs(instance: dg.DagsterInstance, job: str) -> None:
    """Mark the runs of a job whose processes died; for a command, which may find no daemon that
    has done so. Takes seconds when a run is silent.

    Without a daemon nobody goes on with a run that has not begun, or that is to end. Those in the
    queue wait for the next one.
    """
    watched = _has_daemon(instance)
    for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=GOING)):
        if run.status is dg.DagsterRunStatus.QUEUED:
            continue
        begun = run.status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
        if (begun and _is_dead(instance, run)) or (not begun and not watched):
            instance.report_run_failed(run, "The process that ran it is gone.")


def next_in_line(instance: dg.DagsterInstance, job: str) -> dg.DagsterRun | None:
    """The run of the job that executes or is about to; without a daemon the queue stands still."""
    statuses = (
        GOING if _has_daemon(instance) else [status for status in GOING if status.value != "QUEUED"]
    )
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=statuses))
    return runs[-1] if runs else None


def _is_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    launcher = instance.run_launcher
    if not isinstance(launcher, HeartbeatRunLauncher):
        return False
    watch = Watch(get_settings().run_silence_seconds, hasty=True)
    while (life := launcher.life(run, watch)) is Life.SILENT:
        time.sleep(0.5)
    return life is Life.DEAD


def _has_daemon(instance: dg.DagsterInstance) -> bool:
    beat = instance.get_daemon_heartbeats().get(DAEMON)
    return beat is not None and abs(time.time() - beat.timestamp) < DAEMON_SECONDS
