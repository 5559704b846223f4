"""A linear ranker: one softmax over the candidates of a user.

The weights minimise ListNet's loss with top-one probabilities (Cao et al. 2007, "Learning to rank:
from pairwise approach to listwise approach"): the cross-entropy between what a user wanted and
``softmax(x · w)`` over the user's candidates. Columns are standardised; besides, each enters times
the user's activity, for what a little-known user can be told by is not what a well-known one can.
Beside trees it is of other mistakes: a line cannot learn the noise of a few hundred users.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from models.ranking.table import Table, check_names
from models.recommenders.base import Above, Count, Settings

ACTIVE = "user.active"
CLIP = 5.0
"""Standard deviations beyond which a value is cut."""


class ListwiseSettings(Settings):
    ridge: Above = 300.0
    rounds: Count = 60


class Listwise:
    """Fitted by L-BFGS: the loss is convex."""

    def __init__(self, settings: ListwiseSettings | None = None) -> None:
        self.settings = settings or ListwiseSettings()
        self.names: tuple[str, ...] = ()
        self._mean = self._spread = self._weights = np.zeros(0, np.float32)

    def fit(self, table: Table, labels: NDArray[np.number], groups: NDArray[np.integer]) -> Self:
        """O(rounds * rows * columns). A user counts by the root of how many were wanted.

        Args:
            labels: shape (rows,): above 0 wanted. groups: how many rows each user has, in the
                order of the table; a user who wanted nothing teaches nothing.
        """
        self.names = table.names
        self._mean = table.values.mean(axis=0)
        self._spread = table.values.std(axis=0) + np.float32(1e-6)
        design, wanted = self._design(table), (labels > 0).astype(np.float32)
        starts = np.concatenate(([0], np.cumsum(groups)[:-1])).astype(np.int64)
        count = np.add.reduceat(wanted, starts)
        weight = np.repeat(1 / np.sqrt(np.maximum(count, 1)), groups)
        count = np.repeat(count, groups)

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            scores = design @ weights.astype(np.float32)
            scores -= np.repeat(np.maximum.reduceat(scores, starts), groups)
            odds = np.exp(scores)
            log_total = np.log(np.repeat(np.add.reduceat(odds, starts), groups))
            value = -np.sum(weight * wanted * (scores - log_total), dtype=np.float64)
            slope = weight * (count * np.exp(scores - log_total) - wanted)
            ridge = self.settings.ridge
            pull = (slope.astype(np.float32) @ design).astype(np.float64) + ridge * weights
            return float(value + ridge * (weights @ weights) / 2), pull

        found = optimize.minimize(
            loss,
            np.zeros(design.shape[1]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.settings.rounds},
        )
        self._weights = found.x.astype(np.float32)
        return self

    def predict(self, table: Table) -> NDArray[np.float32]:
        """Scores of each row: comparable within a user. Shape (rows,).

        Raises:
            FeatureMismatch: the table has other columns than it was trained on.
        """
        check_names(self.names, table.names)
        return self._design(table) @ self._weights

    def to_json(self) -> dict[str, object]:
        """All that ``from_json`` needs."""
        return {
            "settings": self.settings.model_dump(),
            "names": list(self.names),
            "mean": self._mean.tolist(),
            "spread": self._spread.tolist(),
            "weights": self._weights.tolist(),
        }

    @classmethod
    def from_json(cls, content: dict) -> Self:
        made = cls(ListwiseSettings(**content["settings"]))
        made.names = tuple(content["names"])
        made._mean, made._spread, made._weights = (
            np.array(content[name], np.float32) for name in ("mean", "spread", "weights")
        )
        return made

    def _design(self, table: Table) -> NDArray[np.float32]:
        scaled = np.clip((table.values - self._mean) / self._spread, -CLIP, CLIP)
        if ACTIVE not in self.names:
            return scaled
        return np.hstack([scaled, scaled * scaled[:, [self.names.index(ACTIVE)]]])
