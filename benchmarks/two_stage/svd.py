"""Truncated singular value decomposition, with a few random vectors (Halko, Martinsson and Tropp
2011, "Finding structure with randomness", algorithm 4.4)."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from models.recommenders.base import Dataset, Progress, signal

# What these leave out is far below the loss by the rank.
SPARE = 16  # random vectors beyond the rank
ROUNDS = 4  # of the power iteration
BLOCK = 65_536  # rows that are held in 64 bits at once
NOISE = 1e-5
"""Singular values below this share of the largest are rounding errors of 32 bits."""


def axes(
    scores: LinearOperator, rank: int, *, seed: int = 0, progress: Progress | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The first ``rank`` right singular vectors, deterministic.

    O(rounds * (products with rank vectors + min(users, items) * rank²)) time.

    Args:
        scores: float32, shape (users, items).

    Returns:
        the vectors, shape (items, rank or fewer), and their singular values: no more than the
        scores have dimensions, none where all scores are 0.
    """
    users, items = scores.shape
    width = min(rank + SPARE, users, items)
    # Back and forth from the smaller side, where the columns are kept apart.
    of_users = users < items
    across, back = scores.matmat, scores.rmatmat
    if of_users:
        across, back = back, across
    start = np.random.default_rng(seed).normal(size=(min(users, items), width))
    sample = start.astype(np.float32)
    for done in range(ROUNDS):
        # Far quicker than QR, and enough until the last.
        base, _ = linalg.lu(sample, permute_l=True, overwrite_a=True, check_finite=False)
        sample = back(across(base))
        if progress is not None:
            progress(done + 1, ROUNDS + 1)
    base, _ = np.linalg.qr(sample)
    image = across(base)
    # The eigenvectors of a small matrix turn the base to the singular vectors.
    squares, turn = np.linalg.eigh(_gram(image))
    singular = np.sqrt(np.maximum(squares[::-1][:rank], 0))
    kept = singular > NOISE * singular.max(initial=0)
    singular, turn = singular[kept], turn[:, ::-1][:, :rank][:, kept]
    if of_users:
        turn /= singular
    found = (image if of_users else base) @ turn.astype(np.float32)
    if progress is not None:
        progress(ROUNDS + 1, ROUNDS + 1)
    return np.ascontiguousarray(found), singular


def _gram(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """``imageᵀ image``: in 32 bits, squares would lose small singular values beside large ones."""
    width = image.shape[1]
    gram = np.zeros((width, width))
    for start in range(0, len(image), BLOCK):
        block = image[start : start + BLOCK].astype(np.float64)
        gram += block.T @ block
    return gram


class PureSVD:
    """Scores of the first ``rank`` singular triplets of the users' rows (Cremonesi, Koren and
    Turrin 2010, "Performance of recommender algorithms on top-n recommendation tasks")."""

    name = "pure_svd"

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        self._rows = signal(dataset.matrix.liked, weighted=False)
        self._axes, _ = axes(aslinearoperator(self._rows), self._rank, progress=progress)
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        return np.asarray((self._rows[users] @ self._axes) @ self._axes.T, np.float32)
