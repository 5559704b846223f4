"""When training starts by itself, and when it must wait.

Three things keep two trainings apart: nothing starts while one is on its way, one sensor asks
for all reasons there are, and the pool `training` lets runs that were queued all the same go one
after the other.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from models.profile.training_sections import Retraining
from orchestration.resources import Platform
from orchestration.runs.going import GOING, OVER
from orchestration.training.drift import last_drift
from storage.catalogue import queries
from storage.clocks import CLOCKS_DIFFER
from storage.operations import releases

DAILY = "daily"
"""The job that trains."""
STALE_SHARE = 0.5
"""Retrain when the champion has used up this share of the age at which serving gives it up."""
LONGEST_WAIT = timedelta(days=1)


def training_now(instance: dg.DagsterInstance) -> dg.DagsterRun | None:
    """The training that is waiting or running, whoever started it; None: there is none.

    Dagster's monitoring ends one whose process died (``orchestration/runs/launcher.py``).
    """
    runs = instance.get_runs(dg.RunsFilter(job_name=DAILY, statuses=GOING), limit=1)
    return runs[0] if runs else None


def cool_down(
    instance: dg.DagsterInstance,
    rules: Retraining,
    *,
    now: datetime,
    rolled_back_at: datetime | None,
) -> str | None:
    """Why the next training must wait, in a sentence; None: it need not.

    After a success ``min_hours_between``, and after a run that somebody ended. After a failure
    ``failure_hours``, doubled for each failure in a row: bad data would fail again a minute later.
    After a rollback ``failure_hours``: somebody should look first.
    """
    pause = timedelta(hours=rules.failure_hours)
    waits = [(rolled_back_at, pause, "a rollback was")]
    over = instance.get_run_records(dg.RunsFilter(job_name=DAILY, statuses=OVER), limit=10)
    if over:
        failed = [run.dagster_run.status is dg.DagsterRunStatus.FAILURE for run in over]
        in_a_row = failed.index(False) if False in failed else len(failed)
        if in_a_row:
            wait = min(pause * 2 ** (in_a_row - 1), max(LONGEST_WAIT, pause))
            what = f"the last training failed, number {in_a_row} in a row,"
        else:
            wait, what = timedelta(hours=rules.min_hours_between), "the last training ended"
        ended = over[0].end_time or over[0].create_timestamp.timestamp()
        waits.append((datetime.fromtimestamp(ended, UTC), wait, what))
    for at, wait, what in waits:
        if at is not None and at < now + CLOCKS_DIFFER and now < at + wait:
            return f"{what} {_hours(now - at)} ago: the next one waits {_hours(wait)}"
    return None


def _hours(length: timedelta) -> str:
    return f"{length.total_seconds() / 3600:.2g} h"


def reason_to_train(
    platform: Platform, instance: dg.DagsterInstance, *, now: datetime
) -> tuple[str | None, str]:
    """Why to train now, if there is a reason, and how things stand."""
    live, newest = platform.registry.champion(), platform.registry.newest()
    if newest is None:
        return None, "no version yet: the first training is started by hand or by the schedule"
    trained_at = datetime.fromisoformat(newest.trained_at or "1970-01-01T00:00:00+00:00")
    good_since = (live or newest).good_since or trained_at
    age, limit = (
        max(now - good_since, timedelta()),
        platform.profile.serving.max_model_age_hours * STALE_SHARE,
    )
    if live is None and age >= timedelta(hours=platform.profile.retraining.failure_hours):
        return "there is no champion", ""
    if age >= timedelta(hours=limit):
        return f"the champion was found good {_hours(age)} ago", ""
    with platform.connect() as conn:
        count = queries.count_received_since(conn, min(trained_at, now))
    least = platform.profile.retraining.min_new_interactions
    if count >= least:
        return f"{count} new interactions", ""
    # A version that did not go live learnt from the moved data already.
    if (
        live
        and live.version == newest.version
        and last_drift(instance) == (newest.version, "drift")
    ):
        return "the data have drifted: see the asset `drift_report`", ""
    return None, (
        f"{count} new interactions of {least}, no drift, the champion was found good "
        f"{_hours(age)} ago, of {limit:g} h"
    )


def why_not_now(platform: Platform, instance: dg.DagsterInstance, *, now: datetime) -> str | None:
    """What keeps a training from starting, in a sentence; None: nothing."""
    rules = platform.profile.retraining
    if (run := training_now(instance)) is not None:
        return f"a training is on its way: run {run.run_id}"
    with platform.connect() as conn:
        rolled_back_at = releases.last_rollback(conn)
    return cool_down(instance, rules, now=now, rolled_back_at=rolled_back_at)
