"""Verdicts of the guardrail, as they are kept in ``feed.guardrail_reports``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from models.experiments.guardrails import Status


@dataclass(frozen=True)
class Report:
    """One verdict.

    Attributes:
        experiment, arm: None for a verdict about a model version among all.
        variant: what ranked; of an arm, what was to rank.
        model_version: None where no version ranked.
        applies: of the clicks that had their time to convert, as ``conversion`` is.
        detail: ``reason`` for people, ``rates`` and those of the ``control`` with their
            intervals, ``differences`` between the two.
        id: once it is kept.
    """

    experiment: str | None
    arm: str | None
    variant: str
    model_version: str | None
    impressions: int
    clicks: int
    applies: int
    ctr: float | None
    conversion: float | None
    status: Status
    detail: Mapping[str, Any]
    id: int | None = None


def save(conn: psycopg.Connection, report: Report, start: datetime, end: datetime) -> int:
    """Keep a verdict about what was shown from ``start`` to ``end``; returns its id."""
    row = conn.execute(
        "INSERT INTO feed.guardrail_reports (window_start, window_end, experiment, arm, variant,"
        " model_version, impressions, clicks, applies, ctr, conversion, status, detail)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        (
            start,
            end,
            report.experiment,
            report.arm,
            report.variant,
            report.model_version,
            report.impressions,
            report.clicks,
            report.applies,
            report.ctr,
            report.conversion,
            report.status,
            Jsonb(dict(report.detail)),
        ),
    ).fetchone()
    assert row is not None
    return row[0]


def open_breach(conn: psycopg.Connection, model_version: str) -> int | None:
    """Id of the newest report about this version, if it says that it hurts, else None. What an
    arm of an experiment says is not about the version: that is for the experiment to end."""
    row = conn.execute(
        "SELECT id, status FROM feed.guardrail_reports"
        " WHERE model_version = %s AND experiment IS NULL ORDER BY id DESC LIMIT 1",
        (model_version,),
    ).fetchone()
    return row[0] if row and row[1] == "breach" else None
