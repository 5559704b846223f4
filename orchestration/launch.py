"""Run the daily job here and now: ``python -m orchestration.launch``.

The run is an ordinary one of the Dagster instance in ``DAGSTER_HOME``: it shows in the UI. While
another training is on its way, that one's progress is shown instead.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from uuid import uuid4

import dagster as dg

from models.profile.schema import ProfileError
from orchestration.dagster_internals import InMemoryJob, core_execute_in_process
from orchestration.resources import Platform
from orchestration.runs.connections import hold_connections
from storage.catalogue import queries


def main() -> int:
    """Returns the exit status: 0 when every asset was made and every check passed."""
    platform = Platform()
    try:
        _ = platform.profile  # a wrong one is said at once, not by every step
    except ProfileError as error:
        print(f"Failed: {error}")
        return 1
    with platform.connect() as conn:
        first = queries.first_interaction(conn)
    if first is None:
        print("There are no interactions: load some first (`feedwright load --help`).")
        return 1
    platform.lake.cover(first.astimezone(UTC).date())

    # Only now: the days of the partitions begin where the lake does.
    from orchestration import run_log
    from orchestration.daily import daily_job
    from orchestration.runs import going as runs
    from orchestration.training.search import search_job

    with dg.DagsterInstance.get() as instance:
        hold_connections(instance)
        for job in (daily_job, search_job):
            runs.end_dead_runs(instance, job.name)
        other = runs.next_in_line(instance, daily_job.name)
        if other is not None:
            return _follow(instance, other)
        # Others wait for it in the pool, which a run in this process does not ask.
        if runs.going(instance, search_job.name):
            print("A search is on its way: wait for it, or end it in Dagster; it can go on later.")
            return 1
        run_id = str(uuid4())
        instance.add_event_listener(run_id, _tell)
        _execute(platform, instance, run_id)
        return run_log.say_outcome(instance, run_id)


def _execute(platform: Platform, instance: dg.DagsterInstance, run_id: str) -> None:
    from orchestration.daily import daily_job, training_request
    from orchestration.definitions import defs

    # Not `execute_in_process`: it would take another executor than ours.
    core_execute_in_process(
        job=InMemoryJob(defs.resolve_job_def(daily_job.name)),
        instance=instance,
        run_config={},
        run_tags=training_request(platform, datetime.now(UTC), "by hand").tags,
        run_id=run_id,
        raise_on_error=False,
        output_capturing_enabled=False,
    )


def _follow(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int:
    """Show the progress of a training that somebody else started; as ``main``."""
    from orchestration import run_log

    print(
        f"A training is on its way already, run {run.run_id} "
        f"({run.tags.get('feedwright/trigger', 'from Dagster')}). This is its progress; "
        "Ctrl-C leaves it alone.",
        flush=True,
    )
    for entry in run_log.as_it_grows(instance, run.run_id):
        _tell(entry)
    return run_log.say_outcome(instance, run.run_id)


def _tell(entry: dg.EventLogEntry) -> None:
    event = entry.dagster_event
    if event is not None and event.is_step_success:
        seconds = event.step_success_data.duration_ms / 1000
        print(f"Finished {event.step_key} in {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
