"""Train the feed's ranker on what came after a recommender's training."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.profile.ranker_settings import Kind
from models.profile.schema import Profile
from models.ranking.calibration import Calibration
from models.ranking.features.event_features import features
from models.ranking.learned import LearnedRanker, Model
from models.ranking.rankers.boosted import Boosted
from models.ranking.rankers.logistic import LogisticRanker
from models.ranking.training.action_fitting import ActionsReport, Judged, fit_actions, log_loss
from models.ranking.training.backtest import Backtest
from models.ranking.training.examples import examples
from models.ranking.training.training_set import TrainingSet, training_set
from models.recommenders.base import Dataset, Progress
from models.recommenders.judging import not_worse, ranking_metrics

K = 10


class TooLittleData(ValueError):
    """Too few users liked something that they were offered."""


@dataclass(frozen=True)
class Report:
    """How a ranker's training went.

    Attributes:
        rows, positives, users: that it learnt from.
        log_loss, base_log_loss: mean over the held-out users' rows that they were shown, by its
            probabilities, and by the share that was liked alone.
        ndcg, base_ndcg: at 10, of the held-out users' candidates in its order, and in the
            recommender's.
        not_worse: the first is not below the second beyond the noise.
        importance: share of each feature, the greatest first.
        actions: where the profile gives them a value.
    """

    kind: Kind
    rows: int
    positives: int
    users: int
    held_out_users: int
    log_loss: float
    base_log_loss: float
    ndcg: float
    base_ndcg: float
    not_worse: bool
    importance: dict[str, float]
    seconds: float
    actions: ActionsReport | None = None


def learn(
    backtest: Backtest,
    later: pl.DataFrame,
    events: pl.DataFrame,
    train: Dataset,
    profile: Profile,
    kind: Kind,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[LearnedRanker, Report]:
    """Learn to order what a recommender puts first from what users did after its training.

    Args:
        backtest: the feed of a recommender that was trained on ``train``.
        later: what users did besides, as ``with_metadata`` gives it.
        events: all that they did, which the logistic one learns from.
        progress: called with how many users were looked at.

    Raises:
        TooLittleData: fewer than the profile's ``ranker.min_users`` liked something.
    """
    settings, started = profile.ranker, time.monotonic()
    data = training_set(
        backtest,
        later,
        kind,
        max_users=settings.max_users,
        unshown_weight=settings.unshown_weight,
        seed=seed,
        progress=progress,
    )
    return fit(data, events, train, profile, kind, started=started, seed=seed)


def fit(
    data: TrainingSet,
    rows: pl.DataFrame,
    train: Dataset,
    profile: Profile,
    kind: Kind,
    *,
    started: float,
    seed: int = 0,
) -> tuple[LearnedRanker, Report]:
    """Train on most users' visits, and fit probabilities to the others'.

    Args:
        rows: all interactions, as ``with_metadata`` gives them: what the logistic one learns from.
    """
    settings = profile.ranker
    wanted = np.bincount(data.visits[data.labels], minlength=len(data.groups)) > 0
    if wanted.sum() < settings.min_users:
        raise TooLittleData(
            f"{wanted.sum()} users liked something that the recommender offers them and had not "
            f"seen, ranker.min_users is {settings.min_users}: wait for more "
            "interactions, or lower it"
        )
    held_out = np.random.default_rng(seed).random(len(data.groups)) < settings.held_out
    taught, kept = data.only(~held_out), data.only(held_out)
    if not (taught.labels.any() and kept.labels.any()):
        raise TooLittleData(
            f"of {len(data.groups)} users, nobody liked anything who was learnt from, or nobody "
            "who was held out for the probabilities: wait for more interactions"
        )
    model: Model
    if kind == "boosted":
        model = Boosted.fit(
            taught.table,
            taught.labels.astype(np.int8),
            taught.weights,
            taught.groups,
            settings.boosted,
        )
        learnt, positives = len(taught.labels), int(taught.labels.sum())
    else:
        model, learnt, positives = _logistic(rows, train, profile, seed)
    scores = model.decide(kept.table)
    judged = _judged(kept)
    calibration = Calibration.fit(scores[judged], kept.labels[judged].astype(np.int8))
    actions, of_actions = None, None
    if settings.values:
        learnt_from = Judged(taught, _judged(taught), np.zeros(0))
        actions, of_actions = fit_actions(
            settings.values, learnt_from, Judged(kept, judged, scores), seed=seed
        )
    ranker = LearnedRanker(kind, data.table.names, model, calibration, actions)
    probabilities = calibration.probabilities(scores[judged])
    share = kept.labels[judged].mean()
    ndcg, base = _ndcg(kept, scores), _ndcg(kept, -np.arange(len(scores), dtype=np.float64))
    return ranker, Report(
        kind=kind,
        rows=learnt,
        positives=positives,
        users=int((~held_out).sum()),
        held_out_users=int(held_out.sum()),
        log_loss=log_loss(probabilities, kept.labels[judged]),
        base_log_loss=log_loss(np.full(len(probabilities), share), kept.labels[judged]),
        ndcg=float(ndcg.mean()) if len(ndcg) else 0.0,
        base_ndcg=float(base.mean()) if len(base) else 0.0,
        not_worse=not_worse(ndcg, base)[0],
        importance=ranker.importance(),
        seconds=time.monotonic() - started,
        actions=of_actions,
    )


def _logistic(
    rows: pl.DataFrame, train: Dataset, profile: Profile, seed: int
) -> tuple[LogisticRanker, int, int]:
    """On the examples of all interactions, each with the features of its own moment."""
    catalogue = train.catalogue
    pairs = examples(rows, catalogue.items.select("id"), profile.interaction_types, seed=seed)
    weights, types = profile.interaction_weights, profile.interaction_types
    table = features(pairs, catalogue.users, catalogue.items, rows, weights, types)
    labels = pairs["label"].to_numpy()
    model = LogisticRanker.fit(
        table, labels, pairs["weight"].to_numpy(), strength=profile.ranker.logistic.strength
    )
    return model, len(labels), int(labels.sum())


def _judged(kept: TrainingSet) -> NDArray[np.bool_]:
    """The rows that probabilities are fitted to: what was shown, or all where nobody tells."""
    passed_by = kept.shown & ~kept.labels
    return kept.shown if passed_by.any() else np.ones(len(kept.labels), bool)


def _ndcg(kept: TrainingSet, scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """nDCG of the visits that had something to like, in the order of the scores."""
    order = np.lexsort((-scores, kept.visits))
    visits, hits = kept.visits, kept.labels[order]
    rank = np.arange(len(hits)) - np.concatenate(([0], np.cumsum(kept.groups)[:-1]))[visits]
    top = np.zeros((len(kept.groups), K), bool)
    first = rank < K
    top[visits[first], rank[first]] = hits[first]
    relevant = np.bincount(visits[kept.labels], minlength=len(kept.groups))
    some = relevant > 0
    return ranking_metrics(top[some], relevant[some])["ndcg"]
