"""One synthetic world for the session: made, split and trained on once."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from models.catalogue.building import Catalogue
from models.catalogue.snapshots.snapshot import Snapshot
from models.recommenders.base import Dataset
from storage.loading.log import Log
from storage.loading.samples.marketplace import generate
from tests.models.worlds import (
    NOW,
    Shelf,
    catalogue_of_log,
    dataset_of,
    patient,
    random_vectors,
    shelf_of,
    snapshot_of,
)


@pytest.fixture(scope="session")
def log() -> Log:
    return generate(users=300, items=400, interactions=30_000, seed=3, now=NOW)


@pytest.fixture(scope="session")
def catalogue(log: Log) -> Catalogue:
    return catalogue_of_log(log)


@pytest.fixture(scope="session")
def interactions(log: Log) -> pl.DataFrame:
    return log.interactions


@pytest.fixture(scope="session")
def dataset(catalogue: Catalogue, interactions: pl.DataFrame) -> Dataset:
    return dataset_of(catalogue, interactions)


@pytest.fixture(scope="session")
def snapshot(dataset: Dataset, interactions: pl.DataFrame) -> Snapshot:
    """Of random vectors, so that every user has another list."""
    return snapshot_of(dataset, random_vectors(dataset), interactions=interactions)


@pytest.fixture(scope="session")
def shelf(snapshot: Snapshot) -> Shelf:
    """Nothing changes it."""
    return shelf_of(snapshot, patient())


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def busy(shelf: Shelf) -> str:
    """The user with the longest history of those who have a place and chosen tags."""
    viewers = [shelf.viewer(user_id) for user_id in shelf.live.users.ids.to_list()]
    complete = [one for one in viewers if one.has_place and len(one.tags)]
    found = max(complete, key=lambda one: len(one.seen)).user_id
    assert found is not None
    return found
