"""Calls that answer from the database or from the live state: one module a group of calls. What
``app`` mounts; nothing else imports it."""

from __future__ import annotations

from serving.routes import catalogue, experiments, feed, reads, service

GROUPS = (
    feed.endpoints,
    *reads.GROUPS,
    experiments.endpoints,
    *catalogue.GROUPS,
    service.endpoints,
)
