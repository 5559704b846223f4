"""How likely each action is that a product gives a value, and what an item is worth by them.

One logistic regression for each action, over the standardised columns of the ranker's table: few
do what is worth most, and a line does not learn the noise of so few. Its score and the ranker's own
then make a probability, by Platt's sigmoid (Platt 1999) over the two, fitted to users of whom
neither has learnt: a rare action leans on what is known of liking, and on how often others did it.
What a wanted action's chance rises with in the ranker's trees, it rises with here; that of an
unwanted one falls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import expit, logit

from models.ranking.features.live_features import directions
from models.ranking.features.table import Table

CLIP = 5.0
"""Standard deviations beyond which a value is cut."""
RIDGE, PLATT_RIDGE = 300.0, 10.0
"""On the weights of the columns, and on those of the two scores; chosen on a synthetic market, see
``docs/ranking.md``."""
ROUNDS = 100
LEAST = 1e-6
"""No share is taken for less, or for nearer to 1."""
Floats = NDArray[np.float64]
FLOATS = ("mean", "spread", "weights", "platt")


@dataclass(frozen=True)
class ActionChances:
    """
    Attributes:
        names: of the actions.
        unwanted: of each, whether it had a value below 0 in training.
        mean, spread: of each column of the table, shape (columns,).
        weights: of each standardised column, shape (columns, actions); all 0 of one action alone,
            which then puts items in the ranker's own order.
        platt: of the line's score, of the ranker's, and the offset, shape (3, actions).
    """

    names: tuple[str, ...]
    unwanted: tuple[bool, ...]
    mean: Floats
    spread: Floats
    weights: Floats
    platt: Floats

    @classmethod
    def fit(
        cls,
        values: Mapping[str, float],
        table: Table,
        done: NDArray[np.bool_],
        weights: NDArray[np.floating],
    ) -> Self:
        """The lines. Until ``calibrated``, each action is as likely for all items, as in these
        rows. O(rounds * rows * columns).

        Args:
            values: of each action.
            table: what was shown, and some of what was not: else they would say nothing of that.
            done: which actions the user did, shape (rows, actions).
            weights: of each row.
        """
        columns = len(table.names)
        known = np.ma.masked_invalid(table.values)
        usual = cls(
            tuple(values),
            tuple(value < 0 for value in values.values()),
            known.mean(axis=0, dtype=np.float64).filled(0),
            known.std(axis=0, dtype=np.float64).filled(0) + 1e-6,
            np.zeros((columns, len(values))),
            np.stack([np.zeros(len(values))] * 2 + [logit(_share(done))]),
        )
        if len(values) == 1:
            return usual
        design, rising = usual._design(table), np.array(directions(table.names))
        lines = [
            _logistic(design, did, weights, -rising if unwanted else rising, RIDGE)[:-1]
            for did, unwanted in zip(done.T, usual.unwanted, strict=True)
        ]
        return replace(usual, weights=np.stack(lines, axis=1))

    def calibrated(
        self,
        table: Table,
        scores: NDArray[np.floating],
        done: NDArray[np.bool_],
        learnt: NDArray[np.bool_],
    ) -> Self:
        """With probabilities that fit these rows, of users whom it has not learnt from.

        Args:
            scores: the ranker's, of each row.
            done: shape (rows, actions).
            learnt: the same of rows that it has learnt from, in which each action was about as
                frequent.
        """
        lines, platt = self._design(table) @ self.weights, np.zeros_like(self.platt)
        if not len(done):
            platt[2] = logit(_share(learnt))
            return replace(self, platt=platt)
        for column, (unwanted, usual) in enumerate(zip(self.unwanted, _share(learnt), strict=True)):
            both = np.stack([lines[:, column], scores], axis=1)
            mean, spread = both.mean(axis=0), both.std(axis=0) + 1e-6
            rising = np.array([1, -1 if unwanted else 1])
            design, did, weights = (both - mean) / spread, done[:, column], np.ones(len(both))
            others = float(usual), len(learnt)
            fitted = _logistic(design, did, weights, rising, PLATT_RIDGE, others)
            slopes = fitted[:-1] / spread
            platt[:, column] = [*slopes, fitted[-1] - slopes @ mean]
        return replace(self, platt=platt)

    def of(self, table: Table, scores: NDArray[np.floating]) -> Floats:
        """How likely each action is when the item is shown, shape (rows, actions).

        Args:
            scores: the ranker's, of each row.
        """
        own, liking, offset = self.platt
        lines = self._design(table) @ self.weights
        return np.asarray(expit(own * lines + np.outer(scores, liking) + offset))

    def to_json(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "unwanted": list(self.unwanted),
            **{name: getattr(self, name).tolist() for name in FLOATS},
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """
        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        arrays = (np.asarray(content[name], np.float64) for name in FLOATS)
        return cls(tuple(content["names"]), tuple(content["unwanted"]), *arrays)

    def _design(self, table: Table) -> Floats:
        """What is not known is as usual."""
        return np.clip(np.nan_to_num((table.values - self.mean) / self.spread), -CLIP, CLIP)


def worth(chances: NDArray[np.floating], values: Sequence[float]) -> Floats:
    """What each item is worth: the sum of value times chance, from 0 for the worst that there could
    be to 1 for the best, shape (rows,).

    Args:
        chances: shape (rows, actions).
        values: of each action; one is above 0.
    """
    each = np.asarray(values, np.float64)
    least, most = each[each < 0].sum(), each[each > 0].sum()
    return np.asarray((chances @ each - least) / (most - least))


def _share(done: NDArray[np.bool_]) -> Floats:
    """Of rows that have each action, never 0 or 1; of no rows, a half."""
    return np.asarray((done.sum(axis=0) + LEAST) / (len(done) + 2 * LEAST))


def _logistic(
    design: Floats,
    labels: NDArray[np.bool_],
    weights: NDArray[np.floating],
    rising: NDArray[np.integer],
    ridge: float,
    others: tuple[float, int] = (0.5, 0),
) -> Floats:
    """Weights of the columns, then the offset. O(rounds * rows * columns).

    Args:
        rising: of each column 1: its weight is not below 0, -1: not above, 0: either.
        ridge: on the weights.
        others: share of positives in so many rows more, of which no more is known: they are
            likely by the mean probability of the rows that are.
    """
    columns = np.hstack([design, np.ones((len(design), 1))])
    pull, start = np.full(columns.shape[1], ridge), np.zeros(columns.shape[1])
    pull[-1], start[-1] = 0, logit(_share(labels))
    usual, count = others

    def loss(guess: Floats) -> tuple[float, Floats]:
        odds = columns @ guess
        chance = expit(odds)
        mean = np.clip(chance.mean(), LEAST, 1 - LEAST)
        value = weights @ (np.logaddexp(0, odds) - labels * odds)
        value -= count * (usual * np.log(mean) + (1 - usual) * np.log(1 - mean))
        of_mean = count * (mean - usual) / (mean * (1 - mean)) / len(odds)
        slope = (weights * (chance - labels) + of_mean * chance * (1 - chance)) @ columns
        return float(value + (pull * guess) @ guess / 2), slope + pull * guess

    bounds = [(0 if sign > 0 else None, 0 if sign < 0 else None) for sign in rising.tolist()]
    fitted = optimize.minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[*bounds, (None, None)],
        options={"maxiter": ROUNDS},
    )
    return np.asarray(fitted.x)
