"""What follows what, and folds that hide what each user did last."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from scipy import sparse

from benchmarks.two_stage.first_stage import Learner
from benchmarks.two_stage.folds import last_of_users, not_last, with_newest_as_validation
from benchmarks.two_stage.recency import (
    Followers,
    Following,
    LinearFollowers,
    PopularThen,
    RecentEase,
    followers,
    recent_rows,
)
from benchmarks.two_stage.sessions import Histories
from models.recommenders.base import Dataset
from tests.models.worlds import ago as ago_of
from tests.models.worlds import catalogue_of, dataset_of, interactions_frame

N_USERS, N_ITEMS, LENGTH = 60, 30, 8


def round_trips() -> tuple[Dataset, sparse.csr_array]:
    """Each user goes along the items for a while, one a minute, wherever he began; the items
    behind him are as popular as those before him."""
    rows = [
        (f"u{user:02}", f"i{(user + step) % N_ITEMS:02}", "like", ago_of(minutes=LENGTH - step))
        for user in range(N_USERS)
        for step in range(LENGTH)
    ]
    users = [{"id": f"u{user:02}"} for user in range(N_USERS)]
    items = [{"id": f"i{item:02}"} for item in range(N_ITEMS)]
    user, step = np.divmod(np.arange(N_USERS * LENGTH), LENGTH)
    times = sparse.csr_array(
        (1e9 + 60.0 * step, (user, (user + step) % N_ITEMS)), shape=(N_USERS, N_ITEMS)
    )
    return dataset_of(catalogue_of(users, items), interactions_frame(rows)), times


@pytest.mark.parametrize("kind", [Followers, LinearFollowers])
def test_what_follows_is_before_what_came_before(kind: Callable[..., Learner]) -> None:
    dataset, times = round_trips()
    scores = kind(times).fit(dataset).score(np.arange(N_USERS))
    scores[dataset.matrix.values.toarray() > 0] = -np.inf
    ahead = (np.arange(N_USERS) + LENGTH) % N_ITEMS
    assert (scores.argmax(axis=1) == ahead).all()


def test_the_newest_count_most() -> None:
    dataset, times = round_trips()
    # Who went on from both ends of a trip tells of the end where the user is now.
    scores = RecentEase(times, fade=1.0, ridge=1.0).fit(dataset).score(np.arange(N_USERS))
    user = np.arange(N_USERS)
    assert (scores[user, (user + LENGTH) % N_ITEMS] > scores[user, (user - 1) % N_ITEMS]).all()
    rows = recent_rows(Histories.of(dataset.matrix.values, times), 2.0, (N_USERS, N_ITEMS))
    np.testing.assert_allclose(
        rows.toarray()[0, :LENGTH], np.exp(-np.arange(LENGTH)[::-1] / 2), rtol=1e-6
    )


def test_followers_by_hand() -> None:
    known = sparse.csr_array(np.ones((1, 4), np.float32))
    times = sparse.csr_array(np.array([[10.0, 20.0, 20.0, 50.0]]))
    found = followers(Histories.of(known, times), Following(scale=2.0, reach=9), 4).toarray()
    step, two = np.exp(-0.5), np.exp(-1)
    expected = [[0, step, step, two], [0, 0, 0.5, step], [0, 0.5, 0, step], [0, 0, 0, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    near = followers(Histories.of(known, times), Following(scale=2.0, reach=1), 4).toarray()
    assert near[0, 3] == 0


def test_beyond_the_items_most_used_nothing_is_scored() -> None:
    dataset, times = round_trips()
    scores = Followers(times, max_items=5).fit(dataset).score(np.arange(N_USERS))
    assert (scores.any(axis=0)).sum() <= 5


def test_popularity_is_of_the_users_own_time() -> None:
    dataset, _ = round_trips()
    values = dataset.matrix.values
    year = 365 * 86_400.0
    # The first half of the users was about a decade before the others.
    seconds = np.where(np.repeat(np.arange(N_USERS), LENGTH) < N_USERS // 2, year, 11 * year)
    times = sparse.csr_array((seconds, values.indices, values.indptr), shape=values.shape)
    scores = PopularThen(times).fit(dataset).score(np.array([0, N_USERS - 1]))
    early = (values[: N_USERS // 2].toarray() > 0).sum(axis=0)
    np.testing.assert_allclose(scores[0], early, atol=0.01)


def test_what_came_at_one_moment_stays_together() -> None:
    users = np.array([0] * 10 + [1] * 4)
    seconds = np.array([*range(1, 8), 8, 8, 9, 5, 5, 5, 5], float)
    kept = not_last(users, seconds, 0.2)
    assert kept.tolist() == [True] * 9 + [False] + [True] * 4
    shuffled = np.random.default_rng(0).permutation(14)
    assert (not_last(users[shuffled], seconds[shuffled], 0.2) == kept[shuffled]).all()


def test_each_fold_hides_the_newest_of_what_the_last_one_knew() -> None:
    dataset, times = round_trips()
    known = dataset.matrix.values.toarray() > 0
    folds = list(last_of_users(dataset, times, share=0.25, count=2))
    for fold in folds:
        left, wanted = fold.known.matrix.values.toarray() > 0, fold.wanted.toarray()
        assert (known == (left | wanted)).all()
        assert not (left & wanted).any()
        late = np.where(wanted, times.toarray(), np.inf).min(axis=1)
        assert (np.where(left, times.toarray(), 0).max(axis=1) < late).all()
        assert fold.known.popularity.overall.mean() == pytest.approx(1)
        known = left
    assert known.sum() == N_USERS * 5  # 8, then 6, then 5


def test_the_window_is_what_each_user_did_last() -> None:
    dataset, times = round_trips()
    validation = with_newest_as_validation(dataset, times, share=0.25).validation
    assert validation is not None
    assert (np.diff(validation.later.indptr) == 2).all()
    both = validation.earlier + validation.later
    assert (both.toarray() == dataset.matrix.liked.toarray()).all()
    assert dataset.as_of > ago_of(minutes=0) - timedelta(minutes=1)
