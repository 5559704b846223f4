"""Sources of candidates: an index of vectors beside scoring all items, and a tree of places."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import BallTree
from threadpoolctl import threadpool_limits

from benchmarks.common import report
from benchmarks.common.report import BenchmarkError, Row, log
from models.catalogue.snapshots.nearest import Nearest, build
from models.data.scorers import EARTH_RADIUS_KM
from models.feed.candidates.nearby import Places

COUNT = 400  # items wanted of the index
NEAR = 200  # and of the places
SHARES = (200, 50, 10, 1)  # sizes are the items divided by these
ROUNDS = 3  # in which the two sides take turns
EXACT = "exact: vectors @ user + bias, then argpartition"
BALL_TREE = "scikit-learn's BallTree with haversine"
Floats = NDArray[np.float32]


class Model(NamedTuple):
    vectors: Floats  # (items, dims)
    bias: Floats  # (items,)
    users: Floats  # (users, dims)


def model(items: int, users: int, dims: int, *, seed: int = 0) -> Model:
    """As one that was trained: groups of taste, users who like some, a long tail of popularity."""
    rng = np.random.default_rng(seed)
    groups = rng.standard_normal((200, dims), np.float32)
    vectors = groups[rng.integers(0, 200, items)]
    vectors += 0.7 * rng.standard_normal((items, dims), np.float32)
    vectors *= rng.uniform(0.7, 1.3, (items, 1)) / np.sqrt(dims)
    liked = groups[rng.integers(0, 200, (users, 5))]
    taste = np.einsum("ug,ugd->ud", rng.dirichlet(np.full(5, 0.5), users), liked)
    taste += 0.3 * rng.standard_normal((users, dims))
    popular = np.log1p(rng.permutation(1e6 / np.arange(1, items + 1)))
    taste *= popular.std() / (taste @ vectors[:1000].T).std()  # neither decides alone
    return Model(vectors, popular.astype(np.float32), taste.astype(np.float32))


def measure(items: int, users: int, dims: int) -> list[Row]:
    """Both sources. Of the users, half tune the index and half judge it."""
    rows, faster = [], 0
    sizes = sorted({max(items // share, COUNT) for share in SHARES})
    with threadpool_limits(1):  # as in a worker
        for size in sizes:
            vectors = _vectors(size, users, dims)
            rows += vectors
            if not faster and vectors[0].value < (vectors[0].baseline_value or 0):
                faster = size
            log.info("vectors of %d items measured", size)
        rows.append(Row("fewest items at which the index is faster (0: none)", faster, "items"))
        rows += _places(items, users)
    return rows


def _vectors(items: int, users: int, dims: int) -> list[Row]:
    made = model(items, users, dims)
    tuned, judged = made.users[: users // 2], made.users[users // 2 :]
    started = perf_counter()
    built = build(
        made.vectors,
        made.bias,
        np.arange(items, dtype=np.int32),
        sample_queries=tuned,
        count=COUNT,
    )
    seconds = perf_counter() - started

    def exact(user: Floats) -> NDArray[np.integer]:
        scores = made.vectors @ user + made.bias
        return np.argpartition(scores, items - COUNT)[items - COUNT :]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        built.save(path)
        size = path.stat().st_size
        index = Nearest.open(path)  # mapped, as in a worker
        normalised, truth = (
            [find(user) for user in judged]
            for find in (lambda user: index.search(user, COUNT)[0], exact)
        )
        taken, base = _in_turns(judged, lambda user: index.search(user, COUNT), exact)
    hits = [len(np.intersect1d(*pair)) for pair in zip(normalised, truth, strict=True)]
    suffix = f"(items={items})"
    own = made.vectors.nbytes + made.bias.nbytes
    return [
        *_latencies(f"index {suffix}", EXACT, taken, base),
        Row(f"recall@{COUNT}, index {suffix}", float(np.mean(hits)) / COUNT, "share", EXACT, 1.0),
        Row(f"build, index {suffix}", seconds, "s"),
        Row(f"file, index {suffix}", size / 1e6, "MB", "vectors and biases", own / 1e6),
        Row(f"cells looked into {suffix}", index.probes, "cells", "all cells", index.cells),
    ]


def _places(items: int, users: int) -> list[Row]:
    """Items about towns, asked for those about others of them."""
    rng = np.random.default_rng(0)
    towns = np.stack([rng.uniform(-60, 70, 500), rng.uniform(-180, 180, 500)], axis=1)
    points = towns[rng.zipf(1.3, items) % 500] + rng.normal(0, 0.3, (items, 2))
    lat, lon = points.T
    started = perf_counter()
    places = Places(lat, lon, np.arange(items, dtype=np.int32))
    tree_seconds = perf_counter() - started
    radians = np.radians(points)
    started = perf_counter()
    balls = BallTree(radians, metric="haversine")
    ball_seconds = perf_counter() - started
    count = min(NEAR, items)
    asked = rng.integers(0, items, users)
    taken, base = _in_turns(
        asked,
        lambda item: places.nearest(lat[item], lon[item], count),
        lambda item: balls.query(radians[item : item + 1], count),
    )
    for item in asked[:20]:
        _, km = places.nearest(lat[item], lon[item], count)
        distances, _ = balls.query(radians[item : item + 1], count)
        if not np.allclose(km, distances[0] * EARTH_RADIUS_KM, rtol=1e-4, atol=0.01):
            raise BenchmarkError("the places and scikit-learn's tree do not agree")
    suffix = f"(items={items})"
    return [
        *_latencies(f"nearest {count} places {suffix}", BALL_TREE, taken, base),
        Row(f"build, places {suffix}", tree_seconds, "s", BALL_TREE, ball_seconds),
    ]


def _in_turns(
    arguments: Iterable, *sides: Callable[..., object]
) -> tuple[NDArray[np.float64], ...]:
    """Milliseconds of each call of each side."""
    arguments = list(arguments)
    taken: list[list[float]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for side, of_side in zip(sides, taken, strict=True):
            for argument in arguments:
                started = perf_counter()
                side(argument)
                of_side.append((perf_counter() - started) * 1e3)
    return tuple(np.array(of_side) for of_side in taken)


def _latencies(
    name: str, baseline: str, taken: NDArray[np.float64], base: NDArray[np.float64]
) -> list[Row]:
    return [
        Row(
            f"p{share}, {name}",
            float(np.percentile(taken, share)),
            "ms",
            baseline,
            float(np.percentile(base, share)),
        )
        for share in (50, 99)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.parser(__doc__ or "", users=300, items=1_000_000, interactions=1, seconds=1)
    parser.add_argument("--dims", type=int, default=64, help="dimensions of the vectors")
    given = parser.parse_args(arguments)
    return report.run("candidates", lambda: measure(given.items, given.users, given.dims))


if __name__ == "__main__":
    sys.exit(main())
