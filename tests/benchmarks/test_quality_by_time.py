"""The protocols keep the future out of what is learnt from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.quality_by_time import last, windows


def ratings() -> Any:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(40), 20)
    seconds = rng.uniform(0, 1e6, 40)[users] + rng.uniform(0, 1e5, len(users))
    return SimpleNamespace(rows=users, seconds=seconds, users=range(40))


def test_last_is_after_all_that_is_known_of_the_user() -> None:
    made = ratings()
    (cut,) = last(made)
    assert (cut.known != cut.wanted).all()
    assert (np.bincount(made.rows[cut.wanted]) == 4).all()


def test_a_window_knows_of_others_only_what_came_before_it() -> None:
    made, judged = ratings(), []
    for cut in windows(made):
        asked = np.isin(made.rows, made.rows[cut.wanted])
        begin = made.seconds[cut.wanted].min(initial=np.inf)
        assert not (cut.known & cut.wanted).any()
        assert (made.seconds[cut.known & ~asked] <= begin).all()
        for user in np.unique(made.rows[cut.wanted]):
            own = made.rows == user
            assert made.seconds[own & cut.known].max() < made.seconds[own & cut.wanted].min()
        judged += np.unique(made.rows[cut.wanted]).tolist()
    assert len(judged) == len(set(judged)) > 15
