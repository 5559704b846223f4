"""The job `search` for real: cancelled, killed, and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml

from models.profile.schema import Profile
from tests.orchestration.conftest import run_job

WINDOWS = {"windows": 2, "window_share": 0.2}
LONG = {"recommenders": ["als"], "minutes": 5.0, "trials": 1_000, "patience": 1_000, **WINDOWS}


def config_of(**fields) -> dict:
    return {"ops": {"hyperparameter_search": {"config": fields}}}


CHILD = f"""
import sys, time
from pathlib import Path
import dagster as dg
from models.recommenders.factorisation.als import ALS
from tests.orchestration.conftest import run_job
from tests.orchestration.test_search import trials_over
folder, until, waits = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
fit = ALS.fit
def fit_or_wait(self, dataset, *, progress=None):
    if trials_over(folder) >= until:
        waits.touch()
        time.sleep(600)
    return fit(self, dataset, progress=progress)
ALS.fit = fit_or_wait
with dg.DagsterInstance.get() as instance:
    run_job(instance, "search", run_config={config_of(**LONG)!r})
"""
"""A search that waits in the middle of a trial: however quick trials are, it does not end."""


@pytest.fixture
def searches(registry):
    """The runs of searches in MLflow: the parents, and the nested ones."""

    def found() -> tuple[list, list]:
        experiment = registry.experiment_id("-search")
        runs = registry.client.search_runs([experiment], max_results=1_000)
        nested = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
        return [run for run in runs if run not in nested], nested

    return found


def trials_over(folder: Path) -> int:
    """Complete or given up, by the study's journal."""
    lines = "".join(file.read_text() for file in folder.glob("*-als-*.journal")).splitlines()
    states = [(one["op_code"], one.get("state")) for one in map(json.loads, lines)]
    return sum(states.count((6, state)) for state in (1, 2))


def interrupted(folder: Path, number: signal.Signals, trials: int, waits: Path) -> float:
    """Start a search in a process of its own, and end it in the middle of a trial when so many
    more are over; the seconds that the end took."""
    until = trials_over(folder) + trials
    command = [sys.executable, "-c", CHILD, str(folder), str(until), str(waits)]
    child = subprocess.Popen(command, env=os.environ)
    try:
        while not waits.exists():
            assert child.poll() is None, "the search ended by itself"
            time.sleep(0.05)
        began = time.monotonic()
        child.send_signal(number)
        child.wait()
        return time.monotonic() - began
    finally:
        child.kill()
        child.wait()


def test_a_search_that_was_cancelled_or_killed_goes_on(
    trained, instance, registry, searches, platform, tmp_path
) -> None:
    folder = trained.home / "pipeline" / "studies"
    # As Dagster terminates a run. The trial would wait for ten minutes.
    assert interrupted(folder, signal.SIGINT, 3, tmp_path / "first") < 60
    ((parent,), nested) = searches()
    assert parent.info.status == "KILLED"
    assert len(nested) >= 3

    interrupted(folder, signal.SIGKILL, 3, tmp_path / "second")
    ((again,), more) = searches()
    assert again.info.run_id == parent.info.run_id
    assert again.info.status == "RUNNING"  # nobody was left to say so
    assert len(more) >= len(nested) + 3
    (journal,) = folder.glob("*-als-*.journal")

    champion = registry.champion()
    short = LONG | {"trials": len(more) + 4, "recommenders": ["als", "nmf"]}
    result = run_job(instance, "search", run_config=config_of(**short))
    assert result.success
    assert registry.champion() == champion  # it changes nothing
    assert (journal,) == tuple(folder.glob("*-als-*.journal"))
    ((ended,), nested) = searches()
    assert (ended.info.run_id, ended.info.status) == (parent.info.run_id, "FINISHED")
    assert {run.data.tags["mlflow.parentRunId"] for run in nested} == {parent.info.run_id}
    assert {run.data.tags["recommender"] for run in nested} == {"als", "nmf"}
    whole = [run for run in nested if run.data.tags["state"] == "complete"]
    for run in whole:
        assert {"ndcg", "ndcg.window_1", "ndcg.window_2", "seconds"} <= set(run.data.metrics)
        assert "weighted" in run.data.params

    (event,) = result.get_asset_materialization_events()
    shown = {name: str(one.value) for name, one in event.materialization.metadata.items()}
    assert shown["history"].startswith("![plot](data:image/png;base64,")
    path = registry.client.download_artifacts(ended.info.run_id, "search.json")
    rows = {row["recommender"]: row for row in json.loads(Path(path).read_text())["recommenders"]}
    als = rows["als"]
    assert als["trials"] >= len(more)
    assert als["validation_best"] >= als["validation_current"] > 0
    assert 0 <= als["test_p"] <= 1
    assert ended.data.metrics["als.test_best"] == als["test_best"]
    # What it proposes can be pasted.
    lines = Path(registry.client.download_artifacts(ended.info.run_id, "profile.yaml")).read_text()
    assert lines in shown["profile"]
    pasted = Profile.model_validate(
        platform.profile.model_dump(mode="json") | yaml.safe_load(lines)
    )
    assert pasted.recommenders["als"].model_dump()["ridge"] == als["best"]["ridge"]


def test_the_daily_job_does_not_search(trained, instance) -> None:
    from orchestration.definitions import defs

    key = dg.AssetKey("hyperparameter_search")
    job = defs.resolve_job_def("daily")
    assert key not in job.asset_layer.executable_asset_keys
    assert defs.resolve_job_def("search").asset_layer.executable_asset_keys == {key}
    assert defs.resolve_assets_def(key).op.pool == "training"
