"""Offline evaluation: a split by time, and ranking metrics over the whole catalogue.

Everything before the split is learnt from, everything after is judged by: no leak of
the future. Items that a user touched before the split are not recommended again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import NotFiniteError
from models.data.matrices import InteractionMatrix
from models.data.splits import of_known as of_known
from models.data.splits import split_moment as split_moment
from models.data.top import top_places
from models.evaluation import exposure
from models.evaluation.exposure import Exposure, ItemFacts
from models.evaluation.list_quality import intra_list_diversity, popular_lists, serendipity
from models.evaluation.user_groups import user_groups
from models.recommenders.base import Dataset, Scorer

BLOCK_SCORES = 20_000_000
"""Scores held at once (80 MB): memory stays flat whatever the catalogue's size."""

PER_USER = ("ndcg", "recall", "map", "mrr", "hit_rate")
SEGMENTS = ("cold", "warm", "heavy")
COLD_ITEM = 5
"""An item that fewer users touched before the split is cold."""
COLD_ITEMS = "cold items"


@dataclass(frozen=True)
class TestSet:
    """What users liked after the split, and who is judged.

    Attributes:
        users: int, shape (t,): rows of the judged users.
        relevant: CSR, shape (t, items): what each of them liked, and had not touched before.
        seen: CSR, shape (t, items): what each of them touched before.
        segments: shape (t,): ``cold`` (no history), ``warm`` or ``heavy``.
    """

    __test__ = False  # not a test class, whatever pytest makes of the name

    users: NDArray[np.int64]
    relevant: sparse.csr_array
    seen: sparse.csr_array
    segments: NDArray[np.str_]


def test_set(
    train: InteractionMatrix,
    future: InteractionMatrix,
    *,
    heavy_user: int,
    max_users: int,
    seed: int = 0,  # noqa: PT028 (not a test)
) -> TestSet:
    """Users with something new to find, at most ``max_users`` of them, sampled under ``seed``."""
    relevant = future.positive
    seen = sparse.csr_array(
        (np.ones(train.values.nnz), train.values.indices, train.values.indptr),
        shape=train.values.shape,
    )
    relevant = sparse.csr_array(relevant - relevant.multiply(seen))
    relevant.eliminate_zeros()
    users = np.flatnonzero(np.diff(relevant.indptr))
    if len(users) > max_users:
        users = np.sort(np.random.default_rng(seed).choice(users, max_users, replace=False))
    history = np.diff(train.values.indptr)[users]
    segments = np.select([history == 0, history < heavy_user], ["cold", "warm"], "heavy")
    return TestSet(
        users, sparse.csr_array(relevant[users]), sparse.csr_array(seen[users]), segments
    )


test_set.__test__ = False  # type: ignore[attr-defined]


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
        groups: name of a group → nDCG of its users, shape (users of it,). In ``COLD_ITEMS`` are
            those who liked a cold item, and nothing but cold items counts.
        exposure: of what the lists show.
        background: what this is held against.
    """

    recommender: str
    metrics: dict[str, float]
    per_user: dict[str, NDArray[np.float64]]
    groups: dict[str, NDArray[np.float64]]
    exposure: Exposure
    background: Background

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
    recall (of ``min(k, relevant)``), MAP, MRR, hit rate, each also by segment and for cold items
    alone; diversity and serendipity. Of the lists together: coverage, novelty, popularity bias
    and exposure.

    Args:
        top: items of each judged user, best first, shape (t, k), -1: none.
        background: ``Background.of`` the same arguments, where it is made already.
    """
    background = background or Background.of(dataset, test, k=k)
    hits = _hits(top, test.relevant)
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
    of_cold_items = _of_some_items(top, hits, test.relevant, background.items.users < COLD_ITEM)
    metrics["users.cold_items"] = float(len(of_cold_items["ndcg"]))
    if metrics["users.cold_items"]:
        groups[COLD_ITEMS] = of_cold_items["ndcg"]
        metrics |= {
            f"{name}@{k}.cold_items": float(values.mean()) for name, values in of_cold_items.items()
        }
    per_user["diversity"] = intra_list_diversity(top, dataset.item_features.values)
    per_user["serendipity"] = serendipity(top, hits, background.popular)
    metrics |= {name: float(per_user[name].mean()) for name in ("diversity", "serendipity")}
    shown = exposure.of_lists(top, background.items)
    metrics |= list_metrics(top, dataset.matrix) | shown.metrics()
    metrics["users"] = float(len(test.users))
    return Evaluation(name, metrics, per_user, groups, shown, background)


def recommend(
    recommender: Scorer, users: NDArray[np.integer], seen: sparse.csr_array, k: int
) -> NDArray[np.int64]:
    """The k best new items of each user, shape (len(users), k), -1 where there are fewer.

    Ties go to the lower item index, so that a run can be repeated.

    Args:
        seen: shape (len(users), items): what is not new.

    Raises:
        NotFiniteError: a score is NaN or +inf. At -inf an item is never recommended.
    """
    n_items = seen.shape[1]
    k = min(k, n_items)
    block = max(1, BLOCK_SCORES // max(n_items, 1))
    parts = []
    for start in range(0, len(users), block):
        rows = users[start : start + block]
        scores = recommender.score(rows).astype(np.float32, copy=True)
        if not (scores < np.inf).all():  # nor NaN; -inf: never recommended
            raise NotFiniteError("some of the scores are NaN or infinite")
        known = seen[start : start + block]
        scores[np.repeat(np.arange(len(rows)), np.diff(known.indptr)), known.indices] = -np.inf
        best = np.array([top_places(of_user, k) for of_user in scores])
        best[np.take_along_axis(scores, best, axis=1) == -np.inf] = -1
        parts.append(best)
    return np.concatenate(parts) if parts else np.zeros((0, k), np.int64)


def ranking_metrics(
    hits: NDArray[np.bool_], relevant: NDArray[np.integer]
) -> dict[str, NDArray[np.float64]]:
    """nDCG (Järvelin and Kekäläinen 2002, binary gain), recall, MAP, MRR and hit rate of each
    user.

    Args:
        hits: shape (users, k): whether the item at each rank is relevant.
        relevant: shape (users,), at least 1: how many relevant items there are.
    """
    k = hits.shape[1]
    ranks = np.arange(1, k + 1)
    discount = 1 / np.log2(ranks + 1)
    ideal = np.concatenate(([0], np.cumsum(discount)))[np.minimum(relevant, k)]
    reachable = np.minimum(relevant, k)
    precision = np.cumsum(hits, axis=1) / ranks
    any_hit = hits.any(axis=1)
    return {
        "ndcg": (hits * discount).sum(axis=1) / ideal,
        "recall": hits.sum(axis=1) / reachable,
        "map": (hits * precision).sum(axis=1) / reachable,
        "mrr": np.where(any_hit, 1 / (hits.argmax(axis=1) + 1), 0.0),
        "hit_rate": any_hit.astype(np.float64),
    }


def ndcg_and_coverage(
    recommender: Scorer, test: TestSet, *, k: int
) -> tuple[NDArray[np.float64], float]:
    """nDCG@k of each judged user, and the share of items in any list: as ``evaluate`` does."""
    top = recommend(recommender, test.users, test.seen, k)
    return ndcg_of(top, test), len(np.unique(top[top >= 0])) / max(test.relevant.shape[1], 1)


def ndcg_of(top: NDArray[np.integer], test: TestSet) -> NDArray[np.float64]:
    """nDCG of each judged user's list, shape (t,).

    Args:
        top: items, best first, shape (t, k), -1: none.
    """
    relevant = np.diff(test.relevant.indptr)
    return ranking_metrics(_hits(top, test.relevant), relevant)["ndcg"]


def random_ndcg(test: TestSet, *, k: int) -> NDArray[np.float64]:
    """nDCG@k that a random order of the unseen items has on average, of each judged user."""
    relevant = np.diff(test.relevant.indptr)
    unseen = test.seen.shape[1] - np.diff(test.seen.indptr)
    discounts = np.concatenate(([0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))))
    shown, ideal = np.minimum(unseen, k), np.minimum(relevant, k)
    return relevant / np.maximum(unseen, 1) * discounts[shown] / discounts[ideal]


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


def _hits(top: NDArray[np.integer], relevant: sparse.csr_array) -> NDArray[np.bool_]:
    """Whether each recommended item is relevant, shape of ``top``."""
    n_items = relevant.shape[1]
    rows = np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr))
    wanted = rows * n_items + relevant.indices
    given = np.arange(len(top))[:, None] * n_items + top
    return np.isin(given, wanted) & (top >= 0)


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


def not_worse(
    candidate: NDArray[np.floating], incumbent: NDArray[np.floating], *, z: float = 1.96
) -> tuple[bool, float, float]:
    """Paired comparison over the same users: is the candidate not worse beyond the noise?

    Returns:
        (verdict, mean difference, half width of its 95 % normal interval).
    """
    difference = np.asarray(candidate) - np.asarray(incumbent)
    if len(difference) < 2:
        mean = float(difference.sum())
        return mean >= 0, mean, float("inf")
    half = z * float(difference.std(ddof=1)) / len(difference) ** 0.5
    mean = float(difference.mean())
    return mean + half >= 0, mean, half


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
