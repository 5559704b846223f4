"""Group ``model``, second part: the version in MLflow, and the snapshot that it is served from."""

import os
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl

from models.catalogue.building import ModelInfo, build_snapshot
from models.catalogue.snapshots.snapshot import FEATURES, RANKER, Snapshot
from models.data.feature_set import FeatureSet
from models.data.interactions.matrices import recent_items
from models.data.similarities import Neighbours
from models.evaluation import drift
from models.feed.candidates.sources import index_of
from models.profile.ranker_settings import parts_of
from models.profile.schema import Profile
from models.recommenders.base import Dataset
from models.versions.version import ModelVersion, metric_name
from orchestration import plots
from orchestration.policies import OWNERS, TRANSIENT, value_of
from orchestration.resources import Platform
from orchestration.training.evaluation_report import Report
from orchestration.training.models import GROUP, Evaluated, Trained, TrainedRanker, TrainingSet
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
    context: dg.AssetExecutionContext,
    platform: Platform,
    training_set: TrainingSet,
    offline_evaluation: Evaluated,
    recommender: Trained,
    ranker: TrainedRanker | None,
) -> dg.MaterializeResult:
    """The best recommender of the evaluation as a new version in MLflow, and the run there with
    all that the training found.

    It has no alias: the gate says what it becomes, once there is a snapshot to serve from.
    """
    from storage.registry import tracking  # brings MLflow, which takes seconds to import

    registry, profile, dataset = platform.registry, platform.profile, training_set.dataset
    comparison, report = offline_evaluation.comparison, offline_evaluation.report
    for name, why in recommender.left_out.items():
        comparison = comparison.without(name, why)
    if ranker is None and parts_of(comparison.winner)[1] is not None:
        comparison = comparison.without_ranker(LONELY)
    if comparison is not offline_evaluation.comparison:
        report = Report.of(comparison)
    tracking.end_abandoned(registry, lambda run: _is_over(context.instance, run))
    with tracking.run(
        registry,
        name=f"{profile.name} {dataset.as_of:%Y-%m-%d %H:%M}",
        pipeline_run=context.run.run_id,
        began=training_set.began,
        tags={"profile": profile.name, "code_version": tracking.code_version()},
        params=_parameters(profile, dataset),
        fingerprint=training_set.lineage.fingerprint,
        source=platform.lake.url,
    ) as run_id:
        tracking.log_comparison(registry, run_id, comparison)
        report.log(registry, run_id)
        registry.client.log_metric(run_id, "train_seconds", recommender.seconds)
        if ranker is not None:
            tracking.log_ranker(registry, run_id, asdict(ranker.report))
        version = tracking.register(
            registry,
            run_id,
            vectors=recommender.vectors,
            dataset=dataset,
            comparison=comparison,
            trained_at=dataset.as_of,
            lineage=training_set.lineage,
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
    training_set: TrainingSet,
    recommender: Trained,
    ranker: TrainedRanker | None,
    registered_model: ModelVersion,
    user_similarities: Neighbours,
    item_similarities: Neighbours,
) -> dg.MaterializeResult:
    """The bundle that the service memory-maps, kept with the version in MLflow.

    Beside it are the names of the features, the ranker where one won, and what later data are
    held against for drift.
    """
    dataset, profile = training_set.dataset, platform.profile
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
            types=profile.interaction_types,
        ),
    )
    built.check()
    nearest = index_of(built, profile, now=time.time())
    reference = _reference(platform, dataset, built)
    files = {FEATURES: features.to_bytes(), drift.DRIFT: reference.to_bytes()}
    if ranker is not None:
        files[RANKER] = ranker.ranker.to_bytes()
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


def _parameters(profile: Profile, dataset: Dataset) -> dict[str, object]:
    """The hybrid's under ``lightfm.``, the others' under ``recommenders.<name>.``, the ranker's
    under ``ranker.``."""
    sections = {"lightfm": profile.lightfm, "ranker": profile.ranker} | {
        f"recommenders.{name}": settings for name, settings in profile.recommenders.items()
    }
    return {
        "profile": profile.name,
        "features.users": len(dataset.user_features.names),
        "features.items": len(dataset.item_features.names),
        **{
            f"{section}.{field}": value
            for section, settings in sections.items()
            for field, value in settings.model_dump().items()
        },
    }


def _is_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


def _reference(platform: Platform, dataset: Dataset, built: Snapshot) -> drift.Reference:
    """The last days before the training."""
    occurred, profile = pl.col("occurred_at"), platform.profile
    past = platform.lake.scan().filter(occurred < dataset.as_of)
    until = past.select(occurred.max()).collect().item()
    rows = past.filter(occurred > drift.window(until, profile.drift)).collect()
    catalogue = dataset.catalogue
    groups = drift.watched(
        rows, catalogue.users, catalogue.items, built, profile.interaction_weights
    )
    return drift.reference(groups, until=until, rows=len(rows))


ASSETS = [registered_model, snapshot]
