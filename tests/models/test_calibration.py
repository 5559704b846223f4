"""Probabilities, and how likely a position is looked at."""

from __future__ import annotations

import numpy as np
import pytest

from models.ranking.calibration import Calibration, examination


def test_probabilities_mean_what_they_say() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=4_000)
    outcomes = (rng.random(4_000) < 1 / (1 + np.exp(-(2 * scores - 1)))).astype(float)
    fitted = Calibration.fit(scores, outcomes)
    fitted = Calibration.from_json(fitted.to_json())
    said = fitted.probabilities(scores)
    for low in (0.0, 0.25, 0.5, 0.75):
        inside = (said >= low) & (said < low + 0.25)
        assert said[inside].mean() == pytest.approx(outcomes[inside].mean(), abs=0.04)
    assert (np.diff(fitted.probabilities(np.sort(scores))) >= 0).all()


def test_positions_are_told_from_appeal() -> None:
    rng = np.random.default_rng(0)
    truth, count = 1 / np.arange(1, 5), 60_000
    items, positions = rng.integers(0, 30, count), rng.integers(1, 5, count)
    # What appeals stands higher, so the click rate by position alone would mislead.
    positions = np.where((items < 10) & (rng.random(count) < 0.6), 1, positions)
    clicks = (rng.random(count) < np.where(items < 10, 0.6, 0.2) * truth[positions - 1]).astype(
        float
    )
    seen = examination(items, positions, clicks)
    assert seen == pytest.approx(truth, abs=0.05)
