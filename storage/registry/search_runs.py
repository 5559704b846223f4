"""What a search leaves in MLflow: a run of the search, and a nested run of each trial."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from models.evaluation.search import Trial
from storage.registry.registry import Registry

EXPERIMENT = "-search"
"""After the registered model's name: searches have an experiment of their own."""
KEY = "search"
"""Tag of a search's run: the profile and the data."""


def open_run(registry: Registry, key: str, *, name: str, tags: Mapping[str, str]) -> str:
    """The run of the search of that key, made if it is new; one that had ended goes on."""
    experiment = registry.experiment_id(EXPERIMENT)
    tagged = f"tags.{KEY} = '{key}'"
    for earlier in registry.client.search_runs([experiment], tagged, max_results=1):
        run_id = earlier.info.run_id
        registry.client.update_run(run_id, status="RUNNING")
        cut_off = f"tags.{MLFLOW_PARENT_RUN_ID} = '{run_id}' and attributes.status = 'RUNNING'"
        for nested in registry.client.search_runs([experiment], cut_off):
            registry.client.set_terminated(nested.info.run_id, "KILLED")
        for tag, value in tags.items():
            registry.client.set_tag(run_id, tag, value)
        return run_id
    run = registry.client.create_run(experiment, run_name=name, tags={**tags, KEY: key})
    return run.info.run_id


@contextmanager
def ending(registry: Registry, run_id: str) -> Iterator[None]:
    """The run is finished by the end of the block; failed when the block raises, and killed when
    it is interrupted."""
    status = "KILLED"
    try:
        yield
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        registry.client.set_terminated(run_id, status)


def log_trial(
    registry: Registry, parent: str, recommender: str, trial: Trial, windows: Sequence[str]
) -> None:
    """A nested run of a trial that is over: its settings, its nDCG by window, and its time."""
    now = int(time.time() * 1000)
    tags = {
        MLFLOW_PARENT_RUN_ID: parent,
        "recommender": recommender,
        "state": "refused" if trial.error else "pruned" if trial.pruned else "complete",
        "windows": ", ".join(windows),
    }
    run = registry.client.create_run(
        registry.experiment_id(EXPERIMENT),
        start_time=now - int(trial.seconds * 1000),
        tags=tags | ({"error": trial.error} if trial.error else {}),
        run_name=f"{recommender} {trial.name}",
    )
    metrics = {f"ndcg.window_{number}": value for number, value in enumerate(trial.ndcg, 1)}
    metrics |= {"ndcg": trial.mean, "seconds": trial.seconds}
    registry.client.log_batch(
        run.info.run_id,
        params=[Param(name, str(value)) for name, value in trial.values.items()],
        metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
    )
    registry.client.set_terminated(run.info.run_id)


def log_result(
    registry: Registry, run_id: str, rows: Sequence[Mapping[str, Any]], lines: str
) -> None:
    """What each recommender came to, and the artifacts ``search.json`` and ``profile.yaml``.

    Args:
        rows: ``recommender`` and numbers, of each.
        lines: for the profile.
    """
    now = int(time.time() * 1000)
    metrics = [
        Metric(f"{row['recommender']}.{name}", value, now, 0)
        for row in rows
        for name, value in row.items()
        if isinstance(value, float)
    ]
    registry.client.log_batch(run_id, metrics=metrics)
    registry.client.log_text(run_id, lines, "profile.yaml")
    registry.client.log_dict(run_id, {"recommenders": list(rows)}, "search.json")
