"""Runs that are on their way."""

from datetime import UTC, datetime, timedelta

import dagster as dg

GOING = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
LONGEST = timedelta(hours=2)


def going(instance: dg.DagsterInstance, *jobs: str, within: timedelta = LONGEST) -> bool:
    """Whether a run of one of the jobs is waiting or running.

    Args:
        within: one that began longer ago counts no more: of a machine that went down under it
            Dagster hears nothing, and would call it running for a day.
    """
    oldest = datetime.now(UTC) - within
    return any(
        instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=GOING, created_after=oldest))
        for job in jobs
    )
