"""The popularity prior."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from models.data.ids import IdIndex
from models.data.interactions.popularity import Popularity, popularity
from tests.models.worlds import NOW, Interaction, ago, interactions_frame

ITEMS = IdIndex.of(["a", "b", "c"])
WEIGHTS = {"apply": 10.0, "view": 1.0, "dismiss": -5.0}


def counted(rows: list[Interaction], half_life_share: float = 0.5) -> Popularity:
    return popularity(interactions_frame(rows).lazy(), ITEMS, WEIGHTS, half_life_share)


def test_shares_have_a_mean_of_one() -> None:
    made = counted(
        [
            ("u", "a", "apply", ago(days=9)),
            ("u", "b", "view", ago(days=1)),
            ("u", "b", "dismiss", ago(days=1)),
            ("u", "ghost", "apply", NOW),
            ("u", None, "view", NOW),
            ("u", "a", None, NOW),
            (None, "b", "view", NOW),  # anonymous views are views
        ]
    )
    assert made.overall == pytest.approx(np.array([10, 2, 0]) * 3 / 12)
    assert made.recent.mean() == pytest.approx(1)


def test_age_is_counted_in_events() -> None:
    rows: list[Interaction] = [("u", "a", "view", ago(days=n + 500)) for n in range(10)]
    rows += [("u", "b", "view", NOW + timedelta(hours=n)) for n in range(10)]
    made = counted(rows)
    assert made.overall[0] == made.overall[1]
    assert made.recent[1] == pytest.approx(2 * made.recent[0])
    assert made.trend(0.5, 0.01)[1] > made.trend(0.5, 0.01)[0]


@pytest.mark.parametrize("rows", [[], [("u", "a", "dismiss", NOW)]])
def test_nothing_is_popular(rows: list[Interaction]) -> None:
    made = counted(rows)
    assert made.recent.tolist() == made.overall.tolist() == [0, 0, 0]
    assert made.prior(0.25, 0.01) == pytest.approx(np.log(0.01))
    assert np.isfinite(made.trend(0.2, 0.01)).all()


def test_no_items() -> None:
    none = popularity(interactions_frame([]).lazy(), IdIndex.of([]), WEIGHTS, 0.5)
    assert none.prior(0.25, 0.01).shape == (0,)
