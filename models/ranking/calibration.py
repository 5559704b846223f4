"""Probabilities that mean what they say, and what a position hides.

A ranker's score orders; it is no probability, least of all after negatives were sampled. Before
one is shown it is fitted to what happened, on data that the ranker was not trained on: by Platt's
sigmoid (Platt 1999), two numbers and safe with little data, or by isotonic regression (Zadrozny and
Elkan 2002), any rising curve.

Clicks come from what was looked at. ``examination`` tells how likely each position was, and the
inverse of that weighs clicks as if all had been (Joachims, Swaminathan and Schnabel 2017,
"Unbiased learning-to-rank with biased feedback").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]
ENOUGH = 1_000
"""Outcomes from which the isotonic curve is fitted rather than the sigmoid."""
MOST_WEIGHT = 10.0


@dataclass(frozen=True)
class Calibration:
    """
    Attributes:
        method: ``platt``: ``sigmoid(slope * score + offset)``, x holds the two; ``isotonic``: the
            curve through the points (x, y), level beyond its ends.
    """

    method: Literal["platt", "isotonic"]
    x: Floats
    y: Floats

    @classmethod
    def fit(
        cls,
        scores: NDArray[np.floating],
        outcomes: NDArray[np.number],
        *,
        weights: NDArray[np.floating] | None = None,
        method: Literal["platt", "isotonic"] | None = None,
    ) -> Self:
        """
        Args:
            outcomes: 0 or 1, shape of ``scores``.
            method: None: isotonic with at least ``ENOUGH`` outcomes.

        Raises:
            ValueError: not both outcomes are there.
        """
        if len(np.unique(outcomes)) < 2:
            raise ValueError("calibration needs both outcomes")
        if method is None:
            method = "isotonic" if len(scores) >= ENOUGH else "platt"
        # Imported here: who only shows probabilities needs no scikit-learn.
        if method == "platt":
            from sklearn.linear_model import LogisticRegression

            model = LogisticRegression(C=1e6).fit(
                np.asarray(scores)[:, None], outcomes, sample_weight=weights
            )
            line = np.array([model.coef_[0, 0], model.intercept_[0]], np.float64)
            return cls(method, line, np.zeros(0))
        from sklearn.isotonic import IsotonicRegression

        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(
            scores, outcomes, sample_weight=weights
        )
        return cls(
            method,
            np.asarray(curve.X_thresholds_, np.float64),
            np.asarray(curve.y_thresholds_, np.float64),
        )

    def probabilities(self, scores: NDArray[np.floating]) -> Floats:
        """In [0, 1], never falling with the score where scores tell the truth."""
        if self.method == "platt":
            return np.asarray(expit(self.x[0] * np.asarray(scores) + self.x[1]), np.float64)
        return np.interp(scores, self.x, self.y)

    def to_json(self) -> dict[str, Any]:
        return {"method": self.method, "x": self.x.tolist(), "y": self.y.tolist()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        return cls(content["method"], np.asarray(content["x"]), np.asarray(content["y"]))


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
    place = np.asarray(positions, np.int64) - 1
    seen = np.ones(int(place.max()) + 1)
    of_items = np.bincount(item, clicks)
    of_places = np.bincount(place, clicks, len(seen))
    for _ in range(rounds):
        appeal = of_items / np.maximum(np.bincount(item, seen[place]), 1e-12)
        expected = np.bincount(place, appeal[item], len(seen))
        seen = (of_places + smoothing) / (expected + smoothing)
        seen /= seen[0]
    return seen
