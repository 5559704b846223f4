"""Weights of a blend: one softmax over each user's candidates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

RIDGE = 1.0
ROUNDS = 100


def learn_weights(
    scores: NDArray[np.float32], wanted: NDArray[np.bool_], groups: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The weights, none below 0, that minimise ListNet's loss with top-one probabilities (Cao et
    al. 2007, "Learning to rank: from pairwise to listwise approach") and a small ridge: the
    cross-entropy between what a user wanted and ``softmax(scores · weights)`` over their
    candidates. A user counts by the root of how much they wanted. The loss is convex.

    Args:
        scores: of each candidate by each part, shape (rows, parts); one user after the other.
        wanted: shape (rows,). groups: rows of each user.

    Returns:
        shape (parts,). O(rounds * rows * parts).
    """
    starts = np.concatenate(([0], np.cumsum(groups)[:-1]))
    hits = wanted.astype(np.float32)
    count = np.add.reduceat(hits, starts)
    share = np.repeat(1 / np.sqrt(np.maximum(count, 1)), groups)
    count = np.repeat(count, groups)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        total = scores @ weights.astype(np.float32)
        total -= np.repeat(np.maximum.reduceat(total, starts), groups)
        odds = np.exp(total)
        log_sum = np.log(np.repeat(np.add.reduceat(odds, starts), groups))
        value = -np.sum(share * hits * (total - log_sum), dtype=np.float64)
        slope = (share * (count * np.exp(total - log_sum) - hits)).astype(np.float32) @ scores
        return (
            float(value + RIDGE * (weights @ weights) / 2),
            slope.astype(np.float64) + RIDGE * weights,
        )

    parts = scores.shape[1]
    result = optimize.minimize(
        loss,
        np.full(parts, 1 / parts),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * parts,
        options={"maxiter": ROUNDS},
    )
    return np.asarray(result.x, np.float64)
