"""Tables that are kept up to date are those that are made of everything at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from models.catalogue.snapshots.snapshot import Snapshot
from models.catalogue.tables.kinds import ItemTable
from models.data.ids import IdIndex
from models.profile.recommender_settings import ItemKNNSettings, TransitionsSettings
from models.profile.schema import Profile
from models.recommenders.base import Dataset
from models.recommenders.incremental.likes import Likes
from models.recommenders.incremental.state import MadeBy, TableState, makers_of, refreshable
from models.recommenders.neighbours.knn import ItemKNN
from models.recommenders.neighbours.transitions import Transitions
from models.recommenders.zoo import make
from tests.models.worlds import NOW, PROFILE, interactions_frame, snapshot_of

ITEMS = IdIndex.of([f"i{n}" for n in range(8)])
USERS = [f"u{n}" for n in range(6)]
TYPES = ("click", "save", "apply", "unapply", "dismiss", "impression")

Log = list[tuple[str, str, str, int]]
"""User, item, type, minute."""

event = st.tuples(
    st.sampled_from(USERS),
    st.sampled_from(ITEMS.to_list()),
    st.sampled_from(TYPES),
    st.integers(0, 40),
)
batch = st.one_of(
    st.tuples(st.just("add"), st.lists(event, max_size=12)),
    st.tuples(st.just("erase"), st.sampled_from(USERS)),
    st.tuples(st.just("forget before"), st.integers(0, 20)),
)


def made_by(weighting: str = "bm25") -> list[MadeBy]:
    return [
        {
            "recommender": "transitions",
            "settings": TransitionsSettings(reach=3, kept=3).model_dump(),
            "items": len(ITEMS),
        },
        {
            "recommender": "item_knn",
            "settings": ItemKNNSettings(neighbours=3, weighting=weighting).model_dump(),
            "items": len(ITEMS),
        },
    ]


def likes_of(log: Log, users: list[str], profile: Profile = PROFILE) -> Likes:
    rows = [
        (user, item, kind, NOW + timedelta(minutes=minute))
        for user, item, kind, minute in log
        if user in users
    ]
    return Likes.of(interactions_frame(rows).lazy(), IdIndex.of(users), ITEMS, profile)


@given(
    start=st.lists(event, max_size=30),
    batches=st.lists(batch, max_size=6),
    half_life=st.sampled_from([None, 0.01]),
    weighting=st.sampled_from(["bm25", "tfidf", "cosine"]),
)
@settings(max_examples=60, deadline=None)
def test_any_series_of_changes_is_a_full_build(
    start: Log, batches: list[tuple[str, Any]], half_life: float | None, weighting: str
) -> None:
    matrix = PROFILE.matrix.model_copy(update={"half_life_days": half_life})
    profile = PROFILE.model_copy(update={"matrix": matrix})
    log = list(start)
    state = TableState.of(likes_of(log, USERS, profile), made_by(weighting))
    for kind, what in batches:
        if kind == "add":
            changed = sorted({user for user, *_ in what})
            log += what
        elif kind == "erase":
            changed = [what]
            log = [row for row in log if row[0] != what]
        else:
            oldest = NOW.timestamp() + what * 60
            old = np.flatnonzero(state.likes.oldest < oldest)
            changed = state.likes.users.to_series().gather(old).to_list()
            log = [row for row in log if row[3] >= what]
        state = state.updated(pl.Series(changed, dtype=pl.String), likes_of(log, changed, profile))
    whole = TableState.of(likes_of(log, USERS, profile), made_by(weighting))
    assert state.likes.users.to_list() == whole.likes.users.to_list()
    for ours, theirs in zip(state.counted, whole.counted, strict=True):
        assert (ours.counts.of_items == theirs.counts.of_items).all()
        assert same(ours.counts.pairs, theirs.counts.pairs)
        assert same(ours.related, theirs.related)


def same(one: sparse.csr_array, other: sparse.csr_array) -> bool:
    return not np.abs(one - other).sum()


def test_the_counts_make_the_tables_of_a_training(
    dataset: Dataset, interactions: pl.DataFrame
) -> None:
    """The same items of each row, with the same weights, but for the last bits."""
    transitions = Transitions(TransitionsSettings()).fit(dataset)
    knn = ItemKNN(ItemKNNSettings(neighbours=20)).fit(dataset)
    assert isinstance(transitions.table, ItemTable)
    served = {"transitions": transitions.table, "item_knn": knn.table}
    before = interactions.lazy().filter(pl.col("occurred_at") < dataset.as_of)
    likes = Likes.of(before, dataset.users, dataset.items, PROFILE)
    made = TableState.of(likes, makers_of(served)).tables(served)
    assert likes.histories.liked.nnz == dataset.matrix.liked.nnz
    for name, table in served.items():
        theirs = table.related.to_csr(len(dataset.items))
        ours = made[name].related.to_csr(len(dataset.items))
        assert ours.nnz == theirs.nnz
        # The strongest are taken of a row of F, and of the items nearest to a column.
        axis = {"transitions": 1, "item_knn": 0}[name]
        assert ours.sum(axis=axis) == pytest.approx(theirs.sum(axis=axis), rel=1e-4, abs=1e-5)
        gone = theirs - theirs.multiply(ours != 0)  # ties for the last place
        assert gone.nnz < 0.01 * theirs.nnz
        assert (made[name].fade, made[name].weighted) == (table.fade, table.weighted)


def test_a_new_item_comes_behind_the_others(tmp_path: Path) -> None:
    log = [("u1", "i1", "save", 1), ("u1", "i2", "save", 2), ("u2", "i1", "save", 1)]
    state = TableState.of(likes_of(log, USERS), made_by()).with_items(pl.Series(["a new one"]))
    rows = interactions_frame(
        [("u2", "i1", "save", NOW), ("u2", "a new one", "save", NOW + timedelta(minutes=1))]
    )
    changed = pl.Series(["u2"])
    later = Likes.of(rows.lazy(), IdIndex.of(changed), state.likes.items, PROFILE)
    state = state.updated(changed, later)
    state.save(tmp_path / "state", {"version": "3"})
    loaded, notes = TableState.load(tmp_path / "state")
    assert notes == {"version": "3"}
    new = len(ITEMS)
    for one in loaded.counted:
        assert set(one.related[[1]].indices) == {2, new}
    assert loaded.likes.items[new] == "a new one"


def test_what_depends_on_all_counts_waits_for_training(dataset: Dataset) -> None:
    knn = ItemKNN(ItemKNNSettings(weighted=True)).fit(dataset).table
    solved = make("session_ease", PROFILE).fit(dataset).vectors
    assert solved is not None
    assert refreshable({"item_knn": knn, **solved.tables}) == {}


def test_a_snapshot_says_what_made_its_tables(
    dataset: Dataset, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    vectors = Transitions(TransitionsSettings()).fit(dataset).vectors
    assert vectors is not None
    made = snapshot_of(dataset, vectors, recommender="transitions", interactions=interactions)
    loaded = Snapshot.load(made.save(tmp_path / "1"))
    table = loaded.tables["transitions"]
    assert isinstance(table, ItemTable)
    assert makers_of(loaded.tables) == [table.made_by]
    assert table.made_by == {
        "recommender": "transitions",
        "settings": TransitionsSettings().model_dump(),
        "items": len(dataset.items),
    }
