"""Counters for Prometheus. Labels are few and bounded: no ids, no raw paths.

BentoML's own middleware labels by raw path, so it is off and ``/metrics`` is ours.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.telemetry.worker_metrics import unchanged
from storage.operations.overview import Overview

FEED_REQUESTS = Counter(
    "feedwright_feed_requests_total",
    "Feed pages answered, by what ranked them and why not the champion.",
    ["variant", "fallback_reason"],
)
FEED_SECONDS = Histogram(
    "feedwright_feed_seconds",
    "Time to answer a feed request, without the network.",
    buckets=(0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
STAGE_SECONDS = Histogram(
    "feedwright_feed_stage_seconds",
    "Time of the stages of a feed, those of `models/feed/pipeline.py` and the page.",
    ["stage"],
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5),
)
DROPPED_SOURCES = Counter(
    "feedwright_candidate_sources_dropped_total",
    "Sources of candidates that a feed went without, and why.",
    ["source", "reason"],
)
CHANGES = Counter(
    "feedwright_catalogue_changes_total", "Changed items, users and owners that were taken in."
)
HTTP_REQUESTS = Counter(
    "feedwright_http_requests_total",
    "Requests answered, by the template of their route, method and status.",
    ["route", "method", "status"],
)
APPLIED_SECONDS = Histogram(
    "feedwright_event_applied_seconds",
    "From the receipt of events to their being in the live feed, of the oldest of a look.",
    buckets=(0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 300),
)
CATALOGUE_READ = Gauge(
    "feedwright_catalogue_read_timestamp_seconds",
    "When what changed in Postgres was last read to its end, by the worker that is behind most.",
    multiprocess_mode="livemin",
)


TALLY_SECONDS = 0.25
"""So late, and less, what another worker counted is shown."""


@cache
def feed_counter(variant: str, fallback_reason: str | None) -> Counter:
    """The counter of one pair of labels; looking it up anew costs more than counting."""
    return FEED_REQUESTS.labels(variant, fallback_reason or "")


@cache
def stage_timer(stage: str) -> Histogram:
    """The timer of one stage, as ``feed_counter``."""
    return STAGE_SECONDS.labels(stage)


class Tally:
    """Counts for counters, added to them a little later: what workers share is a file, where each
    count costs 5 µs. Used from one event loop."""

    def __init__(self) -> None:
        self._counts: dict[Counter, int] = {}
        self._planned = False

    def count(self, counter: Counter) -> None:
        counts = self._counts
        counts[counter] = counts.get(counter, 0) + 1
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_later(TALLY_SECONDS, self.flush)

    def flush(self) -> None:
        """Add what was counted."""
        self._planned = False
        counts, self._counts = self._counts, {}
        for counter, count in counts.items():
            counter.inc(count)


TALLY = Tally()


@dataclass(frozen=True)
class LiveVersion:
    """A model version that this worker serves under an alias. ``trained_at`` is epoch seconds."""

    alias: str
    version: str
    trained_at: float | None
    train_seconds: float | None


class NowCollector(Collector):
    """How things are, read when Prometheus asks. What Postgres does not tell is left out."""

    def __init__(
        self,
        versions: Callable[[], Iterable[LiveVersion]],
        overview: Callable[[], Overview | None] = lambda: None,
        spool_age: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """
        Args:
            versions: that this worker serves.
            overview: what Postgres said last; None: it does not answer.
            spool_age: of the oldest events that are not in Postgres yet, in seconds.
        """
        self._versions = versions
        self._overview = overview
        self._spool_age = spool_age

    def collect(self) -> Iterable[Metric]:
        now = time.time()
        age = GaugeMetricFamily(
            "feedwright_model_age_seconds", "Time since the version was trained.", labels=["alias"]
        )
        took = GaugeMetricFamily(
            "feedwright_model_train_seconds", "Time that its training took.", labels=["alias"]
        )
        named = InfoMetricFamily(
            "feedwright_model_version", "The version that is served.", labels=["alias"]
        )
        for live in self._versions():
            named.add_metric([live.alias], {"version": live.version})
            if live.trained_at is not None:
                age.add_metric([live.alias], now - live.trained_at)
            if live.train_seconds is not None:
                took.add_metric([live.alias], live.train_seconds)
        yield from (age, took, named)
        yield GaugeMetricFamily(
            "feedwright_ingest_spool_age_seconds",
            "Age of the oldest events that wait in the spool of this machine; 0: none do.",
            self._spool_age(),
        )
        overview = self._overview()
        if overview is not None:
            yield from _gauges(overview)


def _gauges(overview: Overview) -> Iterable[Metric]:
    experiments = GaugeMetricFamily(
        "feedwright_experiments", "Experiments of this environment.", labels=["status"]
    )
    for status, count in overview.experiments.items():
        experiments.add_metric([status], count)
    yield experiments
    for name, text, value in (
        ("withdrawn_versions", "Versions that nothing may serve.", overview.withdrawn),
        (
            "rollbacks_pending",
            "Withdrawn versions that an alias may still name.",
            overview.rollbacks_pending,
        ),
        ("alerts_waiting", "Alerts that are still to be delivered.", overview.alerts_waiting),
        (
            "alerts_waiting_seconds",
            "Age of the oldest alert that waits; 0: none does.",
            overview.alerts_waiting_seconds,
        ),
        (
            "alerts_given_up",
            "Alerts of the last day that the receiver never took.",
            overview.alerts_given_up,
        ),
    ):
        yield GaugeMetricFamily(f"feedwright_{name}", text, value)


def exposition(now: NowCollector) -> bytes:
    """All metrics: those of every worker, and what this one sees."""
    registry = CollectorRegistry()
    registry.register(now)
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return generate_latest(registry) + generate_latest(REGISTRY)
    MultiProcessCollector(registry)
    with unchanged(Path(folder)):
        return generate_latest(registry)
