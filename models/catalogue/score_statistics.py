"""Mean and spread of a user's scores over all items, without a pass over the items."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.catalogue.snapshots.snapshot import Items
from models.catalogue.viewers.viewer import Indices


@dataclass(frozen=True)
class ScoreStatistics:
    """Mean and covariance of the items' vectors and biases, so that the mean and the spread
    of any user's scores need no pass over the items."""

    vector: NDArray[np.float64]  # (dims,)
    bias: float
    covariance: NDArray[np.float64]  # (dims + 1, dims + 1), the bias last

    @classmethod
    def of(cls, items: Items, rows: Indices) -> ScoreStatistics:
        """O(rows * dims²)."""
        if len(rows) == 0:
            dims = items.vectors.shape[1]
            return cls(np.zeros(dims), 0.0, np.zeros((dims + 1, dims + 1)))
        both = np.column_stack([items.vectors[rows], items.bias[rows]]).astype(np.float64)
        mean = both.mean(axis=0)
        centred = both - mean
        return cls(mean[:-1], float(mean[-1]), centred.T @ centred / len(rows))

    def of_scores(self, user: NDArray[np.floating]) -> tuple[float, float]:
        """Mean and standard deviation of ``user · item + bias`` over the items."""
        direction = np.append(user, 1.0)
        variance = float(direction @ self.covariance @ direction)
        return float(user @ self.vector) + self.bias, math.sqrt(max(variance, 0.0))
