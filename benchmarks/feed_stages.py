"""The parts of one feed request, timed as plain functions in this process."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np
import orjson
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.report import Row
from models.profile import Profile
from models.ranker import eligible, model_scores, rank, score_components, top_places, viewer_of
from models.reasons import reasons
from models.snapshot import Snapshot
from serving.live_state import render

REPEATS = 3
WHOLE = "whole"


class Stopwatch:
    """Collects the seconds of named parts."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = perf_counter()
        yield
        self._seconds[name].append(perf_counter() - start)

    def medians(self) -> dict[str, float]:
        """Milliseconds by name, in the order of the first time."""
        return {name: float(np.median(taken)) * 1e3 for name, taken in self._seconds.items()}


def feed_stages(folder: Path, users: Sequence[str], profile: Profile, *, limit: int) -> list[Row]:
    """Median milliseconds of each part; the baseline is the whole request without HTTP."""
    snapshot = Snapshot.load(folder)
    now = time.time()
    watch = Stopwatch()
    with threadpool_limits(1):  # as in a worker
        for user in users:  # bring the pages in
            _answer(snapshot, user, profile, now, limit)
        for user in [*users] * REPEATS:
            with watch.part(WHOLE):
                _answer(snapshot, user, profile, now, limit)
            _parts(watch, snapshot, user, profile, now, limit)
    medians = watch.medians()
    return [
        Row(f"stage: {name}", value, "ms", f"stage: {WHOLE}", medians[WHOLE])
        for name, value in medians.items()
    ]


def _answer(snapshot: Snapshot, user: str, profile: Profile, now: float, limit: int) -> bytes:
    viewer = viewer_of(snapshot, user)
    ranking = rank(snapshot, viewer, profile, now=now, by="model", limit=limit)
    return orjson.dumps(render(snapshot, viewer, profile, ranking, offset=0))


def _parts(
    watch: Stopwatch, snapshot: Snapshot, user: str, profile: Profile, now: float, limit: int
) -> None:
    """The same, step by step. ``render`` finds the reasons too, so they are in it twice."""
    with watch.part("viewer"):
        viewer = viewer_of(snapshot, user)
    with watch.part("eligibility"):
        allowed = eligible(snapshot, viewer, profile, now=now)
        candidates = np.flatnonzero(allowed).astype(np.int32)
    with watch.part("scores"):
        order = model_scores(snapshot, viewer, candidates)
    with watch.part("top"):
        page = candidates[top_places(order, limit)]
    with watch.part("components"):
        score_components(snapshot, viewer, profile, page, now=now)
    with watch.part("mean and spread"):
        order.mean(), order.std()
    ranking = rank(snapshot, viewer, profile, now=now, by="model", limit=limit)
    with watch.part("reasons"):
        reasons(snapshot, viewer, profile, ranking)
    with watch.part("rendering, with reasons"):
        items = render(snapshot, viewer, profile, ranking, offset=0)
    with watch.part("encoding"):
        orjson.dumps(items)
