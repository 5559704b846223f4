"""What a training leaves in MLflow: parameters, metrics, the dataset, the model."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Dataset as LoggedDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from numpy.typing import NDArray

from models.catalogue.building import Vectors
from models.catalogue.snapshots.snapshot import FEATURES
from models.catalogue.tables.stored import table_arrays, table_settings
from models.data.feature_set import FeatureSet
from models.data.ragged import Ragged
from models.evaluation.comparison import Comparison
from models.recommenders.base import Dataset
from models.versions.config import Config
from models.versions.lineage import Lineage
from models.versions.version import FEATURES_TAG, ModelVersion, metric_name
from storage.registry.registry import Registry

ROOT = Path(__file__).parents[2]
DAGSTER_RUN = "dagster_run_id"
"""Tag of a run in MLflow: the run of the pipeline that it belongs to."""
LONGEST_TAG = 5_000


def code_version() -> str:
    """The commit that runs, with ``+changes`` if files differ; else the release."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return commit + ("+changes" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        pass  # not a checkout, or no git: the release says enough
    try:
        return version("feedwright")
    except PackageNotFoundError:
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@contextmanager
def run(
    registry: Registry,
    *,
    name: str,
    pipeline_run: str,
    began: datetime,
    tags: Mapping[str, str],
    params: Mapping[str, object],
    fingerprint: str,
    source: str,
) -> Iterator[str]:
    """The run in MLflow of one training, with its parameters and dataset; yields its id.

    A second try of the same run of the pipeline goes on with the run that the first left. The run
    is marked as failed when the block raises, as killed when it is interrupted: it would stay
    running.
    """
    client, experiment = registry.client, registry.experiment_id()
    runs = client.search_runs([experiment], f"tags.{DAGSTER_RUN} = '{pipeline_run}'")
    if runs:
        run_id = runs[0].info.run_id
        client.update_run(run_id, status="RUNNING")
    else:
        run_id = client.create_run(
            experiment,
            start_time=int(began.timestamp() * 1000),
            run_name=name,
            tags={**tags, DAGSTER_RUN: pipeline_run},
        ).info.run_id
        client.log_batch(run_id, params=[Param(key, str(value)) for key, value in params.items()])
        dataset = LoggedDataset("interactions", fingerprint, "lake", source)
        tag = InputTag("mlflow.data.context", "training")
        client.log_inputs(run_id, [DatasetInput(dataset, [tag])])
    try:
        yield run_id
    except BaseException as error:
        client.set_terminated(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    client.set_terminated(run_id)


def end_abandoned(registry: Registry, over: Callable[[str], bool]) -> None:
    """Mark runs as killed whose process died before it could.

    Args:
        over: whether the pipeline's run of that id has ended.
    """
    running = registry.client.search_runs(
        [registry.experiment_id()], "attributes.status = 'RUNNING'"
    )
    for run in running:
        pipeline = run.data.tags.get(DAGSTER_RUN)
        if pipeline is not None and over(pipeline):
            registry.client.set_terminated(run.info.run_id, "KILLED")


def log_comparison(registry: Registry, run_id: str, comparison: Comparison) -> None:
    """The winner's metrics under their own names, the others' under ``<recommender>.``."""
    now = int(time.time() * 1000)
    metrics = []
    for evaluation in comparison.evaluations:
        prefix = "" if evaluation.recommender == comparison.winner else f"{evaluation.recommender}."
        metrics += [
            Metric(prefix + metric_name(name), value, now, 0)
            for name, value in evaluation.metrics.items()
        ]
    tags = {"winner": comparison.winner, "verdict": comparison.verdict} | {
        f"left_out.{name}": why[:LONGEST_TAG] for name, why in comparison.failed.items()
    }
    registry.client.log_batch(
        run_id, metrics=metrics, tags=[RunTag(name, text) for name, text in tags.items()]
    )
    registry.client.log_dict(run_id, {"rows": comparison.table().to_dicts()}, "evaluation.json")


def log_ranker(registry: Registry, run_id: str, report: Mapping[str, Any]) -> None:
    """How the training of the ranker went: ``ranker_report.json``, and as metrics ``ranker.…``,
    of actions ``ranker.actions.<name>.…``."""
    now, names = int(time.time() * 1000), ("log_loss", "base_log_loss", "ndcg", "base_ndcg")
    values = {name: report[name] for name in (*names, "not_worse")}
    if actions := report["actions"]:
        values |= {name: actions[name] for name in ("value", "ranker_value")}
        for action, of_action in actions["of"].items():
            values |= {f"actions.{action}.{name}": value for name, value in of_action.items()}
    metrics = [Metric(f"ranker.{name}", float(value), now, 0) for name, value in values.items()]
    registry.client.log_batch(run_id, metrics=metrics)
    registry.client.log_dict(run_id, dict(report), "ranker_report.json")


def register(
    registry: Registry,
    run_id: str,
    *,
    vectors: Vectors,
    dataset: Dataset,
    comparison: Comparison,
    trained_at: datetime,
    lineage: Lineage | None = None,
) -> ModelVersion:
    """Log the model, and make it a version.

    The version has no alias: it has no snapshot yet, so nothing could serve it. A run has one
    version: a second try goes on with the one that the first made.
    """
    from storage.registry.pyfunc import log_recommender

    same_run = f"name = '{registry.model_name}' and run_id = '{run_id}'"
    for earlier in registry.client.search_model_versions(same_run):
        return registry.get(str(earlier.version))
    features = FeatureSet.of(dataset.user_features, dataset.item_features)
    with tempfile.TemporaryDirectory() as folder:
        path, names = Path(folder) / "recommender.npz", Path(folder) / FEATURES
        names.write_bytes(features.to_bytes())
        registry.client.log_artifact(run_id, str(names))
        np.savez(
            path,
            users=vectors.users,
            items=vectors.items,
            bias=vectors.bias,
            features=features.digest,
            user_offsets=dataset.users.offsets,
            user_data=dataset.users.data,
            item_offsets=dataset.items.offsets,
            item_data=dataset.items.data,
            tables=json.dumps(
                {name: table_settings(table) for name, table in vectors.tables.items()}
            ),
            blend=json.dumps(asdict(vectors.blend)),
            **_histories(dataset, vectors),  # type: ignore[arg-type]
            **table_arrays(vectors.tables),  # type: ignore[arg-type]
        )
        logged = log_recommender(registry.client, run_id, path, names)
    if lineage is not None:
        registry.client.log_dict(run_id, lineage.to_dict(), "lineage.json")
    return registry.register(
        run_id,
        logged.model_uri,
        {
            "recommender": comparison.winner,
            "trained_at": trained_at.isoformat(),
            "model_id": logged.model_id or "",
            "verdict": comparison.verdict,
            "recipe": Config.of(comparison.winner, dataset.profile).to_json(),
            FEATURES_TAG: features.digest,
            **(lineage.tags() if lineage else {}),
        },
    )


def _histories(dataset: Dataset, vectors: Vectors) -> dict[str, NDArray]:
    """What tables are asked with, as arrays; nothing where there are no tables."""
    if not vectors.tables:
        return {}
    users = np.arange(len(dataset.users))
    liked = Ragged.of(dataset.matrix.liked)
    recent = dataset.histories.newest(users)
    return {f"liked.{name}": array for name, array in liked._asdict().items()} | {"recent": recent}


def log_gate(registry: Registry, version: ModelVersion, report: Mapping[str, object]) -> None:
    """Keep what the gate found: the artifact ``gate.json`` of the version's run."""
    registry.client.log_dict(version.run_id, dict(report), "gate.json")
