"""A linear ranker: one softmax over the candidates of a visit.

The weights minimise ListNet's loss with top-one probabilities (Cao et al. 2007, "Learning to
rank: from pairwise approach to listwise approach"): the cross-entropy between what was liked and
``softmax(x · w)`` over the candidates. Columns are standardised; besides, each enters times how
much the viewer did, for what tells a little-known viewer's taste is not what tells a well-known
one's.
Beside trees it is of other mistakes: a line cannot learn the noise of a few hundred users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from models.ranking.features.table import Table

ACTIVITY = "history.length"
CLIP = 5.0
"""Standard deviations beyond which a value is cut."""
ROUNDS = 60
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Line:
    """
    Attributes:
        mean, spread: of each column, shape (columns,).
        weights: of the columns, then of each times the activity, shape (2 * columns,).
        activity: number of the column that tells it.
    """

    mean: Floats
    spread: Floats
    weights: Floats
    activity: int

    @classmethod
    def fit(
        cls,
        table: Table,
        labels: NDArray[np.number],
        weights: NDArray[np.floating],
        groups: NDArray[np.integer],
        *,
        ridge: float,
    ) -> Self:
        """By L-BFGS: the loss is convex. O(rounds * rows * columns). A visit counts by the root of
        how much was liked in it.

        Args:
            labels: shape (rows,): above 0 liked. groups: rows of each visit, in the order of the
                table; one in which nothing was liked teaches nothing.
            weights: of each row: how much liking it counts, and how much not liking it.
        """
        present = np.ma.masked_invalid(table.values)
        mean = present.mean(axis=0, dtype=np.float64).filled(0).astype(np.float32)
        spread = present.std(axis=0).filled(0).astype(np.float32) + np.float32(1e-6)
        made = cls(mean, spread, np.zeros(0, np.float32), table.names.index(ACTIVITY))
        design = made._design(table)
        liked = np.where(labels > 0, weights, 0).astype(np.float32)
        there = np.where(labels > 0, 1, weights).astype(np.float32)
        starts = np.concatenate(([0], np.cumsum(groups)[:-1])).astype(np.int64)
        count = np.add.reduceat(liked, starts)
        share = np.repeat(1 / np.sqrt(np.maximum(count, 1)), groups).astype(np.float32)
        count = np.repeat(count, groups)

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            scores = design @ weights.astype(np.float32)
            scores -= np.repeat(np.maximum.reduceat(scores, starts), groups)
            odds = there * np.exp(scores)
            log_total = np.log(np.repeat(np.add.reduceat(odds, starts), groups))
            value = -np.sum(share * liked * (scores - log_total), dtype=np.float64)
            slope = share * (count * odds / np.exp(log_total) - liked)
            pull = (slope.astype(np.float32) @ design).astype(np.float64) + ridge * weights
            return float(value + ridge * (weights @ weights) / 2), pull

        fitted = optimize.minimize(
            loss,
            np.zeros(design.shape[1]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": ROUNDS},
        )
        return cls(made.mean, made.spread, fitted.x.astype(np.float32), made.activity)

    def scores(self, table: Table) -> NDArray[np.float64]:
        return (self._design(table) @ self.weights).astype(np.float64)

    def shares(self) -> NDArray[np.float64]:
        """Of each column in the size of the weights, shape (columns,)."""
        size = np.abs(self.weights.astype(np.float64)).reshape(2, -1).sum(axis=0)
        return size / max(float(size.sum()), 1e-12)

    def to_json(self) -> dict[str, Any]:
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        mean, spread, weights = (
            np.asarray(content[name], np.float32) for name in ("mean", "spread", "weights")
        )
        return cls(mean, spread, weights, int(content["activity"]))

    def _design(self, table: Table) -> Floats:
        """What is not known is as usual."""
        scaled = np.clip(np.nan_to_num((table.values - self.mean) / self.spread), -CLIP, CLIP)
        return np.hstack([scaled, scaled * scaled[:, [self.activity]]])
