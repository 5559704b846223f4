"""The index finds what scores highest, and is one file that processes share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.catalogue.snapshots.nearest import Nearest, NearestError, build

ITEMS, DIMS, COUNT = 20_000, 16, 100


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items about centres, a long tail of popularity, and 300 users."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((50, DIMS))
    vectors = centres[rng.integers(0, 50, ITEMS)] + 0.7 * rng.standard_normal((ITEMS, DIMS))
    bias = np.log1p(rng.permutation(1e5 / np.arange(1, ITEMS + 1)))
    users = centres[rng.integers(0, 50, 300)] + rng.standard_normal((300, DIMS))
    return vectors.astype(np.float32), bias.astype(np.float32), users.astype(np.float32)


@pytest.fixture(scope="module")
def index(world: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Nearest:
    vectors, bias, users = world
    rows = np.arange(0, ITEMS, 2, dtype=np.int32)
    return build(vectors, bias, rows, sample_queries=users[:150], count=COUNT)


def recall(index: Nearest, scores: np.ndarray, query: np.ndarray) -> float:
    found, _ = index.search(query, COUNT)
    return len(np.intersect1d(found, np.argsort(-scores)[:COUNT])) / COUNT


def test_users_that_it_was_not_tuned_on_get_their_best_items(world, index: Nearest) -> None:
    vectors, bias, users = world
    assert index.probes < index.cells / 2
    shares = []
    for user in users[150:]:
        scores = vectors @ user + bias
        rows, told = index.search(user, COUNT)
        assert rows.dtype == np.int32
        assert (rows % 2 == 0).all()  # only what was indexed
        assert (np.diff(told) <= 0).all()
        np.testing.assert_allclose(told, scores[rows], rtol=1e-4, atol=1e-4)
        scores[1::2] = -np.inf
        shares.append(recall(index, scores, user))
    assert np.mean(shares) >= 0.95


def test_the_same_arguments_give_the_same_index(world, index: Nearest) -> None:
    vectors, bias, users = world
    rows = np.arange(0, ITEMS, 2, dtype=np.int32)
    again = build(vectors, bias, rows, sample_queries=users[:150], count=COUNT)
    assert (again.cells, again.probes) == (index.cells, index.probes)
    for user in users[:20]:
        np.testing.assert_array_equal(again.search(user, COUNT), index.search(user, COUNT))


def test_another_process_finds_the_same_in_the_file(world, index: Nearest, tmp_path: Path) -> None:
    path, query = tmp_path / "index", tmp_path / "query.npy"
    index.save(path)
    np.save(query, world[2][0])
    code = (
        "import sys, pathlib, numpy as np; from models.catalogue.snapshots.nearest import Nearest;"
        "index = Nearest.open(pathlib.Path(sys.argv[1]));"
        f"print(index.probes, len(index), *index.search(np.load(sys.argv[2]), {COUNT})[0])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, path, query], capture_output=True, text=True, check=True
    ).stdout
    rows, _ = index.search(world[2][0], COUNT)
    assert [int(number) for number in told.split()] == [index.probes, len(index), *rows]


@pytest.mark.parametrize("items", [0, 1, 7, 100])
def test_few_items_are_all_found(items: int, rng: np.random.Generator) -> None:
    vectors = rng.standard_normal((items, 4)).astype(np.float32)
    bias = rng.standard_normal(items).astype(np.float32)
    user = rng.standard_normal(4).astype(np.float32)
    rows = np.arange(items, dtype=np.int32)
    for sample in (user[None], np.zeros((0, 4), np.float32)):
        found, _ = build(vectors, bias, rows, sample_queries=sample, recall=1).search(user, 400)
        assert found.tolist() == np.argsort(-(vectors @ user + bias)).tolist()


def test_a_model_of_biases_alone(rng: np.random.Generator) -> None:
    vectors, bias = np.zeros((500, 0), np.float32), rng.random(500, np.float32)
    nobody = np.zeros((1, 0), np.float32)
    index = build(vectors, bias, np.arange(500, dtype=np.int32), sample_queries=nobody, recall=1)
    assert index.search(nobody[0], 5)[0].tolist() == np.argsort(-bias)[:5].tolist()


def test_what_is_wrong_is_named(world, index: Nearest, tmp_path: Path) -> None:
    vectors, bias, users = world
    rows = np.arange(10, dtype=np.int32)
    with pytest.raises(ValueError, match="query: 3 dimensions"):
        index.search(users[0, :3], 5)
    with pytest.raises(ValueError, match="sample_queries"):
        build(vectors, bias, rows, sample_queries=users[:, :3])
    with pytest.raises(ValueError, match="finite"):
        build(vectors, np.full(ITEMS, np.nan, np.float32), rows, sample_queries=users)
    path = tmp_path / "index"
    with pytest.raises(NearestError, match="missing"):
        Nearest.open(path)
    index.save(path)
    whole = path.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:length])
        with pytest.raises(NearestError, match="damaged"):
            Nearest.open(path)
