"""What lists are like beside nDCG, and how sure a mean is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from models.evaluation.metrics import list_quality


def test_lists_are_diverse_surprising_and_sure() -> None:
    features = sparse.csr_array(np.array([[1, 0], [1, 0], [0, 1]], np.float32))
    top = np.array([[0, 1], [0, 2], [2, -1]])
    assert list_quality.intra_list_diversity(top, features) == pytest.approx([0, 1, 0])
    hits = np.array([[True, True], [True, False], [True, False]])
    popular = np.array([[0, 2], [1, 2], [2, 0]])
    assert list_quality.serendipity(top, hits, popular).tolist() == [0.5, 0.5, 0]
    better = np.random.default_rng(0).random(200)
    tested = list_quality.paired(better, better - 0.1)
    assert tested.difference.mean == pytest.approx(0.1)
    assert tested.p < 1e-6
    inside = list_quality.bootstrap(better)
    assert inside.low < inside.mean < inside.high
    assert list_quality.paired(better, better).p == 1


@pytest.mark.parametrize("users", [1, 4, 7, 40])
def test_signed_ranks_are_scipys(users: int) -> None:
    """With ties, and with users who tell no difference."""
    rng = np.random.default_rng(users)
    values = np.append(rng.integers(1, 6, users) / 4, 1)
    baseline = np.append(rng.integers(2, 5, users) / 4 + 0.125, 1)
    expected = stats.wilcoxon((values - baseline)[:-1]).pvalue
    assert list_quality.paired(values, baseline).p_signed_rank == pytest.approx(expected)
