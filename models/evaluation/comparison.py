"""From frames to a dataset, and from a dataset to the best recommender."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

import numpy as np
import polars as pl

from models.catalogue.building import Catalogue, Vectors
from models.data.features import Features
from models.data.ids import IdIndex
from models.data.interactions.engagement import engagement
from models.data.interactions.matrices import InteractionMatrix, interaction_matrix, liked_times
from models.data.interactions.popularity import popularity
from models.data.interactions.splits import of_known, split_moment
from models.evaluation.breakdown import Breakdown, breakdown
from models.evaluation.feed import FeedJudge
from models.evaluation.held_back import HeldBack, together
from models.evaluation.metrics import evaluation
from models.profile.ranker_settings import Kind, parts_of, with_ranker
from models.profile.schema import Profile
from models.ranking.learned import LearnedRanker
from models.ranking.training.second_stage import SecondStage
from models.recommenders import judging, zoo
from models.recommenders.base import Dataset, Plan, ProgressOf, Scorer
from models.recommenders.served import ByVectors, as_served
from models.recommenders.validation import with_validation

Made = tuple[Scorer, LearnedRanker | None]
WINDOW_USERS = 50
"""Of what a winner is chosen by apart, and of what is judged by apart, at least."""


class NothingToJudge(ValueError):
    """The log has nothing that a model could be judged by; the message says what is missing."""


def build_dataset(
    interactions: pl.LazyFrame,
    catalogue: Catalogue,
    users: IdIndex,
    items: IdIndex,
    user_features: Features,
    item_features: Features,
    profile: Profile,
    *,
    as_of: datetime,
    matrix: InteractionMatrix | None = None,
) -> Dataset:
    """What was known at ``as_of``: later interactions are left out. O(interactions).

    Args:
        matrix: the matrix as of then, where it is made already.
    """
    past = interactions.filter(pl.col("occurred_at") < as_of)
    if matrix is None:
        matrix = interaction_matrix(
            past,
            users,
            items,
            profile.interaction_weights,
            profile.interaction_types,
            half_life_days=profile.matrix.half_life_days,
            now=as_of,
        )
    counted = engagement(past, profile.engagement_weights, profile.interaction_types)
    dataset = Dataset(
        matrix=matrix,
        popularity=popularity(
            past, items, profile.interaction_weights, profile.popularity.half_life_share
        ),
        user_features=user_features,
        item_features=item_features,
        catalogue=replace(catalogue, engagement=counted),
        profile=profile,
        as_of=as_of,
        times=liked_times(past, users, items, profile.interaction_weights),
    )
    shares = [profile.lightfm.validation_share]
    shares += [settings.validation_share for settings in profile.recommenders.values()]
    share = max((value for value in shares if value is not None), default=None)
    return dataset if share is None else with_validation(dataset, past, share)


@dataclass(frozen=True)
class Comparison:
    """All recommenders on one split by time, and the best of them with rankers behind it.

    Attributes:
        winner: name of the one that should be registered.
        verdict: why, in a sentence.
        test: who was judged, and by what.
        failed: why others could not be trained, by name.
        plans: of the blends among them, by name.
        choosing: who it was chosen by besides, and by what; None: by the test.
        held: what was held back from all of them for that.
        breakdown: of the winning recommender's feed; None: it is not at hand any more.
        vectors: of the winning recommender, as it was trained on the past, where a ranker won
            behind it: the ranker that goes live learns from what they put first.
    """

    split_at: datetime
    evaluations: list[evaluation.Evaluation]
    winner: str
    verdict: str
    k: int
    test: judging.TestSet
    failed: dict[str, str] = field(default_factory=dict)
    vectors: Vectors | None = None
    plans: dict[str, Plan] = field(default_factory=dict)
    breakdown: Breakdown | None = None
    choosing: judging.TestSet | None = None
    held: HeldBack | None = None

    def without_ranker(self, why: str) -> Comparison:
        """The same, where the recommender goes live without the ranker that won behind it."""
        name, _ = parts_of(self.winner)
        return replace(self, winner=name, verdict=f"{self.verdict}; {why}", vectors=None)

    def without(self, name: str, why: str) -> Comparison:
        """The same without that recommender, which could not be trained on everything.

        Raises:
            ValueError: no other is left.
        """
        failed = self.failed | {name: why}
        left = [entry for entry in self.evaluations if parts_of(entry.recommender)[0] != name]
        winner, verdict = _choose(left, failed, self.k)
        return replace(
            self,
            evaluations=left,
            winner=winner,
            verdict=verdict,
            failed=failed,
            vectors=None,
            breakdown=None,
        )

    def of(self, name: str) -> evaluation.Evaluation:
        return next(entry for entry in self.evaluations if entry.recommender == name)

    def table(self) -> pl.DataFrame:
        return evaluation.table(self.evaluations, self.k)


def compare(
    dataset: Dataset,
    interactions: pl.LazyFrame,
    *,
    earlier: Callable[[], Dataset] | None = None,
    progress: ProgressOf | None = None,
) -> Comparison:
    """Train the profile's recommenders on ``dataset``, each judged by the feed that it gives.

    Chosen by the newest items of users who did nothing after ``dataset.as_of``, which are held
    back, and by the first half of what came after it; judged by the second half. Where either half
    has fewer than ``WINDOW_USERS`` to judge by, all that came after is judged by, and chosen by
    too where nothing is held back.

    The first one that no other beats beyond the noise (paired, by nDCG) wins, in the order of
    the profile. Then rankers are trained behind it: one wins if it beats the recommender alone
    beyond the noise. What cannot be trained is left out. What ``progress`` raises is no such
    failure if it is no ``Exception``, and ends it all.

    Args:
        earlier: makes what was known when the rankers' training set begins; None: no rankers.

    Raises:
        NothingToJudge: no user has anything to find after the split.
        ValueError: none could be trained.
    """
    profile, rules = dataset.profile, dataset.profile.evaluation
    came = interactions.filter(pl.col("occurred_at") >= dataset.as_of)
    future, test = _test_of(dataset, came)
    if len(test.users) == 0:
        raise NothingToJudge(_nobody_to_judge(dataset, future))
    choosing, test = _windows(dataset, came) or (None, test)
    held = HeldBack.of(dataset, future, rules.held_back_users)
    if held is not None and len(held.users) < WINDOW_USERS:
        held = None
    if held is not None:
        dataset = held.train(dataset)
        newest = held.test_set(dataset, rules.heavy_user)
        choosing = newest if choosing is None else together(newest, choosing)
    judge = FeedJudge.of(dataset, test, interactions, choosing, held)
    evaluations: list[evaluation.Evaluation] = []
    failed: dict[str, str] = {}
    plans: dict[str, Plan] = {}

    def judged(name: str, make: Callable[[], Made]) -> Made | None:
        try:
            started = time.perf_counter()
            made = make()
            trained = time.perf_counter()
            evaluated = judge.evaluate(name, *made)
        except Exception as error:
            failed[name] = reason_of(error)
            return None
        if isinstance(made[0], ByVectors) and made[0].plan is not None:
            plans[name] = made[0].plan
        seconds = {
            "seconds_to_train": trained - started,
            "seconds_to_score": time.perf_counter() - trained,
        }
        evaluations.append(replace(evaluated, metrics=evaluated.metrics | seconds))
        return made

    # Only the favourite so far is kept: the vectors of all would fill the memory.
    favourite: Scorer | None = None
    for name in profile.recommenders:
        made = judged(name, partial(_alone, name, dataset, progress))
        if made is not None and _best(evaluations, rules.k)[0] == name:
            favourite = made[0]
        del made
    winner, verdict = _choose(evaluations, failed, rules.k)
    vectors = None
    if earlier is not None and profile.ranker.kinds:
        if favourite is None or favourite.name != winner:  # an earlier one stands again
            favourite = _fitted(winner, dataset, progress, plans.get(winner))
        if isinstance(favourite, ByVectors):
            base, alone, made_then = favourite, len(evaluations), earlier
            behind = SecondStage(
                base, dataset, judge.past.events, lambda: (made_then(), None), progress=progress
            )
            for kind in profile.ranker.kinds:
                judged(with_ranker(winner, kind), partial(_behind, base, behind, kind))
            winner, verdict = _with_best_ranker(winner, verdict, evaluations, alone, rules.k)
            vectors = base.vectors if parts_of(winner)[1] else None
    parts = None
    if favourite is not None and favourite.name == parts_of(winner)[0]:
        parts = breakdown(judge, favourite)
    return Comparison(
        dataset.as_of,
        evaluations,
        winner,
        verdict,
        rules.k,
        test,
        failed,
        vectors,
        plans,
        parts,
        choosing,
        held,
    )


def _test_of(dataset: Dataset, later: pl.LazyFrame) -> tuple[InteractionMatrix, judging.TestSet]:
    """What users did later, and who is judged by what of it."""
    profile, rules = dataset.profile, dataset.profile.evaluation
    future = interaction_matrix(
        later,
        dataset.users,
        dataset.items,
        profile.interaction_weights,
        profile.interaction_types,
    )
    return future, judging.test_set(
        dataset.matrix, future, heavy_user=rules.heavy_user, max_users=rules.max_users
    )


def _windows(
    dataset: Dataset, came: pl.LazyFrame
) -> tuple[judging.TestSet, judging.TestSet] | None:
    """To choose by, and to judge by; None: too few users for two."""
    middle = split_moment(of_known(came, dataset.users, dataset.items), 0.5)
    at = pl.col("occurred_at")
    choosing, judged = (
        _test_of(dataset, came.filter(part))[1] for part in (at < middle, at >= middle)
    )
    if min(len(choosing.users), len(judged.users)) < WINDOW_USERS:
        return None
    return choosing, judged


def _nobody_to_judge(dataset: Dataset, future: InteractionMatrix) -> str:
    """What is missing."""
    if dataset.matrix.positive.nnz or future.positive.nnz:
        return (
            f"nobody liked anything new to them after {dataset.as_of:%Y-%m-%d %H:%M}: a model "
            "is judged by users who like items that they had not touched before"
        )
    weights = dataset.profile.interaction_weights
    likes = ", ".join(name for name, weight in weights.items() if weight > 0)
    return f"nobody likes anything: interactions that count as that are needed ({likes})"


def _fitted(
    name: str, dataset: Dataset, progress: ProgressOf | None, plan: Plan | None = None
) -> Scorer:
    tell = progress and progress(name)
    return as_served(zoo.make(name, dataset.profile, plan).fit(dataset, progress=tell), dataset)


def _alone(name: str, dataset: Dataset, progress: ProgressOf | None) -> Made:
    return _fitted(name, dataset, progress), None


def _behind(base: Scorer, behind: SecondStage, kind: Kind) -> Made:
    return base, behind.ranker(kind)[0]


def reason_of(error: Exception) -> str:
    """Why a recommender could not be trained."""
    return f"{type(error).__name__}: {error}"


def _choose(
    evaluations: list[evaluation.Evaluation], failed: dict[str, str], k: int
) -> tuple[str, str]:
    """The winner, and why, which names what was left out."""
    if not evaluations:
        raise ValueError(f"recommenders: none could be trained: {failed}")
    winner, verdict = _best(evaluations, k)
    if failed:
        verdict += f"; left out, since not to be trained: {', '.join(failed)}"
    return winner, verdict


def _best(evaluations: list[evaluation.Evaluation], k: int) -> tuple[str, str]:
    best = max(evaluations, key=lambda one: one.choosing.mean())
    for entry in evaluations:
        stands, difference, half = judging.not_worse(entry.choosing, best.choosing)
        if entry is best:
            return entry.recommender, f"{entry.recommender} has the highest nDCG@{k}"
        if stands:
            return entry.recommender, (
                f"{entry.recommender} is level with {best.recommender}: nDCG@{k} differs by "
                f"{difference:+.4f} ± {half:.4f}"
            )
    raise AssertionError("one of them is the best")


def _with_best_ranker(
    winner: str, verdict: str, evaluations: list[evaluation.Evaluation], alone: int, k: int
) -> tuple[str, str]:
    """The recommender and the best of the rankers behind it, from the place ``alone`` on, if that
    is better than the recommender beyond the noise."""
    rankers = evaluations[alone:]
    if not rankers:
        return winner, verdict
    best = max(rankers, key=lambda one: one.choosing.mean())
    base = next(entry for entry in evaluations if entry.recommender == winner)
    stands, difference, half = judging.not_worse(base.choosing, best.choosing)
    observed = f"{best.recommender} differs from it by {-difference:+.4f} ± {half:.4f}"
    if stands:
        return winner, f"{verdict}; {observed}, so there is no ranker"
    return best.recommender, f"{verdict}; {observed}"


def fingerprint(matrix: InteractionMatrix) -> str:
    """SHA-256 of ids and values: equal data, equal fingerprint. 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for array in (
        matrix.users.offsets,
        matrix.users.data,
        matrix.items.offsets,
        matrix.items.data,
        matrix.values.indptr,
        matrix.values.indices,
        matrix.values.data,
    ):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
