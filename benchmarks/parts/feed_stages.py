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
from threadpoolctl import threadpool_limits

from benchmarks.common.report import Row
from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.snapshot import Snapshot
from models.feed.candidates.shortlists import Shortlists
from models.feed.candidates.sources import Indexes
from models.feed.pipeline import FeedPipeline, Query
from models.feed.stage_timer import StageTimer
from models.profile.schema import Profile
from models.ranking.learned import ranker_of
from serving.feed.pages import render

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
        self.add(name, perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        self._seconds[name].append(seconds)

    def medians(self) -> dict[str, float]:
        """Milliseconds by name, in the order of the first time."""
        return {name: float(np.median(taken)) * 1e3 for name, taken in self._seconds.items()}


def feed_stages(folder: Path, users: Sequence[str], profile: Profile, *, limit: int) -> list[Row]:
    """Median milliseconds of each part; the baseline is the whole request without HTTP."""
    watch = Stopwatch()
    with threadpool_limits(1):  # as in a worker
        with watch.part("once: load the snapshot"):
            live = LiveCatalogue(Snapshot.load(folder))
        now, rng = time.time(), np.random.default_rng(0)
        with watch.part("once: indexes"):
            indexes = Indexes.of(live, profile)
        with watch.part("every minute: shortlists"):
            shortlists = Shortlists.of(live, profile, now, rng)
        pipeline = FeedPipeline(live, profile, shortlists, indexes, ranker=ranker_of(live.snapshot))

        def answer(user: str) -> StageTimer:
            timer = StageTimer()
            viewer = live.viewer(user)
            timer.ended("viewer")
            ranking = pipeline.rank(viewer, Query(now, "model", rng=rng), timer=timer)
            page = render(
                live,
                viewer,
                profile,
                ranking.rows[:limit],
                ranking.scores[:limit],
                np.arange(1, min(limit, len(ranking.rows)) + 1),
                now=now,
                sources=ranking.sources[:limit],
                propensities=ranking.propensities[:limit],
                explored=ranking.explored[:limit],
            )
            timer.ended("page, with components and reasons")
            orjson.dumps(page)
            timer.ended("encoding")
            return timer

        for user in users:  # bring the pages in
            answer(user)
        for user in [*users] * REPEATS:
            with watch.part(WHOLE):
                timer = answer(user)
            for name, seconds in timer.seconds.items():
                watch.add(name, seconds)
    medians = watch.medians()
    return [
        Row(f"stage: {name}", value, "ms", f"stage: {WHOLE}", medians[WHOLE])
        for name, value in medians.items()
    ]
