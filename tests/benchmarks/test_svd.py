"""The truncated decomposition of the study."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

from benchmarks.two_stage import svd


@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    rank=st.integers(0, 4),
    size=st.sampled_from([1e-6, 1.0, 1e6]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=100)
def test_axes_of_scores_of_any_rank(
    rows: int, columns: int, rank: int, size: float, seed: int
) -> None:
    """As many as the scores have dimensions, and those lose nothing: what is rounding alone is
    no axis, or it would be divided by nearly 0."""
    rng = np.random.default_rng(seed)
    scores = size * rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))
    scores = scores.astype(np.float32)
    found, singular = svd.axes(aslinearoperator(scores), 8)
    assert found.shape == (columns, len(singular))
    assert len(singular) <= min(rank, rows, columns)
    assert found.T @ found == pytest.approx(np.eye(len(singular)), abs=1e-3)
    lost = np.linalg.norm(scores - scores @ found @ found.T)
    assert lost <= 5e-3 * np.linalg.norm(scores)
