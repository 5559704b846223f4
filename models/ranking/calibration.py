"""Probabilities that mean what they say, and what a position hides.

A ranker's score orders; it is no probability, least of all after negatives were sampled. Before
one is shown it is fitted to what happened, on data that the ranker was not trained on, by Platt's
sigmoid (Platt 1999): two numbers, and safe with little data.

Clicks come from what was looked at. ``examination`` tells how likely each position was, and the
inverse of that weighs clicks as if all had been (Joachims, Swaminathan and Schnabel 2017,
"Unbiased learning-to-rank with biased feedback").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]
MOST_WEIGHT = 10.0


@dataclass(frozen=True)
class Calibration:
    """``sigmoid(slope * score + offset)``."""

    slope: float
    offset: float

    @classmethod
    def fit(cls, scores: NDArray[np.floating], outcomes: NDArray[np.number]) -> Self:
        """
        Args:
            outcomes: 0 or 1, shape of ``scores``.

        Raises:
            ValueError: not both outcomes are there.
        """
        if len(np.unique(outcomes)) < 2:
            raise ValueError("calibration needs both outcomes")
        from sklearn.linear_model import LogisticRegression  # who only ranks does without

        model = LogisticRegression(C=1e6).fit(np.asarray(scores)[:, None], outcomes)
        return cls(float(model.coef_[0, 0]), float(model.intercept_[0]))

    def probabilities(self, scores: NDArray[np.floating]) -> Floats:
        """In [0, 1], never falling with the score where scores tell the truth."""
        return np.asarray(expit(self.slope * np.asarray(scores) + self.offset), np.float64)

    def to_json(self) -> dict[str, Any]:
        return {"method": "platt", "x": [self.slope, self.offset]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        return cls(*content["x"])


def examination(
    items: NDArray[np.integer],
    positions: NDArray[np.integer],
    clicks: NDArray[np.number],
    *,
    rounds: int = 50,
    smoothing: float = 1.0,
) -> Floats:
    """How likely each position is looked at, beside the first, shape (last position,).

    The position-based model ``P(click) = examination(position) * appeal(item)`` (Richardson,
    Dominowska and Ragno 2007), fitted in turns to the counts, as a Poisson model's likelihood has
    it. It needs items that were shown at several positions, as exploration sees to.

    Args:
        items, positions: of each impression, shape (n,); positions from 1.
        clicks: 0 or 1.
        smoothing: clicks that each position is given of the whole's, so that one that was hardly
            ever shown is not 0.
    """
    _, item = np.unique(items, return_inverse=True)
    index = np.asarray(positions, np.int64) - 1
    seen = np.ones(int(index.max()) + 1)
    of_items = np.bincount(item, clicks)
    of_places = np.bincount(index, clicks, len(seen))
    for _ in range(rounds):
        appeal = of_items / np.maximum(np.bincount(item, seen[index]), 1e-12)
        expected = np.bincount(index, appeal[item], len(seen))
        seen = (of_places + smoothing) / (expected + smoothing)
        seen /= seen[0]
    return seen
