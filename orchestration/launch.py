"""Run the daily job here and now: ``python -m orchestration.launch``.

The run is an ordinary one of the Dagster instance in ``DAGSTER_HOME``: it shows in the UI.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import dagster as dg

from orchestration.resources import Platform
from storage import queries


def main() -> int:
    """Returns the exit status: 0 when every asset was made and every check passed."""
    platform = Platform()
    with platform.connect() as conn:
        first = queries.first_interaction(conn)
    if first is None:
        print("There are no interactions: load some first (`feedwright load --help`).")
        return 1
    platform.lake.cover(first.astimezone(UTC).date())

    # Only now: the days of the partitions begin where the lake does.
    from orchestration.definitions import defs
    from orchestration.jobs import daily_job
    from orchestration.schedules import training_request

    request = training_request(platform, datetime.now(UTC), "by hand")
    job = defs.resolve_job_def(daily_job.name)
    with dg.DagsterInstance.get() as instance:
        result = job.execute_in_process(instance=instance, tags=request.tags, raise_on_error=False)
    return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main())
