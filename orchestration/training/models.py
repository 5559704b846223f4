"""Group ``model``, first part: what is learnt from, the evaluation, and the winner."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

import dagster as dg
import numpy as np
import polars as pl

from models.catalogue.building import Catalogue, Vectors
from models.data import splits
from models.data.features import Features
from models.data.matrices import InteractionMatrix
from models.evaluation.comparison import (
    Comparison,
    NothingToJudge,
    build_dataset,
    compare,
    fingerprint,
    reason_of,
)
from models.evaluation.feed import losses
from models.evaluation.lineage import Lineage
from models.profile.ranker_settings import parts_of
from models.profile.schema import Profile
from models.ranking.learned import LearnedRanker
from models.ranking.second_stage import training_moment
from models.ranking.training import TooLittleData, train_ranker
from models.recommenders import zoo
from models.recommenders.base import Dataset
from models.recommenders.served import vectors_of
from orchestration import plots
from orchestration.data.partitions import RANGE_END, RANGE_START
from orchestration.data.sources import Rows
from orchestration.policies import OWNERS, TRAINING_POOL, value_of
from orchestration.resources import Platform
from orchestration.training.progress import progress_of
from storage.catalogue.changes import oldest

GROUP = "model"
HYBRID = "lightfm_hybrid"
CANNOT_TRAIN = "%s is left out: it could not be trained: %s"
READ = ("interactions", "users", "items", "owners", "interaction_matrix")
"""Assets that a training reads, of which the version says which run made them."""


@dataclass(frozen=True)
class Training:
    """What one training learns from, and its run in MLflow.

    Attributes:
        dataset: everything, as of when the training began.
        began: when the pipeline's run began.
    """

    run_id: str
    dataset: Dataset
    began: datetime
    lineage: Lineage


@dataclass(frozen=True)
class Trained:
    """A recommender, trained on everything, by the vectors that serve.

    Attributes:
        seconds: that the training took.
        left_out: better ones that could not be trained on everything: name → why.
    """

    name: str
    vectors: Vectors
    seconds: float
    left_out: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def ending_with(platform: Platform, training: Training) -> Iterator[None]:
    """The run in MLflow ends where this asset does not succeed: a run that fails or is cancelled
    leaves nothing there that looks as if it were going on."""
    from storage.registry import tracking  # brings MLflow, which takes seconds to import

    with tracking.failing(platform.registry, training.run_id):
        yield


@dg.asset(
    dagster_type=value_of(Training),
    group_name=GROUP,
    kinds={"mlflow"},
    owners=OWNERS,
    pool=TRAINING_POOL,
)
def training_run(
    context: dg.AssetExecutionContext,
    platform: Platform,
    users: Rows,
    items: Rows,
    owners: Rows,
    interaction_matrix: InteractionMatrix,
    user_features: Features,
    item_features: Features,
) -> dg.MaterializeResult:
    """All that the recommenders learn from, and a run in MLflow with the parameters."""
    from storage.registry import tracking  # brings MLflow, which takes seconds to import

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
    lineage = _lineage(context, platform, dataset)
    tracking.end_abandoned(registry, lambda run: _over(context.instance, run))
    run_id = tracking.start_run(
        registry,
        name=f"{profile.name} {now:%Y-%m-%d %H:%M}",
        tags={
            tracking.DAGSTER_RUN: context.run.run_id,
            "profile": profile.name,
            "code_version": tracking.code_version(),
        },
        params=_parameters(profile)
        | {
            "profile": profile.name,
            "features.users": len(user_features.names),
            "features.items": len(item_features.names),
        },
        fingerprint=lineage.fingerprint,
        source=platform.lake.url,
    )
    return dg.MaterializeResult(
        value=Training(run_id, dataset, _began(context), lineage),
        metadata={
            "mlflow_run_id": run_id,
            "users": len(dataset.users),
            "items": len(dataset.items),
            "pairs": dataset.matrix.values.nnz,
            "recommenders": ", ".join(profile.recommenders),
        },
    )


def _parameters(profile: Profile) -> dict[str, object]:
    """The hybrid's under ``lightfm.``, the others' under ``recommenders.<name>.``, the ranker's
    under ``ranker.``."""
    found = {f"lightfm.{field}": value for field, value in profile.lightfm.model_dump().items()}
    for name, settings in profile.recommenders.items():
        found |= {
            f"recommenders.{name}.{field}": value for field, value in settings.model_dump().items()
        }
    return found | {
        f"ranker.{field}": value for field, value in profile.ranker.model_dump().items()
    }


def _over(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


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
    dagster_type=dg.PythonObjectDagsterType((Trained, type(None)), name="TrainedOrNone"),
    group_name=GROUP,
    kinds={"python", "mlflow"},
    owners=OWNERS,
    pool=TRAINING_POOL,
)
def lightfm_hybrid(
    context: dg.AssetExecutionContext, platform: Platform, training_run: Training
) -> dg.MaterializeResult:
    """A LightFM hybrid over all interactions, users' and items' features.

    Nothing, where the profile's `recommenders` do not name it, or where it cannot be trained.
    """
    if HYBRID not in platform.profile.recommenders:
        return dg.MaterializeResult(value=None, metadata={"trained": "not among the recommenders"})
    with ending_with(platform, training_run):
        try:
            trained = _trained(context, HYBRID, training_run.dataset)
        except Exception as error:
            context.log.warning(CANNOT_TRAIN, HYBRID, error)
            return dg.MaterializeResult(value=None, metadata={"trained": reason_of(error)})
    return dg.MaterializeResult(value=trained, metadata=_described(trained))


@dg.asset(
    dagster_type=value_of(Comparison),
    group_name=GROUP,
    kinds={"python", "mlflow"},
    owners=OWNERS,
    pool=TRAINING_POOL,
)
def offline_evaluation(
    context: dg.AssetExecutionContext, platform: Platform, training_run: Training
) -> dg.MaterializeResult:
    """The profile's recommenders, trained on the past and each judged by the feed that it gives,
    by what came after; then the best of them with rankers behind it.

    The split is by time; the newest interactions are held out, and all recommenders see
    the same ones. What cannot be trained is left out, with a warning; so is a stage of the feed
    named that loses more than 2 % of nDCG.
    """
    from orchestration.training import evaluation_report
    from storage.registry import tracking  # brings MLflow, which takes seconds to import

    whole, profile = training_run.dataset, platform.profile
    interactions = platform.lake.scan().filter(pl.col("occurred_at") < whole.as_of)
    counted = splits.of_known(interactions, whole.users, whole.items)
    past, share = partial(past_of, platform, whole, profile), profile.evaluation.test_share
    with ending_with(platform, training_run):
        split = splits.split_moment(counted, share)
        try:
            comparison = compare(
                past(split),
                interactions,
                earlier=lambda: past(training_moment(counted, split, share)),
                progress=lambda name: progress_of(context, f"{name}, on the past"),
            )
        except NothingToJudge as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        tracking.log_comparison(platform.registry, training_run.run_id, comparison)
        report = evaluation_report.Report.of(comparison)
        report.log(platform.registry, training_run.run_id)
    for name, why in comparison.failed.items():
        context.log.warning(CANNOT_TRAIN, name, why)
    lost = losses(comparison.of(comparison.winner).stages(comparison.k))
    for loss in lost:
        context.log.warning("%s: %s", comparison.winner, loss)
    return dg.MaterializeResult(
        value=comparison,
        metadata={
            "losses": "; ".join(map(str, lost)) or "none",
            "winner": comparison.winner,
            "verdict": comparison.verdict,
            "split_at": comparison.split_at.isoformat(),
            "users_judged": len(comparison.test.users),
            "left_out": dg.MetadataValue.json(comparison.failed),
            **report.metadata(),
        },
    )


def past_of(platform: Platform, whole: Dataset, profile: Profile, as_of: datetime) -> Dataset:
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
    dagster_type=value_of(Trained),
    group_name=GROUP,
    kinds={"python", "mlflow"},
    owners=OWNERS,
    pool=TRAINING_POOL,
)
def recommender(
    context: dg.AssetExecutionContext,
    platform: Platform,
    training_run: Training,
    lightfm_hybrid: Trained | None,
    offline_evaluation: Comparison,
) -> dg.MaterializeResult:
    """The winner of the evaluation, trained on everything, as vectors that can be served.

    Where it cannot be trained on everything, the next best goes live, with a warning.
    """
    comparison, left_out = offline_evaluation, dict[str, str]()
    with ending_with(platform, training_run):
        while True:
            winner, _ = parts_of(comparison.winner)
            try:
                if lightfm_hybrid is not None and winner == HYBRID:
                    trained = lightfm_hybrid
                else:
                    trained = _trained(context, winner, training_run.dataset)
                break
            except Exception as error:
                context.log.warning(CANNOT_TRAIN, winner, error)
                left_out[winner] = reason_of(error)
                comparison = comparison.without(winner, left_out[winner])
        platform.registry.client.log_metric(training_run.run_id, "train_seconds", trained.seconds)
    metadata = _described(trained) | {"left_out": dg.MetadataValue.json(left_out)}
    return dg.MaterializeResult(value=replace(trained, left_out=left_out), metadata=metadata)


@dg.asset(
    dagster_type=dg.PythonObjectDagsterType((LearnedRanker, type(None)), name="RankerOrNone"),
    group_name=GROUP,
    kinds={"python", "mlflow"},
    owners=OWNERS,
    pool=TRAINING_POOL,
)
def ranker(
    context: dg.AssetExecutionContext,
    platform: Platform,
    training_run: Training,
    offline_evaluation: Comparison,
    recommender: Trained,
) -> dg.MaterializeResult:
    """What puts the recommender's first items in order, where the evaluation found it better.

    It learns what users did after the split with what a recommender that was trained up to
    there puts first. Nothing, where the recommender alone won, or where too few users came back
    since to learn from: then the recommender goes live alone.
    """
    name, kind = parts_of(offline_evaluation.winner)
    if kind is None:
        return dg.MaterializeResult(value=None, metadata={"trained": "no ranker won"})
    if recommender.left_out:
        return dg.MaterializeResult(
            value=None, metadata={"trained": f"{name}, behind which it won, could not be trained"}
        )
    from storage.registry import tracking  # brings MLflow, which takes seconds to import

    profile, vectors = platform.profile, offline_evaluation.vectors
    assert vectors is not None, "a ranker won behind them"
    past = past_of(platform, training_run.dataset, profile, offline_evaluation.split_at)
    with ending_with(platform, training_run):
        try:
            learned, report = train_ranker(
                past,
                vectors,
                platform.lake.scan(),
                profile,
                kind,
                until=training_run.dataset.as_of,
                progress=progress_of(context, "users of the training set"),
            )
        except TooLittleData as error:
            context.log.warning("%s goes live without a ranker: %s", name, error)
            return dg.MaterializeResult(value=None, metadata={"trained": str(error)})
        told = asdict(report)
        tracking.log_ranker(platform.registry, training_run.run_id, told)
    gains = told.pop("importance")
    return dg.MaterializeResult(
        value=learned,
        metadata={
            **told,
            "importance": plots.table(
                [{"feature": one, "share": round(share, 4)} for one, share in gains.items()]
            ),
        },
    )


def _trained(context: dg.AssetExecutionContext, name: str, dataset: Dataset) -> Trained:
    started = time.monotonic()
    model = zoo.make(name, dataset.profile)
    model.fit(dataset, progress=progress_of(context, f"{name}, on everything"))
    vectors = vectors_of(model, dataset)
    return Trained(name, vectors, time.monotonic() - started)


def _described(trained: Trained) -> dict[str, dg.MetadataValue | str | int | float]:
    norms = np.linalg.norm(trained.vectors.items, axis=1)
    return {
        "recommender": trained.name,
        "train_seconds": trained.seconds,
        "dims": trained.vectors.items.shape[1],
        "item_vector_norms": plots.as_metadata(
            plots.distribution, norms, "Length of the items' vectors", "norm"
        ),
    }


ASSETS = [training_run, lightfm_hybrid, offline_evaluation, recommender, ranker]
