"""From frames to a dataset, and from a dataset to the best recommender."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl

from models import evaluation
from models.catalogue import Catalogue
from models.engagement import engagement
from models.features import Features
from models.ids import IdIndex
from models.matrices import InteractionMatrix, interaction_matrix
from models.popularity import popularity
from models.profile import Profile
from models.recommenders.base import Dataset, Progress, Recommender
from models.recommenders.heuristic import Heuristic
from models.recommenders.lightfm_hybrid import LightFMHybrid
from models.recommenders.popularity import PopularityRecommender

RECOMMENDERS: dict[str, type[Recommender]] = {
    kind.name: kind for kind in (LightFMHybrid, PopularityRecommender, Heuristic)
}


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
    known = interactions.filter(pl.col("occurred_at") < as_of)
    if matrix is None:
        matrix = interaction_matrix(
            known,
            users,
            items,
            profile.interaction_weights,
            half_life_days=profile.matrix.half_life_days,
            now=as_of,
        )
    return Dataset(
        matrix=matrix,
        popularity=popularity(
            known, items, profile.interaction_weights, profile.popularity.half_life_share
        ),
        user_features=user_features,
        item_features=item_features,
        catalogue=replace(catalogue, engagement=engagement(known, profile.engagement_weights)),
        profile=profile,
        as_of=as_of,
    )


@dataclass(frozen=True)
class Comparison:
    """All recommenders on one split by time.

    Attributes:
        winner: name of the one that should be registered.
        verdict: why, in a sentence.
        test: who was judged, and by what.
    """

    split_at: datetime
    evaluations: list[evaluation.Evaluation]
    winner: str
    verdict: str
    k: int
    test: evaluation.TestSet

    def of(self, name: str) -> evaluation.Evaluation:
        return next(one for one in self.evaluations if one.recommender == name)

    def table(self) -> pl.DataFrame:
        return evaluation.table(self.evaluations, self.k)

    def by_segment(self) -> list[dict[str, object]]:
        """nDCG and users of each segment, a row a recommender."""
        metric = f"ndcg@{self.k}"
        return [
            {"recommender": one.recommender}
            | {
                f"{segment} ({one.metrics[f'users.{segment}']:.0f} users)": one.metrics.get(
                    f"{metric}.{segment}", float("nan")
                )
                for segment in evaluation.SEGMENTS
            }
            for one in self.evaluations
        ]


def compare(
    dataset: Dataset, interactions: pl.LazyFrame, *, progress: Progress | None = None
) -> Comparison:
    """Train every recommender on ``dataset`` and judge it by what came after ``dataset.as_of``.

    The first one that no other beats beyond the noise (paired, by nDCG) wins; the order
    of ``RECOMMENDERS`` breaks ties, so the one that learns is preferred.

    Raises:
        ValueError: no user has anything to find after the split.
    """
    profile, rules = dataset.profile, dataset.profile.evaluation
    future = interaction_matrix(
        interactions.filter(pl.col("occurred_at") >= dataset.as_of),
        dataset.users,
        dataset.items,
        profile.interaction_weights,
    )
    test = evaluation.test_set(
        dataset.matrix, future, heavy_user=rules.heavy_user, max_users=rules.max_users
    )
    if len(test.users) == 0:
        raise ValueError(
            f"nobody liked anything new after {dataset.as_of:%Y-%m-%d %H:%M}: "
            "more interactions are needed before a model can be judged"
        )
    evaluations = [
        evaluation.evaluate(
            kind().fit(dataset, progress=progress if kind is LightFMHybrid else None),
            dataset,
            test,
            k=rules.k,
        )
        for kind in RECOMMENDERS.values()
    ]
    winner, verdict = _choose(evaluations, rules.k)
    return Comparison(dataset.as_of, evaluations, winner, verdict, rules.k, test)


def _choose(evaluations: list[evaluation.Evaluation], k: int) -> tuple[str, str]:
    best = max(evaluations, key=lambda one: one.per_user["ndcg"].mean())
    for one in evaluations:
        stands, difference, half = evaluation.not_worse(one.per_user["ndcg"], best.per_user["ndcg"])
        if one is best:
            return one.recommender, f"{one.recommender} has the highest nDCG@{k}"
        if stands:
            return one.recommender, (
                f"{one.recommender} is level with {best.recommender}: nDCG@{k} differs by "
                f"{difference:+.4f} ± {half:.4f}"
            )
    raise AssertionError("one of them is the best")


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
