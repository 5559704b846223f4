"""Counters for Prometheus. Labels are few and bounded: no ids, no raw paths.

BentoML's own middleware labels by raw path, so it is off and ``/metrics`` is ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

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
    "Time of the stages of a feed: candidates, rules, scores, order, page.",
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
PROBLEMS = Counter(
    "feedwright_problems_total", "Requests answered with an error, by HTTP status.", ["status"]
)


@cache
def feed_counter(variant: str, fallback_reason: str | None) -> Counter:
    """The counter of one pair of labels; looking it up anew costs more than counting."""
    return FEED_REQUESTS.labels(variant, fallback_reason or "")


@cache
def stage_timer(stage: str) -> Histogram:
    """The timer of one stage, as ``feed_counter``."""
    return STAGE_SECONDS.labels(stage)


class ModelCollector(Collector):
    """Age and version of the live model, read when Prometheus asks."""

    def __init__(self, version_and_age: Callable[[], tuple[str, float] | None]) -> None:
        self._version_and_age = version_and_age

    def collect(self) -> Iterable[Metric]:
        live = self._version_and_age()
        if live is None:
            return
        version, age = live
        yield GaugeMetricFamily(
            "feedwright_model_age_seconds", "Time since the live model was trained.", age
        )
        yield InfoMetricFamily(
            "feedwright_model_version", "Version of the live model.", {"version": version}
        )


def exposition(model: ModelCollector) -> bytes:
    """All metrics: counters of every worker, and the model that this worker serves."""
    registry = CollectorRegistry()
    registry.register(model)
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)
        return generate_latest(registry)
    return generate_latest(registry) + generate_latest(REGISTRY)
