"""The ranker of the shipped profiles: LambdaRank's trees, binary trees and a line, averaged.

LambdaRank (Burges 2010, "From RankNet to LambdaRank to LambdaMART") orders each viewer's candidates
by nDCG, the binary trees tell how likely each is to be liked, the line errs elsewhere. Each
one's scores count by their usual spread within a visit, the line as much as all trees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.profile.ranker_settings import BoostedSettings
from models.ranking.features.table import Table
from models.ranking.rankers.line import Line
from models.ranking.rankers.trees import Trees


@dataclass(frozen=True)
class Boosted:
    """
    Attributes:
        trees: one for each objective.
        line: None: the trees alone rank, as in rankers of earlier releases.
        shares: what each one's scores are multiplied by: of the trees, then of the line.
    """

    trees: tuple[Trees, ...]
    line: Line | None
    shares: tuple[float, ...]

    @classmethod
    def fit(
        cls,
        table: Table,
        labels: NDArray[np.number],
        weights: NDArray[np.floating],
        groups: NDArray[np.integer],
        settings: BoostedSettings,
    ) -> Self:
        """O(rounds * rows * columns).

        Args:
            labels: 1 liked, 0 not. groups: rows of each visit, in the order of the table.
        """
        trees = tuple(
            Trees.fit(objective, table, labels, weights, groups, settings)
            for objective in settings.objectives
        )
        line = Line.fit(table, labels, weights, groups, ridge=settings.line_ridge)
        of_trees = settings.trees_share / len(trees)
        shares = [of_trees / _spread(ensemble.scores(table), groups) for ensemble in trees]
        shares.append((1 - settings.trees_share) / _spread(line.scores(table), groups))
        return cls(trees, line, tuple(shares))

    def decide(self, table: Table) -> NDArray[np.float64]:
        scores = [ensemble.scores(table) for ensemble in self.trees]
        if self.line is not None:
            scores.append(self.line.scores(table))
        return np.asarray(np.array(self.shares) @ np.array(scores))

    def importance(self) -> NDArray[np.float64]:
        """Share of each feature: in the trees' gain and in the line's weights."""
        parts = [ensemble.gains() for ensemble in self.trees]
        if self.line is not None:
            parts.append(self.line.shares())
        return np.asarray(np.mean(parts, axis=0))

    def to_json(self) -> dict[str, Any]:
        return {
            "trees": [ensemble.text for ensemble in self.trees],
            "line": None if self.line is None else self.line.to_json(),
            "shares": list(self.shares),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """
        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        if isinstance(content["trees"], str):  # of an earlier release
            return cls((Trees(content["trees"]),), None, (1.0,))
        line = content["line"]
        return cls(
            tuple(Trees(text) for text in content["trees"]),
            None if line is None else Line.from_json(line),
            tuple(content["shares"]),
        )


def _spread(scores: NDArray[np.float64], groups: NDArray[np.integer]) -> float:
    """Usual standard deviation within a visit; 1 where scores do not differ."""
    starts = np.concatenate(([0], np.cumsum(groups)[:-1]))
    mean = np.add.reduceat(scores, starts) / groups
    variance = np.add.reduceat(scores**2, starts) / groups - mean**2
    return float(np.sqrt(np.maximum(variance, 0)).mean()) or 1.0
