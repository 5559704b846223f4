"""Metrics of ingest; see ``serving.telemetry.metrics``."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter(
    "feedwright_events_total",
    "Entries of ingest by outcome: accepted, duplicate, rejected.",
    ["outcome"],
)
TURNED_AWAY = Counter(
    "feedwright_ingest_turned_away_total",
    "Requests that found no room: busy (429), or spool_full and no_disk (503).",
    ["reason"],
)
GROUP_EVENTS = Histogram(
    "feedwright_ingest_group_events",
    "Events that were written together.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
)
COMMIT_SECONDS = Histogram(
    "feedwright_ingest_commit_seconds",
    "Time to make a group durable: in postgres, or in the spool.",
    ["where"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
WAITING = Gauge(
    "feedwright_ingest_waiting_events",
    "Events that wait to be written.",
    multiprocess_mode="livesum",
)
SPOOL_BYTES = Gauge(
    "feedwright_ingest_spool_bytes",
    "Bytes in the spool of this machine: above 0 while Postgres is away, and a little longer.",
    multiprocess_mode="livemostrecent",
)
REPLAYED = Counter("feedwright_ingest_replayed_total", "Events that came out of the spool.")
DAMAGED = Counter(
    "feedwright_ingest_spool_damaged_total", "Records of the spool that could not be read."
)
LAG_SECONDS = Histogram(
    "feedwright_event_lag_seconds",
    "From what a client says it occurred to its receipt, of the oldest event of a request.",
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600, 86400),
)
