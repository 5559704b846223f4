"""Sample-ratio mismatch: always valid, and it sees what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.experiments.sample_ratio import sample_ratio_mismatch


@given(
    sides=st.lists(st.tuples(st.integers(0, 10**7), st.floats(0.01, 100)), min_size=1, max_size=5),
    scale=st.floats(0.01, 100),
)
def test_a_p_value_whatever_the_scale_of_the_weights(
    sides: list[tuple[int, float]], scale: float
) -> None:
    counts, weights = zip(*sides, strict=True)
    p = sample_ratio_mismatch(counts, weights)
    assert 0 <= p <= 1
    scaled = sample_ratio_mismatch(counts, [scale * weight for weight in weights])
    assert scaled == pytest.approx(p, rel=1e-4, abs=1e-9)


def test_looking_after_every_user_is_wrong_at_most_so_often() -> None:
    rng = np.random.default_rng(1)
    second = rng.random((200, 3000)) < 0.3
    wrong = 0
    for of_world in second.cumsum(axis=1):
        looks = np.arange(100, 3001, 20)
        counts = [(int(n - of_world[n - 1]), int(of_world[n - 1])) for n in looks]
        wrong += any(sample_ratio_mismatch(both, [7, 3]) < 0.05 for both in counts)
    assert wrong / 200 <= 0.05


def test_a_mismatch_is_seen() -> None:
    assert sample_ratio_mismatch([50_000, 50_200], [1, 1]) == 1
    assert sample_ratio_mismatch([50_000, 48_000], [1, 1]) < 1e-6
    assert sample_ratio_mismatch([1000, 100], [9, 1]) > 0.5
    assert sample_ratio_mismatch([1000, 1], [1, 0]) == 0
    assert sample_ratio_mismatch([0, 0], [1, 1]) == 1


@pytest.mark.parametrize(
    ("counts", "weights"), [([1], [1, 1]), ([-1, 1], [1, 1]), ([1, 1], [0, 0]), ([1, 1], [1, -1])]
)
def test_nonsense_is_refused(counts: list[int], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        sample_ratio_mismatch(counts, weights)
