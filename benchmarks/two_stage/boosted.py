"""A gradient-boosted ranker: LightGBM over a table of features.

Two objectives see the same rows: LambdaRank (Burges 2010, "From RankNet to LambdaRank to
LambdaMART") orders each user's candidates by nDCG, and the binary one tells how likely each is to
be wanted. Each is trained under several seeds, and the trees' outputs, standardised a user, are
averaged: it takes out much of the noise of sampled rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import lightgbm
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.ranking.table import Table, check_names
from models.recommenders.base import Above, Count, Progress, Settings

Objective = Literal["lambdarank", "binary"]


class BoostedSettings(Settings):
    """
    Attributes:
        truncation: LambdaRank looks at pairs with one of the two in the first so many places.
        threads: more are faster on an idle machine, and far slower on one that is not.
    """

    objectives: tuple[Objective, ...] = ("lambdarank", "binary")
    seeds: Count = 1
    rounds: Count = 80
    learning_rate: Above = 0.07
    leaves: Count = 15
    min_leaf: Count = 300
    column_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    row_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    ridge: Annotated[float, Field(ge=0)] = 1.0
    truncation: Count = 30
    bins: Annotated[int, Field(ge=3, le=255)] = 63
    threads: Count = 1


class Boosted:
    """LambdaRank and binary trees, averaged."""

    def __init__(self, settings: BoostedSettings | None = None) -> None:
        self.settings = settings or BoostedSettings()
        self.names: tuple[str, ...] = ()
        self._trees: list[lightgbm.Booster] = []

    def fit(
        self,
        table: Table,
        labels: NDArray[np.number],
        groups: NDArray[np.integer],
        *,
        weights: NDArray[np.floating] | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Train all trees. O(rounds * rows * columns * objectives * seeds).

        Args:
            labels: shape (rows,): 1 wanted, 0 not.
            groups: how many rows each user has, in the order of the table.
            weights: of each row, for instance against position bias.

        Raises:
            ValueError: nothing was wanted, or all was.
        """
        if len(np.unique(labels > 0)) < 2:
            raise ValueError(
                "a ranker needs both candidates that were wanted and some that were not"
            )
        settings, self.names, self._trees = self.settings, table.names, []
        data = lightgbm.Dataset(
            table.values,
            (labels > 0).astype(np.float32),
            group=groups,
            weight=weights,
            params={"max_bin": settings.bins, "verbose": -1, "num_threads": settings.threads},
            free_raw_data=False,
        )
        plans = [
            (objective, seed) for objective in settings.objectives for seed in range(settings.seeds)
        ]
        for done, (objective, seed) in enumerate(plans, 1):
            self._trees.append(
                lightgbm.train(self._parameters(objective, seed), data, settings.rounds)
            )
            if progress is not None:
                progress(done, len(plans))
        return self

    def predict(self, table: Table, groups: NDArray[np.integer]) -> NDArray[np.float32]:
        """Scores of each row: comparable within a user. Shape (rows,).

        Raises:
            FeatureMismatch: the table has other columns than it was trained on.
        """
        check_names(self.names, table.names)
        total = np.zeros(len(table.values))
        for trees in self._trees:
            raw = np.asarray(
                trees.predict(table.values, raw_score=True, num_threads=self.settings.threads)
            )
            total += standardised_in_groups(raw, groups)
        return (total / len(self._trees)).astype(np.float32)

    def importance(self) -> dict[str, float]:
        """Share of each column in the gain of all trees, the greatest first."""
        gains = np.sum([_shares(trees.feature_importance("gain")) for trees in self._trees], axis=0)
        order = np.argsort(-gains, kind="stable")
        return {self.names[place]: float(gains[place] / gains.sum()) for place in order}

    def to_json(self) -> dict[str, object]:
        """All that ``from_json`` needs; trees as LightGBM's text."""
        return {
            "settings": self.settings.model_dump(),
            "names": list(self.names),
            "trees": [trees.model_to_string() for trees in self._trees],
        }

    @classmethod
    def from_json(cls, content: dict) -> Self:
        made = cls(BoostedSettings(**content["settings"]))
        made.names = tuple(content["names"])
        made._trees = [lightgbm.Booster(model_str=text) for text in content["trees"]]
        return made

    def _parameters(self, objective: Objective, seed: int) -> dict[str, object]:
        settings = self.settings
        return {
            "objective": objective,
            "learning_rate": settings.learning_rate,
            "num_leaves": settings.leaves,
            "min_data_in_leaf": settings.min_leaf,
            "feature_fraction": settings.column_share,
            "bagging_fraction": settings.row_share,
            "bagging_freq": 1,
            "lambda_l2": settings.ridge,
            "lambdarank_truncation_level": settings.truncation,
            "max_bin": settings.bins,
            "num_threads": settings.threads,
            "monotone_constraints": [_direction(name) for name in self.names],
            "deterministic": True,
            "force_row_wise": True,
            "seed": seed,
            "verbose": -1,
        }


def _direction(name: str) -> int:
    """What scores higher or ranks earlier in the first stage is never worse for that alone: it
    leaves the trees fewer ways to learn noise."""
    return {"score": 1, "rank": -1}.get(name.rpartition(".")[2], 0)


def standardised_in_groups(
    raw: NDArray[np.floating], groups: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Mean 0 and standard deviation 1 within each group of neighbouring rows."""
    raw, groups = np.asarray(raw, np.float64), np.asarray(groups)
    starts = np.concatenate(([0], np.cumsum(groups)[:-1])).astype(np.int64)
    mean = np.repeat(np.add.reduceat(raw, starts) / groups, groups)
    spread = np.sqrt(np.add.reduceat((raw - mean) ** 2, starts) / groups)
    return (raw - mean) / np.repeat(np.where(spread > 0, spread, 1), groups)


def _shares(gains: Sequence[float] | NDArray) -> NDArray[np.float64]:
    values = np.asarray(gains, np.float64)
    return values / max(values.sum(), 1e-12)
