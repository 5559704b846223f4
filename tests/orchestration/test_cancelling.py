"""A training that somebody terminates in Dagster, by its own launcher and process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_graphql.test.utils import execute_dagster_graphql

from storage.registry import tracking
from tests.orchestration.conftest import LEARNT_FROM

ROOT = Path(__file__).parents[2]
SELECTION = (*LEARNT_FROM, "training_set", "lightfm_hybrid")
LAUNCH = """mutation Launch($params: ExecutionParams!) {
    launchRun(executionParams: $params) {
        ... on LaunchRunSuccess { run { runId } }
        ... on Error { message }
    }
}"""
TERMINATE = """mutation Terminate($run: String!) {
    terminateRun(runId: $run) {
        __typename
        ... on TerminateRunFailure { message }
    }
}"""


def wait_for(true: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def launch(workspace: WorkspaceProcessContext, job: str, *assets: str) -> str:
    """Start a run as the daemon does, of these assets alone where they are named; its id."""
    context = workspace.create_request_context()
    selector: dict[str, object] = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "feedwright",
        "pipelineName": job,
    }
    if assets:
        selector["assetSelection"] = [{"path": [name]} for name in assets]
    params = {"selector": selector, "mode": "default"}
    answer = execute_dagster_graphql(context, LAUNCH, {"params": params}).data["launchRun"]
    run_id = answer["run"]["runId"]
    workspace.instance.launch_run(run_id, context)
    return run_id


def test_a_training_ends_when_it_is_terminated(
    trained, instance: dg.DagsterInstance, registry, workspace: WorkspaceProcessContext
) -> None:
    from orchestration.runs.going import OVER

    before = registry.versions()
    run_id = launch(workspace, "daily", *SELECTION)

    def steps() -> set[str]:
        kind = dg.DagsterEventType.STEP_START
        return {str(one.step_key) for one in instance.all_logs(run_id, of_type=kind)}

    def status() -> dg.DagsterRunStatus:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    wait_for(lambda: "lightfm_hybrid" in steps(), 120, "the training did not begin")
    time.sleep(2)  # into the epochs
    ended = execute_dagster_graphql(
        workspace.create_request_context(), TERMINATE, {"run": run_id}
    ).data["terminateRun"]
    assert ended["__typename"] == "TerminateRunSuccess", ended
    wait_for(lambda: status() in OVER, 240, "it went on training")
    assert status() is dg.DagsterRunStatus.CANCELED
    assert registry.versions() == before
    left = f"tags.{tracking.DAGSTER_RUN} = '{run_id}'"
    assert not registry.client.search_runs([registry.experiment_id()], left)


def test_what_a_process_that_died_left_running_is_ended(trained, registry) -> None:
    """It could mark nothing itself, so the next training does."""
    client, experiment = registry.client, registry.experiment_id()
    tags: list[dict[str, str]] = [
        {tracking.DAGSTER_RUN: "it died"},
        {tracking.DAGSTER_RUN: "it runs"},
        {},
    ]
    died, runs, other = (client.create_run(experiment, tags=one).info.run_id for one in tags)
    tracking.end_abandoned(registry, lambda run: run == "it died")
    states = [client.get_run(one).info.status for one in (died, runs, other)]
    for one in (runs, other):
        client.set_terminated(one)
    assert states == ["KILLED", "RUNNING", "RUNNING"]
