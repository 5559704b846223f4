"""Group ``model``: train, evaluate, register, bundle, and put live."""

import os
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl

from going_live.alerts import raise_alert
from going_live.releases import ReleaseError, Releases
from models import drift, evaluation, gate
from models.candidates import index_of
from models.catalogue import Catalogue, ModelInfo, Vectors, build_snapshot
from models.feature_set import FeatureSet
from models.features import Features
from models.lineage import Lineage
from models.matrices import InteractionMatrix, recent_items
from models.profile import Profile
from models.recommenders.base import Dataset, Progress
from models.recommenders.lightfm_hybrid import LightFMHybrid
from models.recommenders.popularity import PopularityRecommender
from models.similarities import Neighbours
from models.snapshot import FEATURES, Snapshot, SnapshotError
from models.training import Comparison, build_dataset, compare, fingerprint
from models.versions import ModelVersion, RegistryError, metric_name
from orchestration import plots
from orchestration.assets.sources import Rows
from orchestration.partitions import RANGE_END, RANGE_START
from orchestration.policies import OWNERS, TRAINING_POOL, TRANSIENT, value_of
from orchestration.resources import Platform
from orchestration.snapshots import snapshot_of
from storage import experiments, queries, releases
from storage.changes import oldest
from storage.telemetry import write_audit

GROUP = "model"
SHOWN_VERSIONS = 50
"""In the plot of what versions came to."""
ON_TRIAL: tuple[experiments.Status, ...] = ("running", "paused")
"""Experiments whose challenger must stay."""


@dataclass(frozen=True)
class Trained:
    """A trained LightFM hybrid, the dataset that it learnt from, and its MLflow run.

    Attributes:
        began: when the pipeline's run began.
    """

    run_id: str
    dataset: Dataset
    vectors: Vectors
    trained_at: datetime
    began: datetime
    lineage: Lineage
    seconds: float | None = None


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
    lineage = _lineage(context, platform, dataset)
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
        fingerprint=lineage.fingerprint,
        source=platform.lake.url,
    )
    registry.client.log_metric(run_id, "train_seconds", seconds)
    norms = np.linalg.norm(model.vectors.items, axis=1)
    return dg.MaterializeResult(
        value=Trained(run_id, dataset, model.vectors, now, _began(context), lineage, seconds),
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


READ = ("interactions", "users", "items", "owners", "interaction_matrix")
"""Assets that a training reads, of which the version says which run made them."""


def _began(context: dg.AssetExecutionContext) -> datetime:
    record = context.instance.get_run_record_by_id(context.run.run_id)
    assert record is not None
    return record.create_timestamp


def _lineage(context: dg.AssetExecutionContext, platform: Platform, dataset: Dataset) -> Lineage:
    extent, days = platform.lake.extent(), platform.lake.days()
    occurred = pl.col("occurred_at")
    rows, until = (
        platform.lake.scan()
        .filter(occurred < dataset.as_of)
        .select(pl.len(), occurred.max().alias("until"))
        .collect()
        .row(0)
    )
    made = {}
    for name in READ:
        event = context.instance.get_latest_materialization_event(dg.AssetKey(name))
        if event is not None:
            at = datetime.fromtimestamp(event.timestamp, UTC).isoformat()
            made[name] = {"run": event.run_id, "at": at}
    named = (context.run.tags.get(tag) for tag in (RANGE_START, RANGE_END))
    return Lineage(
        fingerprint=fingerprint(dataset.matrix),
        first_day=days[0] if days else None,
        last_day=days[-1] if days else None,
        rows=rows,
        data_until=until,
        received_until=extent.received_until if extent else None,
        dagster_run_id=context.run.run_id,
        partitions=tuple(day for day in named if day),
        assets=made,
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
    interactions = platform.lake.scan()
    split = evaluation.split_moment(interactions, platform.profile.evaluation.test_share)
    past = _past(platform, whole, platform.profile, split)
    return compare(past, interactions, progress=_progress(context, "before the split"))


def _past(platform: Platform, whole: Dataset, profile: Profile, as_of: datetime) -> Dataset:
    """What was known then, of the users and items of now."""
    return build_dataset(
        platform.lake.scan(),
        whole.catalogue,
        whole.users,
        whole.items,
        whole.user_features,
        whole.item_features,
        profile,
        as_of=as_of,
    )


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
    """The best recommender of the evaluation as a new version in MLflow.

    It has no alias: the gate says what it becomes, once there is a snapshot to serve from.
    """
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
            lineage=lightfm_hybrid.lineage,
        )
    metric = f"ndcg@{offline_evaluation.k}"
    past = list(reversed(registry.versions(SHOWN_VERSIONS)))
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
    """The bundle that the service memory-maps, kept with the version in MLflow.

    Beside it are the names of the features, and what later data are held against for drift.
    """
    dataset, profile = lightfm_hybrid.dataset, platform.profile
    winner = registered_model.tags["recommender"]
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
        vectors=winning_vectors(lightfm_hybrid, winner),
        model=ModelInfo(
            registered_model.version,
            winner,
            lightfm_hybrid.trained_at,
            features.digest,
            train_seconds=lightfm_hybrid.seconds,
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
    folder = built.save(
        platform.settings.snapshots / registered_model.version,
        nearest=nearest,
        files={FEATURES: features.to_bytes(), drift.DRIFT: known.to_bytes()},
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


@dg.asset(
    dagster_type=value_of(str),
    group_name=GROUP,
    kinds={"mlflow"},
    owners=OWNERS,
    retry_policy=TRANSIENT,
    deps=[snapshot],
)
def champion(
    context: dg.AssetExecutionContext,
    platform: Platform,
    lightfm_hybrid: Trained,
    offline_evaluation: Comparison,
    registered_model: ModelVersion,
) -> dg.MaterializeResult:
    """The gate: the new version goes live unless it is worse than the champion beyond the noise.

    `models/gate.py` says how they are compared; its report is the artifact `gate.json`. What is
    refused gets no alias, and the champion stays. What passes and may not go live by itself,
    after a rollback or by the profile's `gate.promote`, becomes challenger.
    """
    from models import tracking  # brings MLflow, which takes seconds to import

    registry, version = platform.registry, registered_model.version
    candidate = registry.get(version)
    report = _judge(platform, lightfm_hybrid, offline_evaluation, candidate)
    tracking.log_gate(registry, candidate, report.to_dict())
    became = "refused" if report.refusal else _promote(platform, lightfm_hybrid, version)
    for one in report.findings:
        tell = context.log.warning if one.status == "refused" else context.log.info
        tell("gate: %s %s: %s", one.check, one.status, one.text)
    if report.refusal:
        _refuse(platform, candidate, report.refusal, context.run.run_id)
    context.log.info("version %s: %s", version, became)
    live = registry.champion()
    if live is None and report.refusal:
        told = f"version {version} was refused, and no other is live: {report.refusal}"
        raise dg.Failure(told, allow_retries=False)
    metric = metric_name(f"ndcg@{offline_evaluation.k}")
    return dg.MaterializeResult(
        value=live.version if live else "",
        metadata={
            "live_version": live.version if live else "none",
            "candidate": version,
            "became": became,
            "refused": report.refusal or "no",
            "gate": plots.table(
                [
                    {"check": one.check, "status": one.status, "found": one.text}
                    for one in report.findings
                ]
            ),
            metric: registered_model.metrics.get(metric, 0.0),
        },
    )


def _judge(
    platform: Platform, trained: Trained, comparison: Comparison, candidate: ModelVersion
) -> gate.Report:
    whole, live = trained.dataset, platform.registry.champion()
    against, why = None, ""
    if live is not None:
        try:
            against = gate.Version.of(live, snapshot_of(platform, live))
        except (RegistryError, SnapshotError) as error:
            why = f"version {live.version} cannot be compared with: {error}"
    report = gate.judge(
        gate.Version.of(candidate, snapshot_of(platform, candidate)),
        against,
        comparison,
        whole.users,
        whole.items,
        platform.profile,
        lambda profile: _past(platform, whole, profile, comparison.split_at),
    )
    return gate.noted(report, "champion", "skipped", why) if why else report


def _promote(platform: Platform, trained: Trained, version: str) -> str:
    """Put a version live that passed, or on trial; returns what it became, and why."""
    why = "gate.promote of the profile"
    # With nobody to try it against, a trial would leave users without a model.
    if platform.profile.gate.promote == "champion" or platform.registry.champion() is None:
        try:
            moved = Releases(platform.url, lambda: platform.registry).activate(
                version, actor="pipeline", reason="passed the gate", trained_from=trained.began
            )
            return moved.note
        except ReleaseError as error:
            if error.kind != "refused":
                raise
            why = str(error)
    with platform.connect() as conn:
        withdrawn = version in releases.withdrawn(conn)
        on_trial = {one.challenger_version for one in experiments.listed(conn, *ON_TRIAL)}
    challenger = platform.registry.challenger()
    if withdrawn:
        return f"withdrawn: {why}"
    if challenger is not None and challenger.version in on_trial - {version}:
        return f"neither ({why}): version {challenger.version} is on trial in an experiment"
    platform.registry.put_on_trial(version)
    return f"challenger: {why}"


def _refuse(platform: Platform, version: ModelVersion, reason: str, run_id: str) -> None:
    """Say so in MLflow, in the audit log, and to whoever gets alerts."""
    platform.registry.refuse(version, reason)
    detail = {"version": version.version, "run": run_id, "reason": reason}
    title = f"Version {version.version} was refused by the gate"
    with platform.connect() as conn:
        write_audit(conn, "pipeline", "model.refused", detail)
        raise_alert(conn, "refused", "warning", title, detail)


ASSETS = [lightfm_hybrid, offline_evaluation, registered_model, snapshot, champion]
