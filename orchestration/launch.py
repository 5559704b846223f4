"""Run the daily job here and now: ``python -m orchestration.launch``.

The run is an ordinary one of the Dagster instance in ``DAGSTER_HOME``: it shows in the UI.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from uuid import uuid4

import dagster as dg

from models.profile import ProfileError
from orchestration.connections import hold_connections
from orchestration.resources import Platform
from storage import queries


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
    from orchestration.definitions import defs
    from orchestration.jobs import daily_job, search_job
    from orchestration.retraining import this_process, training_now
    from orchestration.runs import going as runs_of
    from orchestration.schedules import training_request

    request = training_request(platform, datetime.now(UTC), "by hand")
    job = defs.resolve_job_def(daily_job.name)
    with dg.DagsterInstance.get() as instance:
        hold_connections(instance)
        going = training_now(instance, platform.profile.retraining)
        if going is not None:
            print(f"A training is on its way already: run {going.run_id}.")
            return 1
        # Others wait for it in the pool, which a run in this process does not ask.
        if runs_of(instance, search_job.name):
            print("A search is on its way: wait for it, or end it in Dagster; it can go on later.")
            return 1
        run_id = str(uuid4())
        instance.add_event_listener(run_id, _tell)
        result = job.execute_in_process(
            instance=instance,
            tags=dict(request.tags) | this_process(),
            run_id=run_id,
            raise_on_error=False,
        )
        if result.success:
            print(_became(result), flush=True)
            return 0
        print(f"Failed: {'; '.join(_reasons(result))}", flush=True)
        return 1


def _tell(entry: dg.EventLogEntry) -> None:
    event = entry.dagster_event
    if event is not None and event.is_step_success:
        seconds = event.step_success_data.duration_ms / 1000
        print(f"Finished {event.step_key} in {seconds:.1f} s", flush=True)


def _became(result: dg.ExecuteInProcessResult) -> str:
    """What the new version is, in a line."""
    (made,) = result.asset_materializations_for_node("champion")
    told = {name: of.value for name, of in made.metadata.items()}
    quality = ", ".join(
        f"{name} {value:.4f}" for name, value in told.items() if name.startswith("ndcg")
    )
    became = str(told["became"]).removeprefix(f"version {told['candidate']} is ")
    line = f"Version {told['candidate']}: {became}, {quality}"
    if told["live_version"] == told["candidate"]:
        return line
    why = "" if told["refused"] == "no" else f" ({told['refused']})"
    return f"{line}{why}; version {told['live_version']} stays live"


def _reasons(result: dg.ExecuteInProcessResult) -> list[str]:
    """What went wrong, in a line each: failed checks, or else what the failed steps raised."""
    checks = [
        f"check {check.asset_key.to_user_string()}/{check.check_name}: {check.description}"
        for check in result.get_asset_check_evaluations()
        if not check.passed
    ]
    if checks:
        return [*checks, "see `feedwright rejected`"]
    reasons = []
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error is not None:
            error = event.step_failure_data.error
            while error.cause is not None:
                error = error.cause
            lines = [line.strip() for line in error.message.splitlines() if line.strip()]
            reasons.append(f"{event.step_key}: {lines[0] if lines else 'no message'}")
    return reasons or ["see the run in Dagster"]


if __name__ == "__main__":
    sys.exit(main())
