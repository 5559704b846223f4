"""Splits: nothing is lost, nothing leaks, and Microsoft's split is Microsoft's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.splits import folds, leave_last_out, stratified_split

GROUPS = st.lists(st.integers(0, 6), min_size=1, max_size=60).map(np.array)


@given(GROUPS, st.sampled_from([0.5, 0.75, 0.9]), st.integers(0, 99))
def test_stratified_split_learns_from_the_share_of_each_group(
    groups: np.ndarray, share: float, seed: int
) -> None:
    train = stratified_split(groups, share=share, seed=seed)
    for group in np.unique(groups):
        count = (groups == group).sum()
        assert train[groups == group].sum() == int(np.floor(share * count + 1e-9))
    assert (train == stratified_split(groups, share=share, seed=seed)).all()


@given(GROUPS)
def test_stratified_split_is_that_of_microsoft(groups: np.ndarray) -> None:
    """Against the steps of their code: shuffle by a random column, rank within the group."""
    frame = pd.DataFrame({"item": groups})
    frame["random"] = np.random.RandomState(42).rand(len(frame))
    ordered = frame.sort_values(["item", "random"])
    grouped = ordered.groupby("item")
    rank = (grouped.cumcount() + 1) / grouped["item"].transform("count")
    expected = (rank <= 0.75).sort_index().to_numpy()
    assert (stratified_split(groups) == expected).all()


@given(GROUPS, st.integers(1, 3), st.data())
def test_leave_last_out_holds_out_the_newest(
    users: np.ndarray, last: int, data: st.DataObject
) -> None:
    size = len(users)
    times = np.array(data.draw(st.lists(st.integers(0, 9), min_size=size, max_size=size)))
    train = leave_last_out(users, times, last=last)
    for user in np.unique(users):
        own = users == user
        held = own & ~train
        assert held.sum() == (last if own.sum() > last else 0)
        if held.any():
            assert times[own & train].max() <= times[held].min()


@given(st.integers(2, 6), st.integers(0, 50))
def test_folds_are_even(count: int, rows: int) -> None:
    sizes = np.bincount(folds(count, rows), minlength=count)
    assert sizes.sum() == rows
    assert sizes.max() - sizes.min() <= 1


def test_nonsense_is_refused() -> None:
    one = np.zeros(1, int)
    with pytest.raises(ValueError, match="share"):
        stratified_split(one, share=1.0)
    with pytest.raises(ValueError, match="last"):
        leave_last_out(one, one, last=0)
    with pytest.raises(ValueError, match="folds"):
        folds(1, 5)
