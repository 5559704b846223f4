"""Group ``model``, second part: the version in MLflow, and the snapshot that it is served from."""

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl

from models.catalogue.building import ModelInfo, build_snapshot
from models.catalogue.snapshot import FEATURES, RANKER, Snapshot
from models.data.feature_set import FeatureSet
from models.data.matrices import recent_items
from models.data.similarities import Neighbours
from models.evaluation import drift
from models.evaluation.comparison import Comparison
from models.evaluation.versions import ModelVersion, metric_name
from models.feed.sources import index_of
from models.profile.ranker_settings import parts_of
from models.ranking.learned import LearnedRanker
from models.recommenders.base import Dataset
from orchestration import plots
from orchestration.policies import OWNERS, TRANSIENT, value_of
from orchestration.resources import Platform
from orchestration.training.evaluation_report import Report
from orchestration.training.models import GROUP, Trained, Training, ending_with
from storage.catalogue import queries

LONELY = "too few users came back to teach the ranker that goes live, so there is no ranker"
SHOWN_VERSIONS = 50
"""In the plot of what versions came to."""


@dg.asset(
    dagster_type=value_of(ModelVersion),
    group_name=GROUP,
    kinds={"mlflow"},
    owners=OWNERS,
    retry_policy=TRANSIENT,
)
def registered_model(
    platform: Platform,
    training_run: Training,
    offline_evaluation: Comparison,
    recommender: Trained,
    ranker: LearnedRanker | None,
) -> dg.MaterializeResult:
    """The best recommender of the evaluation as a new version in MLflow.

    It has no alias: the gate says what it becomes, once there is a snapshot to serve from.
    """
    from storage.registry import tracking  # brings MLflow, which takes seconds to import

    registry, comparison = platform.registry, offline_evaluation
    with ending_with(platform, training_run):
        for name, why in recommender.left_out.items():
            comparison = comparison.without(name, why)
        if ranker is None and parts_of(comparison.winner)[1] is not None:
            comparison = comparison.without_ranker(LONELY)
        if comparison is not offline_evaluation:
            tracking.log_comparison(registry, training_run.run_id, comparison)
            Report.of(comparison).log(registry, training_run.run_id)
        version = tracking.register(
            registry,
            training_run.run_id,
            vectors=recommender.vectors,
            dataset=training_run.dataset,
            comparison=comparison,
            trained_at=training_run.dataset.as_of,
            lineage=training_run.lineage,
        )
    metric = metric_name(f"ndcg@{comparison.k}")
    past = registry.metric_of_newest(metric, SHOWN_VERSIONS)
    return dg.MaterializeResult(
        value=version,
        metadata={
            "version": version.version,
            "recommender": comparison.winner,
            "verdict": comparison.verdict,
            "mlflow_run_id": version.run_id,
            "metric_history": plots.as_metadata(
                plots.history, list(past), list(past.values()), f"ndcg@{comparison.k}"
            ),
        },
    )


@dg.asset(
    dagster_type=value_of(Path),
    group_name=GROUP,
    kinds={"numpy", "mlflow"},
    owners=OWNERS,
    retry_policy=TRANSIENT,
    deps=["trending_items"],
)
def snapshot(
    platform: Platform,
    training_run: Training,
    recommender: Trained,
    ranker: LearnedRanker | None,
    registered_model: ModelVersion,
    user_similarities: Neighbours,
    item_similarities: Neighbours,
) -> dg.MaterializeResult:
    """The bundle that the service memory-maps, kept with the version in MLflow.

    Beside it are the names of the features, the ranker where one won, and what later data are
    held against for drift.
    """
    dataset, profile = training_run.dataset, platform.profile
    features = FeatureSet.of(dataset.user_features, dataset.item_features)
    built = build_snapshot(
        replace(
            dataset.catalogue,
            trending=queries.read_trending(platform.url),
            preferences=queries.read_preferences(platform.url),
        ),
        dataset.matrix,
        profile,
        now=datetime.now(UTC),
        vectors=recommender.vectors,
        model=ModelInfo(
            registered_model.version,
            registered_model.tags["recommender"],
            dataset.as_of,
            features.digest,
            train_seconds=recommender.seconds,
        ),
        user_neighbours=user_similarities,
        item_neighbours=item_similarities,
        recent=recent_items(
            platform.lake.scan(),
            dataset.matrix.users,
            dataset.matrix.items,
            profile.interaction_weights,
        ),
    )
    built.check()
    nearest = index_of(built, profile, now=time.time())
    known = _reference(platform, dataset, built)
    files = {FEATURES: features.to_bytes(), drift.DRIFT: known.to_bytes()}
    if ranker is not None:
        files[RANKER] = ranker.to_bytes()
    folder = built.save(
        platform.settings.snapshots / registered_model.version, nearest=nearest, files=files
    )
    platform.registry.add_snapshot(registered_model, folder)
    size = sum(entry.stat().st_size for entry in os.scandir(folder))
    return dg.MaterializeResult(
        value=folder,
        metadata={
            "version": registered_model.version,
            "path": dg.MetadataValue.path(str(folder)),
            "megabytes": size / 1e6,
            "users": len(built.users.ids),
            "items": len(built.items.ids),
            "index": f"{nearest.cells} cells, {nearest.probes} looked into" if nearest else "none",
        },
    )


def _reference(platform: Platform, dataset: Dataset, built: Snapshot) -> drift.Reference:
    """The last days before the training."""
    occurred, profile = pl.col("occurred_at"), platform.profile
    known = platform.lake.scan().filter(occurred < dataset.as_of)
    until = known.select(occurred.max()).collect().item()
    rows = known.filter(occurred > drift.window(until, profile.drift)).collect()
    catalogue = dataset.catalogue
    groups = drift.watched(
        rows, catalogue.users, catalogue.items, built, profile.interaction_weights
    )
    return drift.reference(groups, until=until, rows=len(rows))


ASSETS = [registered_model, snapshot]
