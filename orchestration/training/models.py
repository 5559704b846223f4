"""Group ``model``, first part: what is learnt from, the evaluation, and the winner."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

import dagster as dg
import numpy as np
import polars as pl

from models.catalogue.building import Catalogue, Vectors
from models.data.features import Features
from models.data.interactions import splits
from models.data.interactions.matrices import InteractionMatrix
from models.evaluation.comparison import (
    Comparison,
    NothingToJudge,
    build_dataset,
    compare,
    fingerprint,
    reason_of,
)
from models.evaluation.feed import losses
from models.evaluation.newcomers import newcomers
from models.profile.ranker_settings import parts_of
from models.profile.schema import Profile
from models.ranking.learned import LearnedRanker
from models.ranking.training.backtest import with_metadata
from models.ranking.training.fitting import Report as RankerReport
from models.ranking.training.fitting import TooLittleData
from models.ranking.training.second_stage import SecondStage, training_moment
from models.recommenders import zoo
from models.recommenders.base import Dataset, Plan
from models.recommenders.served import ByVectors, vectors_of
from models.versions.lineage import Lineage
from orchestration import plots
from orchestration.data.partitions import RANGE_END, RANGE_START
from orchestration.data.sources import Rows
from orchestration.policies import OWNERS, TRAINING_POOL, value_of
from orchestration.resources import Platform
from orchestration.training.evaluation_report import Report
from orchestration.training.progress import progress_of
from orchestration.training.ranker_report import shown, warnings_of
from storage.catalogue.changes import oldest

GROUP = "model"
HYBRID = "lightfm_hybrid"
CANNOT_TRAIN = "%s is left out: it could not be trained: %s"
READ = ("interactions", "users", "items", "owners", "interaction_matrix")
"""Assets that a training reads, of which the version says which run made them."""


@dataclass(frozen=True)
class TrainingSet:
    """What one training learns from.

    Attributes:
        dataset: everything, as of when the training began.
        began: when the pipeline's run began.
    """

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


@dataclass(frozen=True)
class Evaluated:
    """The evaluation, and what is shown of it."""

    comparison: Comparison
    report: Report


@dataclass(frozen=True)
class TrainedRanker:
    """A ranker, and how its training went."""

    ranker: LearnedRanker
    report: RankerReport


@dg.asset(
    dagster_type=value_of(TrainingSet),
    group_name=GROUP,
    kinds={"polars", "numpy"},
    owners=OWNERS,
    pool=TRAINING_POOL,
)
def training_set(
    context: dg.AssetExecutionContext,
    platform: Platform,
    users: Rows,
    items: Rows,
    owners: Rows,
    interaction_matrix: InteractionMatrix,
    user_features: Features,
    item_features: Features,
) -> dg.MaterializeResult:
    """All that the recommenders learn from, as of now, and where it comes from."""
    profile, now = platform.profile, datetime.now(UTC)
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
    return dg.MaterializeResult(
        value=TrainingSet(dataset, _began(context), _lineage(context, platform, dataset)),
        metadata={
            "users": len(dataset.users),
            "items": len(dataset.items),
            "pairs": dataset.matrix.values.nnz,
            "recommenders": ", ".join(profile.recommenders),
        },
    )


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
    context: dg.AssetExecutionContext, platform: Platform, training_set: TrainingSet
) -> dg.MaterializeResult:
    """A LightFM hybrid over all interactions, users' and items' features.

    Nothing, where the profile's `recommenders` do not name it, or where it cannot be trained.
    """
    if HYBRID not in platform.profile.recommenders:
        return dg.MaterializeResult(value=None, metadata={"trained": "not among the recommenders"})
    try:
        trained = _trained(context, HYBRID, training_set.dataset)
    except Exception as error:
        context.log.warning(CANNOT_TRAIN, HYBRID, error)
        return dg.MaterializeResult(value=None, metadata={"trained": reason_of(error)})
    return dg.MaterializeResult(value=trained, metadata=_described(trained))


@dg.asset(
    dagster_type=value_of(Evaluated),
    group_name=GROUP,
    kinds={"python", "mlflow"},
    owners=OWNERS,
    pool=TRAINING_POOL,
)
def offline_evaluation(
    context: dg.AssetExecutionContext, platform: Platform, training_set: TrainingSet
) -> dg.MaterializeResult:
    """The profile's recommenders, trained on the past and each judged by the feed that it gives,
    by what came after; then the best of them with rankers behind it.

    The split is by time; the newest interactions are held out, and all recommenders see
    the same ones. What cannot be trained is left out, with a warning; so is a stage of the feed
    named that loses more than 2 % of nDCG.
    """
    whole, profile = training_set.dataset, platform.profile
    interactions = platform.lake.scan().filter(pl.col("occurred_at") < whole.as_of)
    counted = splits.of_known(interactions, whole.users, whole.items)
    past, share = partial(past_of, platform, whole, profile), profile.evaluation.test_share
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
    report = Report.of(comparison)
    for name, why in comparison.failed.items():
        context.log.warning(CANNOT_TRAIN, name, why)
    for group in newcomers(comparison):
        if group.warning:
            context.log.warning(group.warning)
    lost = losses(comparison.of(comparison.winner).stages(comparison.k))
    for loss in lost:
        context.log.warning("%s: %s", comparison.winner, loss)
    return dg.MaterializeResult(
        value=Evaluated(comparison, report),
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
    training_set: TrainingSet,
    lightfm_hybrid: Trained | None,
    offline_evaluation: Evaluated,
) -> dg.MaterializeResult:
    """The winner of the evaluation, trained on everything, as vectors that can be served.

    Where it cannot be trained on everything, the next best goes live, with a warning.
    """
    comparison, left_out = offline_evaluation.comparison, dict[str, str]()
    while True:
        winner, _ = parts_of(comparison.winner)
        try:
            if lightfm_hybrid is not None and winner == HYBRID:
                trained = lightfm_hybrid
            else:
                plan = comparison.plans.get(winner)
                trained = _trained(context, winner, training_set.dataset, plan)
            break
        except Exception as error:
            context.log.warning(CANNOT_TRAIN, winner, error)
            left_out[winner] = reason_of(error)
            comparison = comparison.without(winner, left_out[winner])
    metadata = _described(trained) | {"left_out": dg.MetadataValue.json(left_out)}
    return dg.MaterializeResult(value=replace(trained, left_out=left_out), metadata=metadata)


@dg.asset(
    dagster_type=dg.PythonObjectDagsterType((TrainedRanker, type(None)), name="RankerOrNone"),
    group_name=GROUP,
    kinds={"python", "mlflow"},
    owners=OWNERS,
    pool=TRAINING_POOL,
)
def ranker(
    context: dg.AssetExecutionContext,
    platform: Platform,
    training_set: TrainingSet,
    offline_evaluation: Evaluated,
    recommender: Trained,
) -> dg.MaterializeResult:
    """What puts the recommender's first items in order, where the evaluation found it better.

    It learns what users did after the split with what a recommender that was trained up to
    there puts first; where few did something on both sides of it, from each user's newest items.
    Nothing, where the recommender alone won, or where too few users came back
    since to learn from: then the recommender goes live alone.
    """
    comparison, profile = offline_evaluation.comparison, platform.profile
    name, kind = parts_of(comparison.winner)
    if kind is None:
        if profile.ranker.values:
            context.log.warning("ranker.values count for nothing: no ranker won behind %s", name)
        return dg.MaterializeResult(value=None, metadata={"trained": "no ranker won"})
    if recommender.left_out:
        return dg.MaterializeResult(
            value=None, metadata={"trained": f"{name}, behind which it won, could not be trained"}
        )
    assert comparison.vectors is not None, "a ranker won behind them"
    whole = training_set.dataset
    past = past_of(platform, whole, profile, comparison.split_at)
    plan = comparison.plans.get(name)
    behind = SecondStage(
        ByVectors(name, recommender.vectors, whole.histories, plan),
        whole,
        with_metadata(platform.lake.scan().filter(pl.col("occurred_at") < whole.as_of)),
        lambda: (past, comparison.vectors),
        progress=lambda what: progress_of(context, what),
    )
    try:
        learned, report = behind.ranker(kind)
    except TooLittleData as error:
        context.log.warning("%s goes live without a ranker: %s", name, error)
        return dg.MaterializeResult(value=None, metadata={"trained": str(error)})
    for warning in warnings_of(learned, report, profile):
        context.log.warning(warning)
    return dg.MaterializeResult(value=TrainedRanker(learned, report), metadata=shown(report))


def _trained(
    context: dg.AssetExecutionContext, name: str, dataset: Dataset, plan: Plan | None = None
) -> Trained:
    started = time.monotonic()
    model = zoo.make(name, dataset.profile, plan)
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


ASSETS = [training_set, lightfm_hybrid, offline_evaluation, recommender, ranker]
