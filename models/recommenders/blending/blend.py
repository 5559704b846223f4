"""The blend: several recommenders, each a score table, by one weighted sum of standard scores.

Users' newest items are held back. On what is left each part is trained, its settings are chosen
(how fast history fades, the ridge of EASE), and the weights are learnt that order best what was
held back of a sample of users. Then each part that has a weight is trained on everything.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import Vectors
from models.catalogue.tables.factors import VectorTable
from models.catalogue.tables.kinds import ConstantTable
from models.catalogue.tables.scores import Histories, ScoreTable
from models.catalogue.tables.stored import VECTORS, Blend
from models.profile.recommender_settings import BlendSettings
from models.profile.schema import Profile
from models.recommenders import files
from models.recommenders.base import Dataset, Plan, Progress, Recommender, tie_break
from models.recommenders.blending.weights import learn_weights
from models.recommenders.folds import Fold, hold_back
from models.recommenders.judging import TestSet, ndcg_of, recommend
from models.recommenders.serving import SAMPLE, standard, usual

log = logging.getLogger("feedwright.training")
K = 10
FADES = (1.0, 2.5, 6.0, 15.0)
"""Of a table that is asked with the newest items, one of these. It stands beside the same table
asked with all that is liked, under its name and ``RECENT``."""
RECENT = "_recent"
TRIED: dict[str, tuple[dict[str, float], ...]] = {
    "pure_svd": ({"dims": 32}, {"dims": 128}, {"dims": 512}),
    "ease": ({"ridge": 150.0}, {"ridge": 500.0}, {"ridge": 1_500.0}),
    "transitions": ({"scale": 5.0, "reach": 20}, {"scale": 20.0, "reach": 60}),
}
"""Settings that depend on the data: the best of these is taken."""
CHOSEN_BY = 300
"""Users by whom settings are chosen; the weights are learnt from all that are held back."""
BLOCK_SCORES = 20_000_000
"""Scores that are held at once (80 MB)."""
MOST_SCORES = 2_000_000_000
"""Scores that a blend is learnt from at most: in a large catalogue of fewer users."""


@dataclass(frozen=True)
class Part:
    """One part of a blend, trained.

    Attributes:
        table: None: it is vectors, which follow what users do.
    """

    name: str
    recommender: Recommender
    table: ScoreTable | None

    @classmethod
    def of(cls, recommender: Recommender) -> Self:
        vectors = recommender.vectors
        assert vectors is not None, "every part has vectors or a table"
        table: ScoreTable | None = next(iter(vectors.tables.values()), None)
        if table is None and not vectors.items.shape[1]:
            table = ConstantTable(vectors.bias)
        return cls(recommender.name, recommender, table)

    def as_table(self) -> Self:
        """Vectors, as training left them."""
        vectors = self.recommender.vectors
        assert vectors is not None
        return replace(self, table=VectorTable.of(vectors.users, vectors.items, vectors.bias))

    def scores(self, histories: Histories, users: NDArray[np.integer]) -> NDArray[np.float32]:
        """Standard scores of all items, shape (n, items)."""
        if self.table is None:
            return standard(self.recommender.score(users))
        asked = histories.asked(users, self.table.fade, weighted=self.table.weighted)
        return standard(self.table.scores(asked, users, histories.liked))

    @property
    def by_history(self) -> bool:
        """Whether it is a table that is asked with a history."""
        return self.table is not None and self.table.by_history

    def asked(self, train: Dataset, fade: float | None) -> Iterator[Self]:
        """With all that is liked, and, where an order is known, with the newest items."""
        if not self.by_history:
            yield self
            return
        yield self.fading(None)
        if fade is not None and train.times is not None:
            yield self.fading(fade)

    def fading(self, fade: float | None) -> Self:
        """The same, asked with the newest items; None: with all that is liked."""
        name = self.recommender.name + (RECENT if fade is not None else "")
        table = replace(self.table, fade=fade)  # type: ignore[type-var]
        return replace(self, name=name, table=table)


class BlendOfTables:
    """O(parts' training * 2 + users of the fold * items * parts)."""

    name = "blend"

    def __init__(self, settings: BlendSettings | None = None, *, plan: Plan | None = None) -> None:
        """
        Args:
            plan: of an earlier training, which is then not searched again.
        """
        self.settings, self.plan = settings or BlendSettings(), plan
        self.failed: dict[str, str] = {}
        self.vectors: Vectors | None = None

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """
        Raises:
            ValueError: no part could be trained, or there is nothing to learn weights from.
        """
        steps, done = 2 * len(self.settings.parts) + 1, 0

        def step() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(min(done, steps), steps)

        if self.plan is None:
            newest, seed = self.settings.held_back == "newest", self.settings.seed
            fold = hold_back(dataset, self.settings.share, newest=newest, seed=seed)
            affordable = _affordable(self.settings, len(dataset.items))
            self.plan = self._planned(fold.sampled(affordable, seed), step)
        self._histories = dataset.histories
        self.parts = []
        for name, settings in self.plan.settings.items():
            recommender = _made(name, dataset.profile, settings).fit(dataset)
            self.parts += self._of_plan(recommender)
            step()
        self.vectors = self._served(dataset)
        if progress is not None:
            progress(steps, steps)
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        assert self.plan is not None, "fit comes first"
        weights = self.plan.weights
        total = np.zeros((len(users), self._histories.liked.shape[1]), np.float32)
        for part in self.parts:
            total += np.float32(weights[part.name]) * part.scores(self._histories, users)
        return total

    def fold_in(self, liked: sparse.csr_array) -> NDArray[np.float32]:
        assert self.plan is not None, "fit comes first"
        total = np.zeros(liked.shape, np.float32)
        for part in self.parts:
            scores = standard(part.recommender.fold_in(liked))
            total += np.float32(self.plan.weights[part.name]) * scores
        return total

    def save(self, folder: Path) -> None:
        assert self.plan is not None, "fit comes first"
        assert self.vectors is not None
        arrays: dict[str, Any] = {"liked": self._histories.liked, "bias": self.vectors.bias}
        if self._histories.times is not None:
            arrays["times"] = self._histories.times
        blend = self.vectors.blend
        manifest = {
            "settings": self.settings.model_dump(),
            "plan": {name: dict(value) for name, value in vars(self.plan).items()},
            "usual": [blend.centre, blend.spread],
        }
        files.write(folder, self.name, manifest, arrays)
        for name, recommender in {
            part.recommender.name: part.recommender for part in self.parts
        }.items():
            recommender.save(folder / name)

    @classmethod
    def load(cls, folder: Path) -> Self:
        from models.recommenders.zoo import ZOO  # which names this class

        manifest, arrays = files.read(folder, cls.name)
        made = cls(BlendSettings(**manifest["settings"]), plan=Plan(**manifest["plan"]))
        assert made.plan is not None
        made._histories = Histories(arrays["liked"], arrays.get("times"))
        made.parts = []
        for name in made.plan.settings:
            made.parts += made._of_plan(ZOO[name].load(folder / name))
        made.vectors = made._combined(arrays["bias"], *manifest["usual"])
        return made

    def _of_plan(self, recommender: Recommender) -> list[Part]:
        """The parts that the plan has of a recommender: as it is, and asked with the newest."""
        assert self.plan is not None
        part, fades = Part.of(recommender), self.plan.fades
        if part.table is None:
            return [part.as_table() if part.name in fades else part]
        names = (part.name, part.name + RECENT)
        return [replace(part.fading(fades[name]), name=name) for name in names if name in fades]

    def _planned(self, fold: Fold, step: Any) -> Plan:
        parts, settings = list[Part](), dict[str, Mapping[str, float]]()
        for name in self.settings.parts:
            try:
                best_parts, chosen = self._best(name, fold)
            except Exception as error:
                self.failed[name] = f"{type(error).__name__}: {error}"
                log.warning("blend: %s is left out: %s", name, error)
            else:
                parts += best_parts
                settings[name] = chosen
            step()
        if not parts:
            raise ValueError(f"blend: no part could be trained: {self.failed}")
        parts = _one_of_vectors(parts, fold)
        weights = _weights(parts, fold, self.settings.candidates)
        total = sum(weights.values())
        if total <= 0:
            raise ValueError("blend: no part orders what users liked next better than chance")
        kept = [part for part in parts if weights[part.name] > self.settings.least * total]
        return Plan(
            {part.recommender.name: settings[part.recommender.name] for part in kept},
            {part.name: part.table.fade for part in kept if part.table},
            {part.name: weights[part.name] for part in kept},
        )

    def _best(self, name: str, fold: Fold) -> tuple[list[Part], Mapping[str, float]]:
        """The parts of a recommender with the settings that order best what was held back, and
        those."""
        train, tried = fold.train, list[tuple[float, Part, Mapping[str, float]]]()
        for chosen in TRIED.get(name, ({},)):
            made = Part.of(_made(name, train.profile, chosen).fit(train))
            judged = [(_ndcg(part, fold), made) for part in made.asked(train, FADES[1])]
            tried.append((*_best_of(judged), chosen))
        _, made, settings = max(tried, key=lambda candidate: candidate[0])
        if train.times is None or not made.by_history:
            return list(made.asked(train, None)), settings
        recent = [made.fading(fade) for fade in FADES]
        newest = _best_of([(_ndcg(part, fold), part) for part in recent])[1]
        return [made.fading(None), newest], settings

    def _served(self, dataset: Dataset) -> Vectors:
        users = np.flatnonzero(np.diff(dataset.matrix.liked.indptr))
        scores = self.score(users[:: max(1, len(users) // SAMPLE)])
        return self._combined(tie_break(dataset), *usual(scores))

    def _combined(self, bias: NDArray[np.float32], centre: float, spread: float) -> Vectors:
        assert self.plan is not None
        weights = self.plan.weights
        tables = {part.name: part.table for part in self.parts if part.table is not None}
        dense = next((part for part in self.parts if part.table is None), None)
        named = {part.name if part.table else VECTORS: weights[part.name] for part in self.parts}
        blend = Blend(named, centre, spread)
        if dense is not None and dense.recommender.vectors is not None:
            return replace(dense.recommender.vectors, tables=tables, blend=blend)
        n_users, n_items = self._histories.liked.shape
        return Vectors(
            np.zeros((n_users, 0), np.float32),
            np.zeros((n_items, 0), np.float32),
            bias,
            tables=tables,
            blend=blend,
        )


def _affordable(settings: BlendSettings, items: int) -> int:
    most = MOST_SCORES // max(items * len(settings.parts), 1)
    return int(np.clip(most, 50, settings.max_users))


def _made(name: str, profile: Profile, settings: Mapping[str, float]) -> Recommender:
    from models.recommenders import zoo  # which names this class

    recommender = zoo.make(name, profile)
    if not settings:
        return recommender
    changed = recommender.settings.model_copy(update=dict(settings))  # type: ignore[attr-defined]
    made: Recommender = type(recommender)(changed)  # type: ignore[call-arg]
    return made


def _best_of(judged: list[tuple[float, Part]]) -> tuple[float, Part]:
    return max(judged, key=lambda candidate: candidate[0])


def _test_of(fold: Fold) -> TestSet:
    """By a part of the users, evenly drawn."""
    sample = np.arange(0, len(fold.users), max(1, -(-len(fold.users) // CHOSEN_BY)))
    users, wanted = fold.users[sample], sparse.csr_array(fold.wanted[sample])
    seen = sparse.csr_array(fold.train.matrix.values[users])
    return TestSet(users, wanted.astype(np.float32), seen, np.full(len(users), "warm"))


class _Named:
    """A part as what can be judged."""

    def __init__(self, part: Part, histories: Histories) -> None:
        self.name = part.name
        self.score = partial(part.scores, histories)


def _ndcg(part: Part, fold: Fold) -> float:
    test = _test_of(fold)
    scorer = _Named(part, fold.train.histories)
    return float(ndcg_of(recommend(scorer, test.users, test.seen, K), test).mean())


def _one_of_vectors(parts: list[Part], fold: Fold) -> list[Part]:
    """A version has one set of vectors that follows what users do: of several parts that need
    one, the best. The others are tables."""
    dense = [part for part in parts if part.table is None]
    if len(dense) < 2:
        return parts
    best = max(dense, key=lambda part: _ndcg(part, fold))
    return [part.as_table() if part in dense and part is not best else part for part in parts]


def _weights(parts: list[Part], fold: Fold, candidates: int) -> dict[str, float]:
    """By name; learnt from each user's candidates, the best of every part."""
    histories, seen = fold.train.histories, fold.train.matrix.values
    n_items = seen.shape[1]
    size = max(1, BLOCK_SCORES // max(1, n_items * len(parts)))
    starts = [*range(0, len(fold.users), size), len(fold.users)]
    rows, labels, groups = [], [], []
    for start, end in pairwise(starts):
        users = fold.users[start:end]
        scores = [part.scores(histories, users) for part in parts]
        already_seen = sparse.csr_array(seen[users])
        at = np.repeat(np.arange(len(users)), np.diff(already_seen.indptr))
        chosen = np.zeros((len(users), n_items), bool)
        for of_part in scores:
            masked = of_part.copy()
            masked[at, already_seen.indices] = -np.inf
            count = min(candidates, n_items)
            best = np.argpartition(-masked, count - 1, axis=1)[:, :count]
            np.put_along_axis(chosen, best, True, axis=1)
        chosen[at, already_seen.indices] = False
        wanted = fold.wanted[start:end].toarray()
        chosen[~(wanted & chosen).any(axis=1)] = False  # nothing to learn from
        rows.append(np.column_stack([of_part[chosen] for of_part in scores]))
        labels.append(wanted[chosen])
        groups.append(chosen.sum(axis=1))
    counts = np.concatenate(groups)
    if not counts.any():
        return {part.name: 0.0 for part in parts}
    learned = learn_weights(np.concatenate(rows), np.concatenate(labels), counts[counts > 0])
    return {part.name: float(weight) for part, weight in zip(parts, learned, strict=True)}
