"""Group ``model``: train, evaluate, register, bundle, and put live."""

import os
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np

from models import evaluation
from models.candidates import index_of
from models.catalogue import Catalogue, ModelInfo, Vectors, build_snapshot
from models.features import Features
from models.matrices import InteractionMatrix, recent_items
from models.recommenders.base import Dataset, Progress
from models.recommenders.lightfm_hybrid import LightFMHybrid
from models.recommenders.popularity import PopularityRecommender
from models.similarities import Neighbours
from models.training import Comparison, build_dataset, compare, fingerprint
from models.versions import ModelVersion, metric_name
from orchestration import plots
from orchestration.assets.sources import Rows
from orchestration.policies import OWNERS, TRAINING_POOL, TRANSIENT, value_of
from orchestration.resources import Platform
from storage import queries
from storage.changes import oldest
from storage.telemetry import write_audit

GROUP = "model"


@dataclass(frozen=True)
class Trained:
    """A trained LightFM hybrid, the dataset that it learnt from, and its MLflow run."""

    run_id: str
    dataset: Dataset
    vectors: Vectors
    trained_at: datetime


def _progress(context: dg.AssetExecutionContext, what: str) -> Progress:
    started = time.monotonic()

    def tell(done: int, total: int) -> None:
        if done == total or done % max(total // 5, 1) == 0:
            spent = time.monotonic() - started
            left = spent / done * (total - done)
            context.log.info(
                "%s: epoch %d of %d, %.1f s spent, %.1f s to go", what, done, total, spent, left
            )

    return tell


@dg.asset(
    dagster_type=value_of(Trained),
    group_name=GROUP,
    kinds={"python", "mlflow"},
    owners=OWNERS,
    pool=TRAINING_POOL,
)
def lightfm_hybrid(
    context: dg.AssetExecutionContext,
    platform: Platform,
    users: Rows,
    items: Rows,
    owners: Rows,
    interaction_matrix: InteractionMatrix,
    user_features: Features,
    item_features: Features,
) -> dg.MaterializeResult:
    """A LightFM hybrid over all interactions, users' and items' features."""
    from models import tracking  # brings MLflow, which takes seconds to import

    profile, registry = platform.profile, platform.registry
    now = datetime.now(UTC)
    dataset = build_dataset(
        platform.lake.scan(),
        Catalogue(
            users.frame,
            items.frame,
            owners.frame,
            position=oldest(users.position, items.position, owners.position),
        ),
        interaction_matrix.users,
        interaction_matrix.items,
        user_features,
        item_features,
        profile,
        as_of=now,
        matrix=interaction_matrix,
    )
    started = time.monotonic()
    model = LightFMHybrid().fit(dataset, progress=_progress(context, "all interactions"))
    seconds = time.monotonic() - started
    assert model.vectors is not None
    run_id = tracking.start_run(
        registry,
        name=f"{profile.name} {now:%Y-%m-%d %H:%M}",
        tags={
            "dagster_run_id": context.run.run_id,
            "profile": profile.name,
            "code_version": tracking.code_version(),
        },
        params={
            **{f"lightfm.{name}": value for name, value in profile.lightfm.model_dump().items()},
            "profile": profile.name,
            "features.users": len(user_features.names),
            "features.items": len(item_features.names),
        },
        fingerprint=fingerprint(dataset.matrix),
        source=platform.lake.url,
    )
    registry.client.log_metric(run_id, "train_seconds", seconds)
    norms = np.linalg.norm(model.vectors.items, axis=1)
    return dg.MaterializeResult(
        value=Trained(run_id, dataset, model.vectors, now),
        metadata={
            "mlflow_run_id": run_id,
            "train_seconds": seconds,
            "dims": model.vectors.items.shape[1],
            "pairs": dataset.matrix.values.nnz,
            "item_vector_norms": plots.as_metadata(
                plots.distribution(norms, "Length of the items' vectors", "norm")
            ),
        },
    )


@dg.asset(
    dagster_type=value_of(Comparison),
    group_name=GROUP,
    kinds={"python", "mlflow"},
    owners=OWNERS,
    pool=TRAINING_POOL,
)
def offline_evaluation(
    context: dg.AssetExecutionContext, platform: Platform, lightfm_hybrid: Trained
) -> dg.MaterializeResult:
    """LightFM, popularity and the heuristic, trained on the past and judged by what came after.

    The split is by time; the newest interactions are held out, and all recommenders see
    the same ones.
    """
    from models import tracking  # brings MLflow, which takes seconds to import

    with tracking.failing(platform.registry, lightfm_hybrid.run_id):
        comparison = _compare(context, platform, lightfm_hybrid.dataset)
        tracking.log_comparison(platform.registry, lightfm_hybrid.run_id, comparison)
    k = comparison.k
    shown = [f"{name}@{k}" for name in evaluation.PER_USER] + ["coverage", "popularity_bias"]
    return dg.MaterializeResult(
        value=comparison,
        metadata={
            "table": plots.table(comparison.table().drop("users").to_dicts()),
            "winner": comparison.winner,
            "verdict": comparison.verdict,
            "split_at": comparison.split_at.isoformat(),
            "users_judged": int(comparison.evaluations[0].metrics["users"]),
            "plot": plots.as_metadata(
                plots.bars(
                    {
                        name: {one.recommender: one.metrics[name] for one in comparison.evaluations}
                        for name in shown
                    },
                    "Offline evaluation",
                )
            ),
            "segments": plots.table(comparison.by_segment()),
        },
    )


def _compare(context: dg.AssetExecutionContext, platform: Platform, whole: Dataset) -> Comparison:
    profile, interactions = platform.profile, platform.lake.scan()
    past = build_dataset(
        interactions,
        whole.catalogue,
        whole.users,
        whole.items,
        whole.user_features,
        whole.item_features,
        profile,
        as_of=evaluation.split_moment(interactions, profile.evaluation.test_share),
    )
    return compare(past, interactions, progress=_progress(context, "before the split"))


@dg.asset(
    dagster_type=value_of(ModelVersion),
    group_name=GROUP,
    kinds={"mlflow"},
    owners=OWNERS,
    retry_policy=TRANSIENT,
)
def registered_model(
    platform: Platform, lightfm_hybrid: Trained, offline_evaluation: Comparison
) -> dg.MaterializeResult:
    """The best recommender of the evaluation as a new version in MLflow, alias `challenger`."""
    from models import tracking  # brings MLflow, which takes seconds to import

    registry = platform.registry
    with tracking.failing(registry, lightfm_hybrid.run_id):
        version = tracking.register(
            registry,
            lightfm_hybrid.run_id,
            vectors=winning_vectors(lightfm_hybrid, offline_evaluation.winner),
            dataset=lightfm_hybrid.dataset,
            comparison=offline_evaluation,
            trained_at=lightfm_hybrid.trained_at,
        )
    metric = f"ndcg@{offline_evaluation.k}"
    past = list(reversed(registry.versions()))
    return dg.MaterializeResult(
        value=version,
        metadata={
            "version": version.version,
            "recommender": offline_evaluation.winner,
            "mlflow_run_id": version.run_id,
            "metric_history": plots.as_metadata(
                plots.history(
                    [one.version for one in past],
                    [one.metrics.get(metric_name(metric), 0.0) for one in past],
                    metric,
                )
            ),
        },
    )


def winning_vectors(trained: Trained, winner: str) -> Vectors:
    """What the winner ranks by. The heuristic has no vectors: popularity's serve in its place
    where only vectors can."""
    if winner == LightFMHybrid.name:
        return trained.vectors
    vectors = PopularityRecommender().fit(trained.dataset).vectors
    assert vectors is not None
    return vectors


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
    lightfm_hybrid: Trained,
    registered_model: ModelVersion,
    user_similarities: Neighbours,
    item_similarities: Neighbours,
) -> dg.MaterializeResult:
    """The bundle that the service memory-maps, kept with the version in MLflow."""
    dataset = lightfm_hybrid.dataset
    winner = registered_model.tags["recommender"]
    built = build_snapshot(
        replace(
            dataset.catalogue,
            trending=queries.read_trending(platform.url),
            preferences=queries.read_preferences(platform.url),
        ),
        dataset.matrix,
        platform.profile,
        now=datetime.now(UTC),
        vectors=winning_vectors(lightfm_hybrid, winner),
        model=ModelInfo(registered_model.version, winner, lightfm_hybrid.trained_at),
        user_neighbours=user_similarities,
        item_neighbours=item_similarities,
        recent=recent_items(
            platform.lake.scan(),
            dataset.matrix.users,
            dataset.matrix.items,
            platform.profile.interaction_weights,
        ),
    )
    built.check()
    nearest = index_of(built, platform.profile, now=time.time())
    folder = built.save(platform.settings.snapshots / registered_model.version, nearest=nearest)
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


@dg.asset(
    dagster_type=value_of(str),
    group_name=GROUP,
    kinds={"mlflow"},
    owners=OWNERS,
    retry_policy=TRANSIENT,
    deps=[snapshot],
)
def champion(
    context: dg.AssetExecutionContext, platform: Platform, registered_model: ModelVersion
) -> dg.MaterializeResult:
    """The gate: the new version goes live unless it is clearly worse than the champion.

    Worse is an nDCG that falls by more than the profile's `gate.max_relative_drop` below what
    the champion had in its own evaluation. A refused version stays `challenger`.
    """
    registry, limit = platform.registry, platform.profile.gate.max_relative_drop
    metric = metric_name(f"ndcg@{platform.profile.evaluation.k}")
    live = registry.champion()
    new = registered_model.metrics.get(metric, 0.0)
    refusal = None
    if live is not None and metric in live.metrics:
        floor = (1 - limit) * live.metrics[metric]
        if new < floor:
            refusal = f"{metric} {new:.4f} is below {floor:.4f}, the least that is accepted"
    if refusal is None:
        live = registry.activate(registered_model.version)
        context.log.info("version %s is live", live.version)
    else:
        context.log.warning("version %s refused: %s", registered_model.version, refusal)
        registry.refuse(registered_model, refusal)
    assert live is not None
    with platform.connect() as conn:
        action = "model.refused" if refusal else "model.activated"
        detail = {"version": registered_model.version, "run": context.run.run_id, "reason": refusal}
        write_audit(conn, "pipeline", action, detail)
    return dg.MaterializeResult(
        value=live.version,
        metadata={
            "live_version": live.version,
            "candidate": registered_model.version,
            "refused": refusal or "no",
            metric: new,
        },
    )


ASSETS = [lightfm_hybrid, offline_evaluation, registered_model, snapshot, champion]
