"""Neighbours against all cosines at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics.pairwise import cosine_similarity

from models.data.similarities import top_neighbours


@pytest.mark.parametrize(("rows", "columns", "k"), [(60, 30, 5), (7, 40, 50), (200, 12, 10)])
def test_as_brute_force(rng: np.random.Generator, rows: int, columns: int, k: int) -> None:
    values = rng.random((rows, columns)) * (rng.random((rows, columns)) < 0.15)
    matrix = sparse.csr_array(values.astype(np.float32))
    indices, scores = top_neighbours(matrix, k)
    cosines = cosine_similarity(matrix.toarray())
    np.fill_diagonal(cosines, -1)
    assert indices.shape == scores.shape == (rows, k)
    for row in range(rows):
        there = indices[row] >= 0
        best = np.sort(cosines[row][cosines[row] > 0])[::-1][:k]
        assert there.sum() == len(best)
        assert scores[row][there] == pytest.approx(best, abs=1e-5)
        assert cosines[row, indices[row][there]] == pytest.approx(scores[row][there], abs=1e-5)
        assert len(set(indices[row][there])) == there.sum()
        assert row not in indices[row]
        assert (scores[row][~there] == 0).all()
        assert (np.diff(there.astype(int)) <= 0).all()


def test_many_twins_are_never_their_own_neighbours() -> None:
    indices, scores = top_neighbours(sparse.csr_array(np.ones((30, 3), np.float32)), 5)
    assert (indices >= 0).all()
    assert (indices != np.arange(30)[:, None]).all()
    assert scores == pytest.approx(1)
    assert scores.max() <= 1


def test_common_columns_tell_nothing() -> None:
    matrix = np.zeros((40, 3), np.float32)
    matrix[:, 0] = 1  # everybody
    matrix[:2, 1] = 1  # two of them
    indices, _ = top_neighbours(sparse.csr_array(matrix), 3, max_share=0.5)
    assert indices[0].tolist() == [1, -1, -1]
    assert (indices[2:] == -1).all()
    indices, scores = top_neighbours(
        sparse.csr_array(np.ones((40, 3), np.float32)), 3, max_share=0.5
    )
    assert (indices == -1).all()
    assert (scores == 0).all()


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (3, 4)])
def test_nothing_in_common(shape: tuple[int, int]) -> None:
    indices, scores = top_neighbours(sparse.csr_array(np.zeros(shape, np.float32)), 4)
    assert indices.shape == scores.shape == (shape[0], 4)
    assert (indices == -1).all()
    assert (scores == 0).all()


def test_one_row() -> None:
    indices, _ = top_neighbours(sparse.csr_array(np.ones((1, 2), np.float32)), 3)
    assert indices.tolist() == [[-1, -1, -1]]
