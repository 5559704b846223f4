"""``/admin/metrics``: what came of what was shown, with counts and intervals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import psycopg
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from going_live.metrics import metrics
from serving.admin.parts import with_connection
from serving.http.answers import answer_json
from serving.http.endpoints import Answer, Endpoints
from serving.http.inputs import parse_query
from serving.versions.live_state import LiveState
from storage.operations.records import first_minute
from storage.operations.served import Latency, Served, fallback_shares, served_series
from storage.settings import Settings

STEPS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 720, 1_440))
MOST_POINTS = 180


class MetricsAsked(BaseModel):
    """Over how long."""

    days: Annotated[int, Field(ge=1, le=90)] = Field(default=7, description="That end now.")


class Metrics(BaseModel):
    """Rates by variant and by experiment; each with its counts, and its interval where there is
    enough to say something."""

    model_config = ConfigDict(extra="allow")

    days: int
    window: dict[str, datetime | None]
    by_variant: list[dict[str, Any]]
    by_experiment: list[dict[str, Any]]
    series: list[dict[str, Any]] = Field(description="Impressions and clicks over time.")
    served: list[dict[str, Any]] = Field(description="Pages, latency and fallbacks by variant.")
    served_series: list[dict[str, Any]] = Field(description="The same over time.")
    request_id: str


endpoints = Endpoints(tag="admin", scope="admin", problems=(503,))


class MetricsCalls:
    def __init__(self, settings: Settings, state: Callable[[], LiveState]) -> None:
        self._settings = settings
        self._state = state

    @endpoints.declare(
        "GET /api/v1/admin/metrics",
        Answer("The metrics", Metrics),
        audited=False,
        compressed=True,
        query=MetricsAsked,
    )
    async def metrics(self, request: Request) -> Response:
        """How variants and experiments do."""
        asked = parse_query(MetricsAsked, request.query_params)
        profile, now = self._state().profile, datetime.now(UTC)

        def work(connection: psycopg.Connection) -> dict[str, Any]:
            document = metrics(connection, profile, asked.days, now)
            start = now - timedelta(days=asked.days)
            return document | {"served_series": _over_time(connection, start, now)}

        return answer_json(request, await with_connection(self._settings, work))


def _over_time(connection: psycopg.Connection, start: datetime, end: datetime) -> list[Any]:
    """What was served, in steps that make about a hundred points of what there is."""
    first = first_minute(connection, start)
    if first is None:
        return []
    size = next(
        (step for step in STEPS if (end - first) / step <= MOST_POINTS), STEPS[-1]
    ).total_seconds()
    unit = "minute" if size < 3_600 else "hour"
    bins: dict[int, list[Served]] = {}
    for at, served in served_series(connection, first, end, unit):
        bins.setdefault(int(at.timestamp() // size), []).append(served)
    last = int(end.timestamp() // size)  # which is not over yet
    return [
        {
            "start": datetime.fromtimestamp(bin * size, UTC),
            **Latency.sum(served.latency for served in bins.get(bin, [])).as_json(),
            "fallback_share": sum(fallback_shares(bins[bin]).values()) if bin in bins else None,
        }
        for bin in range(min(bins), max(last, min(bins) + 1))
    ]
