"""Two stages: candidates from several recommenders, put in order by a ranker that has learnt
whom to trust, and when.

    folds: for each, train the first stage on what was known, draw candidates, make features,
             and label those that the user took to besides
    rankers: trees and a line over all folds' rows, one ranker for each part of the users, of
             the others' rows
    lists:   the first stage trained on everything, its candidates scored by the ranker

The lists are made when it is trained, so a score costs a look-up. What is not a user's candidate
follows in the order of EASE, which also answers for users whom training has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from benchmarks.two_stage.blend import Blend, BlendSettings
from benchmarks.two_stage.features import FeatureMaker
from benchmarks.two_stage.first_stage import (
    FirstStage,
    Fold,
    Makers,
    candidates,
    out_of_fold,
    ranks,
)
from benchmarks.two_stage.sessions import Nearness, SessionEase, SessionNeighbours, SessionUsers
from benchmarks.two_stage.svd import PureSVD
from models.catalogue.building import Vectors
from models.ranking.table import Table
from models.recommenders import files
from models.recommenders.base import Count, Dataset, Progress, Settings
from models.recommenders.factorisation.als import ALS, ALSSettings
from models.recommenders.neighbours.ease import EASE, EASESettings
from models.recommenders.neighbours.knn import ItemKNN, KNNSettings, UserKNN
from models.recommenders.simple.popularity import PopularityRecommender

BLOCK_SCORES = 20_000_000
"""Scores of all recommenders held at once (80 MB)."""
BASE = "ease"
DENSE_ITEMS = 3_000
"""EASE of the first stage is solved for so many items: each fold trains it."""

Folds = Callable[[Dataset], Iterable[Fold]]
FIVE_FOLDS: Folds = partial(out_of_fold, count=5)


class TwoStageSettings(Settings):
    """
    Attributes:
        candidates: how many items of a user the ranker sees.
        parts: of the users; each is ranked by what the others' rows taught. A user's own rows
            would teach that what the user takes to next is not wanted: it is a candidate in
            every fold, and wanted in none.
    """

    candidates: Count = 120
    parts: Annotated[int, Field(ge=2, le=10)] = 2
    ranker: BlendSettings = BlendSettings()


def usual_first_stage(times: sparse.csr_array | None = None) -> dict[str, Callable]:
    """Recommenders that err differently; with ``times`` (epoch seconds of each pair, shape (users,
    items)) also those of sessions. EASE is always there besides."""

    def ease(**settings: float) -> Callable:
        return lambda: EASE(EASESettings(dense_items=DENSE_ITEMS, **settings))

    def als(dims: int) -> Callable:
        return lambda: ALS(ALSSettings(dims=dims))

    makers: dict[str, Callable] = {
        "popularity": PopularityRecommender,
        "ease_weighted": ease(weighted=True, ridge=1_000.0),
        "ease_light": ease(ridge=150.0),
        "user_knn": UserKNN,
        "user_cosine": lambda: UserKNN(KNNSettings(weighting="cosine", neighbours=80)),
        "item_knn": ItemKNN,
        "als_8": als(8),
        "als_16": als(16),
        "svd_8": partial(PureSVD, 8),
        "svd_16": partial(PureSVD, 16),
        "svd_32": partial(PureSVD, 32),
    }
    if times is not None:
        steps, minutes = Nearness("steps", 10.0), Nearness("seconds", 300.0)
        makers |= {
            "session_ease": lambda: SessionEase(times, steps),
            "minutes_ease": lambda: SessionEase(times, minutes),
            "session": lambda: SessionNeighbours(times, Nearness("steps", 3.0, reach=15)),
            "session_users": lambda: SessionUsers(times, Nearness("steps", 2.0, reach=15)),
            "minute": lambda: SessionNeighbours(times, Nearness("seconds", 60.0)),
            "between": lambda: SessionNeighbours(times, steps, between=True),
            "between_minutes": lambda: SessionNeighbours(times, minutes, between=True),
        }
    return makers


@dataclass(frozen=True)
class Rows:
    """What a ranker learns from: rows of users, one user after the other.

    Attributes:
        labels: bool, of each row. groups: how many rows each user has.
        parts: which part of the users each of them belongs to.
    """

    table: Table
    labels: NDArray[np.bool_]
    groups: NDArray[np.int64]
    parts: NDArray[np.int64]

    def without(self, part: int) -> Rows:
        kept = self.parts != part
        rows = np.repeat(kept, self.groups)
        table = Table(self.table.names, self.table.values[rows])
        return Rows(table, self.labels[rows], self.groups[kept], self.parts[kept])


class TwoStage:
    """A recommender like any other; it has no vectors."""

    name = "two_stage"

    def __init__(
        self,
        settings: TwoStageSettings | None = None,
        *,
        others: Makers | None = None,
        folds: Folds = FIVE_FOLDS,
        times: sparse.csr_array | None = None,
    ) -> None:
        """
        Args:
            others: the first stage beside EASE. None: ``usual_first_stage(times)``.
            folds: of a dataset; out of fold, or out of time where the past is at hand (see
                ``first_stage.py``).
            times: for features of time. It may know more pairs than the dataset: they are not
                looked at.
        """
        self.settings = settings or TwoStageSettings()
        self._makers: Makers = {
            BASE: lambda: EASE(EASESettings(dense_items=DENSE_ITEMS)),
            **(usual_first_stage(times) if others is None else others),
        }
        self._folds, self._times = folds, times
        self.rankers: list[Blend] = []
        self._items = np.zeros((0, 0), np.int32)
        self._scores = np.zeros((0, 0), np.float32)

    @property
    def vectors(self) -> Vectors | None:
        return None

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        """Train the first stage once for each fold and once more, and the ranker.

        Raises:
            ValueError: no fold has a candidate that was wanted: there is too little data.
        """
        folds = list(self._folds(dataset))
        steps, done = len(folds) + self.settings.parts + 1, 0

        def step() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, steps)

        rows: list[Rows] = []
        for fold in folds:
            rows.extend(self._rows(fold))
            step()
        self.rankers = []
        for part in range(self.settings.parts):
            self.rankers.append(self._ranker([some.without(part) for some in rows]))
            step()
        self._make_lists(dataset)
        step()
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        scores = self._base.score(users)
        scores = scores - scores.max(axis=1, keepdims=True) - 1
        listed, values = self._items[users], self._scores[users]
        row, place = np.nonzero(listed >= 0)
        scores[row, listed[row, place]] = values[row, place]
        return scores.astype(np.float32)

    def fold_in(self, liked: sparse.csr_array) -> NDArray[np.float32]:
        """By EASE alone: the ranker's features are of users that are in the data."""
        return self._base.fold_in(liked)

    def save(self, folder: Path) -> None:
        manifest = {
            "settings": self.settings.model_dump(),
            "rankers": [ranker.to_json() for ranker in self.rankers],
        }
        files.write(folder, self.name, manifest, {"items": self._items, "scores": self._scores})
        self._base.save(folder / BASE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        manifest, arrays = files.read(folder, cls.name)
        made = cls(TwoStageSettings(**manifest["settings"]))
        made.rankers = [Blend.from_json(content) for content in manifest["rankers"]]
        made._items, made._scores = arrays["items"], arrays["scores"]
        made._base = EASE.load(folder / BASE)
        return made

    def _ranker(self, rows: list[Rows]) -> Blend:
        groups = np.concatenate([some.groups for some in rows] or [np.zeros(0, np.int64)])
        if not len(groups):
            raise ValueError("too few candidates were ever wanted: too little data for a ranker")
        values = np.concatenate([some.table.values for some in rows])
        labels = np.concatenate([some.labels for some in rows])
        table = Table(rows[0].table.names, values)
        return Blend(self.settings.ranker).fit(table, labels, groups)

    def _rows(self, fold: Fold) -> Iterator[Rows]:
        """Of users with a candidate that they wanted."""
        first, maker = self._first_stage(fold.known)
        for users in self._blocks(np.flatnonzero(np.diff(fold.wanted.indptr)), fold.known):
            chosen, table = self._candidates(fold.known, first, maker, users)
            there = chosen >= 0
            labels = np.take_along_axis(fold.wanted[users].toarray(), chosen, axis=1) & there
            kept = there & labels.any(axis=1, keepdims=True)
            groups = kept.sum(axis=1)
            yield Rows(
                Table(table.names, table.values[kept.reshape(-1)]),
                labels[kept],
                groups[groups > 0],
                _part(users[groups > 0], self.settings.parts),
            )

    def _make_lists(self, dataset: Dataset) -> None:
        first, maker = self._first_stage(dataset)
        base = first.recommenders[BASE]
        assert isinstance(base, EASE)
        self._base = base
        n_users, n_items = dataset.matrix.values.shape
        shape = (n_users, min(self.settings.candidates, n_items))
        self._items, self._scores = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
        for users in self._blocks(np.arange(n_users), dataset):
            chosen, table = self._candidates(dataset, first, maker, users)
            there, scores = chosen >= 0, np.zeros(chosen.shape, np.float32)
            for part, ranker in enumerate(self.rankers):
                own = there & (_part(users, len(self.rankers)) == part)[:, None]
                counts = own.sum(axis=1)
                if counts.any():
                    some = Table(table.names, table.values[own.reshape(-1)])
                    scores[own] = ranker.predict(some, counts[counts > 0])
            scores -= scores.min(axis=1, keepdims=True)
            self._items[users], self._scores[users] = chosen, scores

    def _first_stage(self, known: Dataset) -> tuple[FirstStage, FeatureMaker]:
        return FirstStage.fit(self._makers, known), FeatureMaker(known, self._times)

    def _candidates(
        self, known: Dataset, first: FirstStage, maker: FeatureMaker, users: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], Table]:
        scores, seen = first.score(users), known.matrix.values[users]
        ranked = {name: ranks(of_one, seen) for name, of_one in scores.items()}
        chosen = candidates(list(ranked.values()), self.settings.candidates, seen)
        return chosen, maker.table(users, chosen, scores, ranked)

    def _blocks(
        self, users: NDArray[np.integer], dataset: Dataset
    ) -> Iterator[NDArray[np.integer]]:
        size = max(1, BLOCK_SCORES // max(1, len(dataset.items) * len(self._makers)))
        for start in range(0, len(users), size):
            yield users[start : start + size]


def _part(users: NDArray[np.integer], parts: int) -> NDArray[np.int64]:
    """The part that each user belongs to: by a hash (Knuth's multiplicative), as neighbouring rows
    may be alike."""
    return ((users.astype(np.int64) * 2_654_435_761 >> 16) % parts).astype(np.int64)
