"""How good lists are: accuracy, coverage, novelty, diversity, exposure, by groups of users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from models.data.interactions.matrices import InteractionMatrix
from models.evaluation.metrics import exposure
from models.evaluation.metrics.exposure import Exposure, ItemFacts
from models.evaluation.metrics.list_quality import intra_list_diversity, popular_lists, serendipity
from models.evaluation.metrics.user_groups import user_groups
from models.recommenders.base import Dataset, Scorer
from models.recommenders.judging import TestSet, hits_of, ranking_metrics, recommend

PER_USER = ("ndcg", "recall", "map", "mrr", "hit_rate")
SEGMENTS = ("cold", "warm", "heavy")
COLD_ITEM = 5
"""An item that fewer users touched before the split is cold."""
COLD_USERS, COLD_ITEMS, NEW_ITEMS = "cold users", "cold items", "new items"
"""Groups: users who had done nothing before the split; who liked a cold item, or one that nobody
had touched."""


@dataclass(frozen=True)
class Background:
    """What the lists of all recommenders are held against: made once for a test.

    Attributes:
        items: what was known of them.
        groups: name → bool, shape (t,): users who are judged apart.
        popular: what is popular and new to each, shape (t, k).
        consumed, catalogue: exposure as users chose after the split, and if all had the same.
    """

    items: ItemFacts
    groups: dict[str, NDArray[np.bool_]]
    popular: NDArray[np.int64]
    consumed: Exposure
    catalogue: Exposure

    @classmethod
    def of(cls, dataset: Dataset, test: TestSet, *, k: int) -> Self:
        facts, settings = ItemFacts.of(dataset), dataset.profile.popularity
        # As PopularityRecommender ranks, whose lists then surprise nobody.
        prior = dataset.popularity.prior(settings.overall_share, settings.floor)
        return cls(
            facts,
            user_groups(dataset, test.users, test.segments),
            popular_lists(prior.astype(np.float32), test.seen, min(k, test.seen.shape[1])),
            exposure.of_consumption(test.relevant, facts),
            exposure.of_catalogue(facts),
        )


@dataclass(frozen=True)
class Evaluation:
    """How one recommender did.

    Attributes:
        recommender: its name.
        metrics: name → value; names are ``ndcg@10``, ``coverage``, ``ndcg@10.cold``, …
        per_user: name → float64, shape (t,), for paired tests; ``after_ranker``: nDCG of the
            feed after that stage.
        groups: name of a group → nDCG of its users, shape (users of it,). In ``COLD_ITEMS`` and
            ``NEW_ITEMS`` are those who liked such an item, and nothing but such items counts.
        exposure: of what the lists show.
        background: what this is held against.
        chosen_by: nDCG of the users of the choosing window, by which the winner is found; None: by
            those of the test.
    """

    recommender: str
    metrics: dict[str, float]
    per_user: dict[str, NDArray[np.float64]]
    groups: dict[str, NDArray[np.float64]]
    exposure: Exposure
    background: Background
    chosen_by: NDArray[np.float64] | None = None

    @property
    def choosing(self) -> NDArray[np.float64]:
        """nDCG of each user by whom recommenders are chosen."""
        return self.per_user["ndcg"] if self.chosen_by is None else self.chosen_by

    @property
    def everybody(self) -> NDArray[np.float64]:
        """nDCG of each user of the test, then of each by whom recommenders are chosen besides."""
        others = np.zeros(0) if self.chosen_by is None else self.chosen_by
        return np.concatenate([self.per_user["ndcg"], others])

    def with_stages(self, stages: Mapping[str, NDArray[np.float64]], k: int) -> Self:
        """With the nDCG after each stage of the feed among the metrics: ``ndcg@10.after_ranker``.

        Args:
            stages: by name, of each user, shape (t,).
        """
        means = {f"ndcg@{k}.after_{name}": float(of.mean()) for name, of in stages.items()}
        of_users = {f"after_{name}": of for name, of in stages.items()}
        return replace(self, metrics=self.metrics | means, per_user=self.per_user | of_users)

    def stages(self, k: int) -> dict[str, float]:
        """What ``with_stages`` was given, as means."""
        start = f"ndcg@{k}.after_"
        return {
            name.removeprefix(start): value
            for name, value in self.metrics.items()
            if name.startswith(start)
        }


def evaluate(
    recommender: Scorer,
    dataset: Dataset,
    test: TestSet,
    *,
    k: int,
    background: Background | None = None,
) -> Evaluation:
    """Rank the whole catalogue for every judged user, by a recommender alone: no rules, no
    ranker. O(users * items), in flat memory. Arguments as ``evaluate_lists``."""
    top = recommend(recommender, test.users, test.seen, k)
    return evaluate_lists(recommender.name, top, dataset, test, k=k, background=background)


def evaluate_lists(
    name: str,
    top: NDArray[np.integer],
    dataset: Dataset,
    test: TestSet,
    *,
    k: int,
    background: Background | None = None,
) -> Evaluation:
    """Judge the lists that users got, whatever made them.

    ``docs/evaluation.md`` has the formula and source of each metric. Means over users: nDCG,
    recall (of ``min(k, relevant)``), MAP, MRR, hit rate, each also by segment and for cold and new
    items alone; diversity and serendipity. Of the lists together: coverage, novelty, popularity
    bias and exposure.

    Args:
        top: items of each judged user, best first, shape (t, k), -1: none.
        background: ``Background.of`` the same arguments, where it is made already.
    """
    background = background or Background.of(dataset, test, k=k)
    hits = hits_of(top, test.relevant)
    per_user = ranking_metrics(hits, np.diff(test.relevant.indptr))
    metrics = {f"{name}@{k}": float(values.mean()) for name, values in per_user.items()}
    for segment in SEGMENTS:
        inside = test.segments == segment
        metrics[f"users.{segment}"] = float(inside.sum())
        if inside.any():
            metrics |= {
                f"{name}@{k}.{segment}": float(values[inside].mean())
                for name, values in per_user.items()
            }
    groups = {name: per_user["ndcg"][inside] for name, inside in background.groups.items()}
    for group, limit in ((COLD_ITEMS, COLD_ITEM), (NEW_ITEMS, 1)):
        found = _of_some_items(top, hits, test.relevant, background.items.users < limit)
        segment = group.replace(" ", "_")
        metrics[f"users.{segment}"] = float(len(found["ndcg"]))
        if metrics[f"users.{segment}"]:
            groups[group] = found["ndcg"]
            metrics |= {
                f"{name}@{k}.{segment}": float(values.mean()) for name, values in found.items()
            }
    per_user["diversity"] = intra_list_diversity(top, dataset.item_features.values)
    per_user["serendipity"] = serendipity(top, hits, background.popular)
    metrics |= {name: float(per_user[name].mean()) for name in ("diversity", "serendipity")}
    shown = exposure.of_lists(top, background.items)
    metrics |= list_metrics(top, dataset.matrix) | shown.metrics()
    metrics["users"] = float(len(test.users))
    return Evaluation(name, metrics, per_user, groups, shown, background)


def list_metrics(top: NDArray[np.integer], matrix: InteractionMatrix) -> dict[str, float]:
    """Of lists of items (-1: nothing): coverage (share of items in any list), novelty (mean
    ``-log2`` of an item's share of users, with one more user who saw all; Vargas and Castells
    2011) and popularity bias (mean popularity percentile, 0.5 = none)."""
    shown = top[top >= 0]
    n_users, n_items = matrix.values.shape
    if not len(shown):
        return {"coverage": 0.0, "novelty": 0.0, "popularity_bias": 0.0}
    counts = np.bincount(matrix.values.indices, minlength=n_items)
    share = (counts + 1) / (n_users + 1)
    percentile = exposure.popularity_percentile(counts)
    return {
        "coverage": len(np.unique(shown)) / n_items,
        "novelty": float(-np.log2(share[shown]).mean()),
        "popularity_bias": float(percentile[shown].mean()),
    }


def _of_some_items(
    top: NDArray[np.integer],
    hits: NDArray[np.bool_],
    relevant: sparse.csr_array,
    some: NDArray[np.bool_],
) -> dict[str, NDArray[np.float64]]:
    """Metrics as if nothing else were relevant, of the users to whom any of ``some`` is.

    Args:
        some: shape (items,).
    """
    row = np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr))
    wanted = np.bincount(row, some[relevant.indices], minlength=relevant.shape[0])
    judged = wanted > 0
    return ranking_metrics((hits & some[top])[judged], wanted[judged].astype(np.int64))


def table(evaluations: Iterable[Evaluation], k: int) -> pl.DataFrame:
    """One row a recommender, best nDCG first."""
    rows = [
        {
            "recommender": evaluation.recommender,
            **{name: value for name, value in evaluation.metrics.items() if "." not in name},
        }
        for evaluation in evaluations
    ]
    return pl.DataFrame(rows).sort(f"ndcg@{k}", descending=True)
