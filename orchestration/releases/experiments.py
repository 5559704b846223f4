"""Experiments that run: they grow by their ramps, wait on doubt, and are paused on harm."""

from dataclasses import asdict
from datetime import UTC, datetime

import dagster as dg

from going_live.experiment_steps import step_all
from going_live.releases import Releases
from orchestration.policies import TRANSIENT
from orchestration.resources import Platform
from storage.registry.opening import open_registry

LOUD = ("paused", "held", "failed")


@dg.op(retry_policy=TRANSIENT)
def step_experiments(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Count what is new, and do what is due for each experiment that runs."""
    settings, url = platform.settings, platform.url
    steps = step_all(
        url,
        platform.profile,
        settings.environment,
        lambda: open_registry(settings, url),
        Releases.of(settings, url),
        now=datetime.now(UTC),
    )
    for step in steps:
        log = context.log.warning if step.did in LOUD else context.log.info
        log("%s %s: %s", step.experiment, step.did, step.reason)
    rows = [asdict(step) for step in steps]
    context.add_output_metadata({"experiments": len(steps), "steps": dg.MetadataValue.json(rows)})
    failed = [f"{step.experiment}: {step.reason}" for step in steps if step.did == "failed"]
    if failed:
        raise dg.Failure(f"not all experiments could be looked at: {'; '.join(failed)}")


@dg.job(
    name="experiments",
    description="Experiments that run: the next step of a ramp if nothing speaks against it, a "
    "pause if an arm harms, a note if one has won.",
    tags={"feedwright/kind": "experiments"},
)
def experiments_job() -> None:
    step_experiments()


ten_minutely_experiments = dg.ScheduleDefinition(
    name="ten_minutely_experiments",
    job=experiments_job,
    cron_schedule="*/10 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every 10 minutes: what is due for the experiments that run.",
)
