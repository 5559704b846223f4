"""A vector for what came after training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.catalogue.building import Vectors
from models.catalogue.fold_in import DOUBT, RIDGE, RidgeStep, fold_in_of
from models.catalogue.live import LiveCatalogue
from tests.models.worlds import (
    ago,
    catalogue_of,
    dataset_of,
    interactions_frame,
    snapshot_of,
)

USERS, ITEMS, DIMS = 40, 60, 4


@pytest.fixture(scope="module")
def live() -> LiveCatalogue:
    """Users of two tastes, each of half of the items."""
    rng = np.random.default_rng(1)
    users = [{"id": f"u{n:02}"} for n in range(USERS)]
    items = [{"id": f"i{n:02}"} for n in range(ITEMS)]
    rows = [
        (f"u{n:02}", f"i{item:02}", "save", ago(days=1))
        for n in range(USERS)
        for item in rng.choice(ITEMS // 2, 5, replace=False) * 2 + n % 2
    ]
    dataset = dataset_of(catalogue_of(users, items), interactions_frame(rows))
    side = np.where(np.arange(ITEMS) % 2, 1.0, -1.0)
    vectors = rng.normal(size=(ITEMS, DIMS)) * 0.3
    vectors[:, 0] += side
    people = rng.normal(size=(USERS, DIMS)) * 0.1
    people[:, 0] += np.where(np.arange(USERS) % 2, 1.0, -1.0)
    return LiveCatalogue(
        snapshot_of(
            dataset,
            Vectors(
                people.astype(np.float32),
                vectors.astype(np.float32),
                np.zeros(ITEMS, np.float32),
            ),
        )
    )


def test_it_is_the_ridge_regression_at_the_spread_of_trained_users(live: LiveCatalogue) -> None:
    """Against the normal equations written out over all items."""
    fold_in = fold_in_of(live)
    assert isinstance(fold_in, RidgeStep)
    vectors = live.items.vectors[:ITEMS].astype(np.float64)
    centred = vectors - vectors.mean(axis=0)
    rows, liking = np.array([1, 3, 5]), np.array([1.0, 2.0, 0.5])
    wanted = np.zeros(ITEMS)
    wanted[rows] = liking
    scale = np.trace(centred.T @ centred / ITEMS) / DIMS
    solved = np.linalg.solve(
        centred.T @ centred + RIDGE * scale * ITEMS * np.eye(DIMS), centred.T @ wanted
    )
    step = fold_in.step(vectors[rows], liking)
    assert step / np.linalg.norm(step) == pytest.approx(solved / np.linalg.norm(solved), rel=1e-5)
    users = live.users.vectors.astype(np.float64)
    spreads = ((users - users.mean(axis=0)) @ centred.T).std(axis=1)
    assert (centred @ step).std() == pytest.approx(np.median(spreads) * 3 / (3 + DOUBT), rel=1e-4)


def test_who_likes_one_side_gets_it_and_more_so_the_more_they_like(live: LiveCatalogue) -> None:
    fold_in = fold_in_of(live)
    assert isinstance(fold_in, RidgeStep)
    odd = np.arange(1, 11, 2)
    vectors = live.items.vectors[:ITEMS]
    gaps = []
    for count in (1, 3, 5):
        scores = vectors @ fold_in.step(vectors[odd[:count]], np.ones(count))
        gaps.append(scores[1::2].mean() - scores[::2].mean())
    assert 0 < gaps[0] < gaps[1] < gaps[2]


def test_dismissals_alone_move_nothing_and_else_turn_away(live: LiveCatalogue) -> None:
    fold_in = fold_in_of(live)
    assert isinstance(fold_in, RidgeStep)
    vectors = live.items.vectors[:ITEMS]
    assert not fold_in.step(vectors[:3], np.full(3, -1.0)).any()
    liked = fold_in.step(vectors[[1, 3]], np.ones(2))
    turned = fold_in.step(vectors[[1, 3, 20]], np.array([1.0, 1.0, -1.0]))
    direction = [step / np.linalg.norm(step) for step in (liked, turned)]
    centred = vectors[20] - fold_in.mean
    assert direction[1] @ centred < direction[0] @ centred


def test_a_model_without_taste_is_left_alone(live: LiveCatalogue) -> None:
    flat = replace(live.snapshot.items, vectors=np.zeros_like(live.snapshot.items.vectors))
    assert fold_in_of(LiveCatalogue(replace(live.snapshot, items=flat))) is None
