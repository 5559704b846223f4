"""The ranker of the ``events`` profile: logistic regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.ranking.features.event_features import FEATURES
from models.ranking.features.table import Table, check_names, digest


@dataclass(frozen=True)
class LogisticRanker:
    """
    Attributes:
        names: of the features, in their order.
        weights: float64, shape (len(names),), that of ``bias`` too.
    """

    names: tuple[str, ...]
    weights: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        table: Table,
        labels: NDArray[np.number],
        weights: NDArray[np.floating],
        *,
        strength: float = 1.0,
    ) -> Self:
        """Minimise the weighted log loss with a ridge of ``1 / strength`` on all weights.

        Raises:
            ValueError: not both labels are there.
        """
        if len(np.unique(labels)) < 2:
            raise ValueError("a ranker needs both positives and negatives")
        from sklearn.linear_model import LogisticRegression  # who only ranks does without

        model = LogisticRegression(C=strength, fit_intercept=False, max_iter=1_000)
        model.fit(table.values, labels, sample_weight=weights)
        return cls(table.names, model.coef_[0].astype(np.float64))

    def decide(self, table: Table) -> NDArray[np.float64]:
        """Log-odds of each row: what to rank by. Not what is shown, see ``Calibration``.

        Raises:
            FeatureMismatch: the table has other features than it was trained on.
        """
        check_names(self.names, table.names)
        return table.values @ self.weights

    def importance(self) -> NDArray[np.float64]:
        """Share of each feature in the size of the weights."""
        size = np.abs(self.weights)
        return np.asarray(size / max(float(size.sum()), 1e-12))

    def to_json(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "digest": digest(self.names),
            "weights": self.weights.tolist(),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """
        Raises:
            FeatureMismatch: it was trained on other features than this release makes.
        """
        check_names(content["names"], FEATURES)
        return cls(tuple(content["names"]), np.asarray(content["weights"], np.float64))
