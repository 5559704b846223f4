"""Splits: nothing is lost, nothing leaks, and Microsoft's split is Microsoft's."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.interactions.matrices import interaction_matrix
from models.data.interactions.splits import (
    Split,
    at_random,
    by_time,
    stratified_split,
)
from models.recommenders import judging
from tests.models.worlds import Interaction, ago, catalogue_of, dataset_of, interactions_frame

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


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="share"):
        stratified_split(np.zeros(1, int), share=1.0)


# The two protocols on a log of our own kind.

WEIGHTS = {"like": 3.0, "view": 1.0, "dismiss": -5.0}
LOGS = st.lists(
    st.tuples(
        st.sampled_from([f"u{n}" for n in range(4)]),
        st.sampled_from([f"i{n}" for n in range(6)]),
        st.sampled_from(["like", "view", "dismiss", "impression"]),
        st.integers(0, 30).map(lambda hours: ago(hours=hours)),
    ),
    min_size=1,
    max_size=60,
)


def parts(split: Split) -> tuple[pl.DataFrame, pl.DataFrame]:
    return split.train.collect(), split.test.collect()


def moments(rows: pl.DataFrame) -> list[datetime]:
    return rows["occurred_at"].to_list()


def pairs(rows: pl.DataFrame) -> set[tuple[str, str]]:
    return set(rows.select("user_id", "item_id").iter_rows())


def liked(rows: pl.DataFrame) -> pl.DataFrame:
    """The pairs with an interaction of a positive weight, and the moment of the first."""
    return (
        rows.filter(pl.col("type").is_in(["like", "view"]))
        .group_by("user_id", "item_id")
        .agg(pl.col("occurred_at").min())
    )


@given(LOGS)
def test_no_row_is_lost_and_the_model_knows_none_of_the_test(log: list[Interaction]) -> None:
    rows = interactions_frame(log)
    if liked(rows).is_empty():
        with pytest.raises(ValueError, match="nobody likes anything"):
            at_random(rows.lazy(), WEIGHTS)
        return
    for split in (
        by_time(rows.lazy()),
        at_random(rows.lazy(), WEIGHTS),
        at_random(rows.lazy(), WEIGHTS, within="user_id"),
    ):
        train, test = parts(split)
        assert pl.concat([train, test]).sort(rows.columns).equals(rows.sort(rows.columns))
        assert all(moment < split.as_of for moment in moments(train))
    split = at_random(rows.lazy(), WEIGHTS)
    assert not pairs(split.train.collect()) & pairs(split.test.collect())
    split = by_time(rows.lazy())
    assert all(moment >= split.as_of for moment in moments(split.test.collect()))


@given(LOGS, st.sampled_from([0.25, 0.5]), st.integers(0, 3))
def test_a_random_share_of_what_is_liked_of_each_item_is_held_out(
    log: list[Interaction], share: float, seed: int
) -> None:
    rows = interactions_frame(log)
    all_liked = liked(rows)
    if all_liked.is_empty():
        return
    _, test = parts(at_random(rows.lazy(), WEIGHTS, test_share=share, seed=seed))
    for (item,), of_item in all_liked.group_by("item_id"):
        held = liked(test.filter(pl.col("item_id") == item))
        assert len(held) == int(np.ceil(len(of_item) * share))
    shuffled = rows.sample(fraction=1, shuffle=True, seed=seed)
    again = at_random(shuffled.lazy(), WEIGHTS, test_share=share, seed=seed)
    assert pairs(again.test.collect()) == pairs(test)


@pytest.mark.parametrize("protocol", ["time", "random"])
def test_users_are_judged_by_what_was_held_out(protocol: str) -> None:
    """From a log to a test set, under each protocol."""
    rows = interactions_frame(
        [
            (f"u{user}", f"i{(user + step) % 20:02}", kind, ago(days=30 - step, hours=user))
            for user in range(15)
            for step in range(8)
            for kind in ("view", "like")
        ]
    )
    split = {
        "time": lambda: by_time(rows.lazy(), test_share=0.25),
        "random": lambda: at_random(rows.lazy(), WEIGHTS),
    }[protocol]()
    catalogue = catalogue_of(
        [{"id": f"u{n}"} for n in range(15)], [{"id": f"i{n:02}"} for n in range(20)]
    )
    dataset = dataset_of(catalogue, split.train.collect(), as_of=split.as_of)
    future = interaction_matrix(split.test, dataset.users, dataset.items, WEIGHTS)
    test = judging.test_set(dataset.matrix, future, heavy_user=50, max_users=100)
    assert test.relevant.nnz == future.positive.nnz  # all that was held out is to be found
    assert not test.relevant.multiply(test.seen).nnz
    share = future.positive.nnz / (15 * 8)
    assert share == pytest.approx({"time": 0.25, "last": 1 / 8, "random": 0.3}[protocol], abs=0.05)
