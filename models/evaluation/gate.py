"""The gate: may a new version take the champion's place?

Comparisons are over the same users, each a paired t-test of nDCG@k, which for rankings agrees
with the randomisation test (Smucker, Allan and Carterette 2007, "A comparison of statistical
significance tests for information retrieval evaluation"):

*split*: out of sample, config against config. What the candidate's config learns from the past is
judged by what came after, beside what the champion's config learns from the same past; if both are
the same, the difference is 0 by construction. The champion's own vectors are not judged by the
test window: one that was trained later has seen it, and one that was trained before has made it,
since people click what they are shown.

*ranker*: the final ranker must not put users whom its training left out worse than the
recommender does alone, beyond the noise.

*final*, *artifacts*: the vectors that would serve, judged by the same interactions. They have
seen them, so they must not do much worse than what their own config made of the past, nor than
the champion's vectors if those are of the same config. (Vectors of another config fit what they
have seen more closely or less, and are none the better or worse for it.) This says nothing of
which version is better. It shows a training that went wrong: what it made does not even fit what
it learnt from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.snapshots.snapshot import Snapshot
from models.data.ids import IdIndex
from models.data.interactions.splits import of_known
from models.evaluation.comparison import Comparison
from models.evaluation.feed import FeedJudge
from models.profile.ranker_settings import parts_of
from models.profile.schema import Profile
from models.profile.training_sections import Gate
from models.ranking.training.second_stage import SecondStage, training_moment
from models.recommenders import zoo
from models.recommenders.base import Dataset, ProgressOf
from models.recommenders.judging import TestSet, ndcg_and_coverage, random_ndcg
from models.recommenders.served import ByVectors, as_served, of_snapshot
from models.recommenders.simple.heuristic import Heuristic
from models.recommenders.simple.popularity import PopularityRecommender
from models.versions.config import Config
from models.versions.version import ModelVersion

ARTIFACT_USERS = 500
"""Users by whom vectors are compared: a collapse shows with fewer."""

Status = Literal["passed", "refused", "not_enough_data", "skipped"]
Floats = NDArray[np.floating]
Past = Callable[[Profile, datetime], Dataset]


@dataclass(frozen=True)
class Version:
    """A trained version, as the gate looks at it.

    Attributes:
        config: None: it was registered before configs were kept.
        metrics: of its run in MLflow.
    """

    number: str
    recommender: str
    config: Config | None
    users: IdIndex
    items: IdIndex
    served: ByVectors
    metrics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, registered: ModelVersion, snapshot: Snapshot) -> Self:
        """The version whose snapshot this is."""
        tags = registered.tags
        config = tags.get("recipe")
        return cls(
            registered.version,
            tags.get("recommender", snapshot.manifest.recommender or "unknown"),
            Config.from_json(config) if config else None,
            snapshot.users.ids,
            snapshot.items.ids,
            of_snapshot(snapshot),
            registered.metrics,
        )


class Frozen:
    """What a version serves, over the ids of another dataset.

    Users whom it does not know get what it ranks for anybody, its bias. Items that it does not
    know cannot come from it.
    """

    def __init__(self, version: Version, users: IdIndex, items: IdIndex) -> None:
        self.name = version.recommender
        self._served = version.served
        self._user_rows = version.users.indices(users.to_series())
        item_rows = version.items.indices(items.to_series())
        self._in_model = item_rows >= 0
        self._item_rows = item_rows[self._in_model]

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        rows = self._user_rows[users]
        scores = np.full((len(users), len(self._in_model)), -np.inf, np.float32)
        scores[:, self._in_model] = self._served.vectors.bias[self._item_rows]
        indexed = np.flatnonzero(rows >= 0)
        of_model = self._served.score(rows[indexed])[:, self._item_rows]
        scores[np.ix_(indexed, self._in_model)] = of_model
        return scores


@dataclass(frozen=True)
class Paired:
    """Two rankings of the same users by a metric of which more is better.

    Attributes:
        candidate, champion: means.
        difference: candidate - champion; ``low`` and ``high`` bound it at the confidence.
        relative: difference / champion; 0 if both are 0.
        p_worse: of seeing so low a difference were the candidate as good.
    """

    users: int
    candidate: float
    champion: float
    difference: float
    low: float
    high: float
    relative: float
    p_worse: float

    @classmethod
    def of(cls, candidate: Floats, champion: Floats, *, confidence: float) -> Self:
        """Compare user by user.

        Args:
            candidate, champion: shape (users,), at least one.
        """
        from scipy import stats  # takes a second: only who compares

        difference = np.asarray(candidate, float) - np.asarray(champion, float)
        mean, level = float(difference.mean()), float(np.mean(champion))
        low, high, p_worse = mean, mean, float(mean >= 0)
        if np.ptp(difference) > 0:
            test = stats.ttest_1samp(difference, 0.0)
            bounds = test.confidence_interval(confidence)
            low, high = float(bounds.low), float(bounds.high)
            p_worse = float(stats.ttest_1samp(difference, 0.0, alternative="less").pvalue)
        return cls(
            len(difference),
            float(np.mean(candidate)),
            level,
            mean,
            low,
            high,
            mean / level if level > 0 else 0.0,
            p_worse,
        )

    def __str__(self) -> str:
        return (
            f"nDCG {self.candidate:.4f} against {self.champion:.4f} "
            f"({self.relative:+.1%}; {self.low:+.4f} to {self.high:+.4f}; {self.users} users)"
        )


@dataclass(frozen=True)
class Finding:
    """What one check of the gate says, in a sentence."""

    check: str
    status: Status
    text: str
    paired: Paired | None = None


@dataclass(frozen=True)
class Report:
    """All that the gate found."""

    candidate: str
    champion: str | None
    findings: tuple[Finding, ...]

    @property
    def refusal(self) -> str | None:
        """Why the candidate must not go live; None: it may."""
        refused = (finding for finding in self.findings if finding.status == "refused")
        return "; ".join(f"{finding.check}: {finding.text}" for finding in refused) or None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"refused": self.refusal}


def judge(
    candidate: Version,
    champion: Version | None,
    comparison: Comparison,
    users: IdIndex,
    items: IdIndex,
    profile: Profile,
    past: Past,
    interactions: pl.LazyFrame,
    *,
    progress: ProgressOf | None = None,
) -> Report:
    """Compare a candidate with a random order, with its own past, and with the champion.

    Args:
        comparison: of the candidate's training, whose rows are ``users`` and ``items``.
        past: what was known at a moment, by a profile. Asked only when a config must be refitted.
        interactions: from which rankers learn: user_id, item_id, type, occurred_at, metadata.
        progress: of a config that is refitted.
    """
    rules = profile.gate
    number = champion.number if champion else None
    findings = _final(candidate, comparison, users, items, rules)
    findings += _ranker(candidate)
    if champion is not None:
        findings += _on_split(
            candidate, champion, comparison, profile, past, interactions, progress
        )
        findings.append(
            _artifacts(candidate, champion, comparison.test, users, items, rules, comparison.k)
        )
    return Report(candidate.number, number, tuple(findings))


def _sample(rows: NDArray[np.integer]) -> NDArray[np.integer]:
    if len(rows) <= ARTIFACT_USERS:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, ARTIFACT_USERS, replace=False))


def _final(
    candidate: Version, comparison: Comparison, users: IdIndex, items: IdIndex, rules: Gate
) -> list[Finding]:
    """The final vectors against chance, and against the same config before the split."""
    test, k = comparison.test, comparison.k
    rows = _sample(np.arange(len(test.users)))
    sample = TestSet(test.users[rows], test.relevant[rows], test.seen[rows], test.segments[rows])
    ours = ndcg_and_coverage(Frozen(candidate, users, items), sample, k=k)[0]
    # The heuristic has no vectors: popularity's stand in for them.
    name, _ = parts_of(candidate.recommender)
    past = comparison.of(PopularityRecommender.name if name == Heuristic.name else name)
    alone = past.per_user["after_recommender"]  # the vectors by themselves, as ours
    sides = "the final vectors against the same config before the split: "
    return [
        _beats_random(sample, ours, k, rules),
        _compared("final", ours, alone[rows], rules, rules.max_artifact_drop, sides),
    ]


def _ranker(candidate: Version) -> list[Finding]:
    """The final ranker, by users whom its training left out; nothing, where there is none."""
    metrics = candidate.metrics
    if "ranker.not_worse" not in metrics:
        return []
    stands = metrics["ranker.not_worse"] > 0
    text = (
        f"the final ranker's order against the recommender's own, users whom it has not seen: "
        f"nDCG {metrics['ranker.ndcg']:.4f} against {metrics['ranker.base_ndcg']:.4f}"
    )
    return [Finding("ranker", "passed" if stands else "refused", text)]


def _artifacts(
    candidate: Version,
    champion: Version,
    test: TestSet,
    users: IdIndex,
    items: IdIndex,
    rules: Gate,
    k: int,
) -> Finding:
    """The final vectors of both sides, over what both know."""
    if champion.config != candidate.config:
        text = "vectors of different configs fit what they have seen more closely or less"
        return Finding("artifacts", "skipped", text)
    sides = (candidate, champion)
    chosen = np.flatnonzero(
        np.logical_and.reduce([side.items.indices(items.to_series()) >= 0 for side in sides])
    )
    relevant = sparse.csr_array(test.relevant[:, chosen])
    judged = np.diff(relevant.indptr) > 0
    for side in sides:
        judged &= side.users.indices(users.to_series())[test.users] >= 0
    rows = _sample(np.flatnonzero(judged))
    seen = sparse.csr_array(test.seen[rows][:, chosen])
    shared = TestSet(test.users[rows], relevant[rows], seen, test.segments[rows])
    common = IdIndex.of(items.to_series().gather(chosen))
    ours, theirs = (
        ndcg_and_coverage(Frozen(side, users, common), shared, k=k)[0] for side in sides
    )
    return _compared(
        "artifacts", ours, theirs, rules, rules.max_artifact_drop, "the vectors of both: "
    )


def _beats_random(test: TestSet, ndcg: Floats, k: int, rules: Gate) -> Finding:
    if len(ndcg) < rules.min_users:
        return _too_few("random", len(ndcg), rules)
    if test.relevant.shape[1] <= 2 * k:
        return Finding("random", "skipped", f"a random order of so few items is good at {k}")
    paired = Paired.of(ndcg, random_ndcg(test, k=k), confidence=rules.confidence)
    better = paired.difference > 0 and 1 - paired.p_worse < 1 - rules.confidence
    verb = "beats" if better else "does not beat"
    return Finding("random", "passed" if better else "refused", f"{verb} chance: {paired}", paired)


def _too_few(check: str, users: int, rules: Gate) -> Finding:
    text = f"not enough data: {users} users, {rules.min_users} are needed"
    return Finding(check, "not_enough_data", text)


def _on_split(
    candidate: Version,
    champion: Version,
    comparison: Comparison,
    profile: Profile,
    past: Past,
    interactions: pl.LazyFrame,
    progress: ProgressOf | None,
) -> list[Finding]:
    """The configs, out of sample, by all users whom either is chosen or judged by."""
    rules = profile.gate
    own = comparison.of(candidate.recommender)
    ours = own.everybody, own.metrics["coverage"]
    if champion.config is None:
        text = "the champion's config is not known"
        return [Finding("split", "skipped", text)]
    if champion.config == candidate.config:
        text = "the champion's config is the same: the difference is 0 by construction"
        return [Finding("split", "passed", text)]
    compared = {evaluated.recommender: evaluated for evaluated in comparison.evaluations}
    there = compared.get(champion.config.recommender)
    if there is not None and champion.config == Config.of(there.recommender, profile):
        theirs: tuple[Floats, float] = there.everybody, there.metrics["coverage"]
    else:
        try:
            theirs = _refitted(champion.config, comparison, profile, past, interactions, progress)
        except ValueError as error:
            text = f"this release cannot make the champion's config: {error}"
            return [Finding("split", "skipped", text)]
    sides = f"the champion's config ({champion.config.recommender}), refitted on the same past: "
    return _by_split(ours, theirs, rules, sides)


def _refitted(
    config: Config,
    comparison: Comparison,
    profile: Profile,
    past: Past,
    interactions: pl.LazyFrame,
    progress: ProgressOf | None,
) -> tuple[Floats, float]:
    """What a config makes of the past, as it would be served: nDCG by user, and coverage. Where
    the profile wants no ranker, that of the config is left out, as the feed leaves it out.

    Raises:
        ValueError: this release does not know the recommender or a setting, or it does not train.
    """
    changed, split = config.profile(profile), comparison.split_at
    name, kind = parts_of(config.recommender)
    train, held = past(changed, split), comparison.held
    if held is not None:
        train = held.train(train)
    tell = progress and progress(f"{name}, of the champion's config")
    made = as_served(zoo.make(name, changed).fit(train, progress=tell), train)
    test, choosing = comparison.test, comparison.choosing
    judge, ranker = FeedJudge.of(train, test, interactions, choosing, held), None
    if kind and changed.ranker.kinds and isinstance(made, ByVectors):
        counted = of_known(interactions, train.users, train.items)
        began = training_moment(counted, split, changed.evaluation.test_share)
        behind = SecondStage(
            made,
            train,
            judge.past.events,
            lambda: (past(changed, began), None),
            progress=progress,
        )
        ranker, _ = behind.ranker(kind)
    evaluated = judge.evaluate(config.recommender, made, ranker)
    return evaluated.everybody, evaluated.metrics["coverage"]


def _by_split(
    ours: tuple[Floats, float], theirs: tuple[Floats, float], rules: Gate, sides: str
) -> list[Finding]:
    return [
        _compared("split", ours[0], theirs[0], rules, rules.min_effect, sides),
        _covered("split coverage", ours[1], theirs[1], rules, len(ours[0])),
    ]


def _compared(
    check: str, ours: Floats, theirs: Floats, rules: Gate, max_drop: float, sides: str
) -> Finding:
    """nDCG over the same users: refused if it is surely lower, and by more than ``max_drop``."""
    if len(ours) < rules.min_users:
        return _too_few(check, len(ours), rules)
    paired = Paired.of(ours, theirs, confidence=rules.confidence)
    worse = paired.p_worse < 1 - rules.confidence and paired.relative < -max_drop
    return Finding(check, "refused" if worse else "passed", f"{sides}{paired}", paired)


def _covered(check: str, ours: float, theirs: float, rules: Gate, users: int) -> Finding:
    """The share of items in any list: refused if it is lower by more than the limit."""
    if users < rules.min_users:
        return _too_few(check, users, rules)
    narrower = theirs > 0 and 1 - ours / theirs > rules.max_coverage_drop
    text = f"{ours:.1%} of the items are in any list, against {theirs:.1%}"
    return Finding(check, "refused" if narrower else "passed", text)


def against_heuristic(
    report: Report, candidate: Version, comparison: Comparison, profile: Profile, why: str
) -> Report:
    """The report with the heuristic in the place of the champion, for which it answers now.

    Args:
        why: there is no champion to compare with, in a sentence.
    """
    by_name = {side.recommender: side for side in comparison.evaluations}
    ours, theirs = by_name.get(candidate.recommender), by_name.get(Heuristic.name)
    if ours is None or theirs is None:
        text = f"{why}; the profile does not name the heuristic, so it was not compared either"
        findings = [Finding("champion", "skipped", text)]
    else:
        text = f"{why}; the heuristic answers meanwhile, so it was compared with that"
        sides = [(side.everybody, side.metrics["coverage"]) for side in (ours, theirs)]
        compared = _by_split(sides[0], sides[1], profile.gate, "the heuristic on the same split: ")
        # Few items in any list are no reason to leave users without a model.
        findings = [Finding("champion", "skipped", text), compared[0]]
    return replace(report, findings=(*report.findings, *findings))
