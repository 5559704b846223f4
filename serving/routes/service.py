"""What operators ask a worker: what it serves from, how it does, and what it can be asked."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.feed.shapes import Status
from serving.http.answers import answer_json
from serving.http.endpoints import Answer, Endpoints
from serving.postgres.database import Database
from serving.state.follower import Follower
from serving.telemetry.metrics import TALLY, NowCollector, exposition
from serving.versions.live_state import LiveState

endpoints = Endpoints(tag="service", scope="public")


class ServiceCalls:
    def __init__(
        self,
        state: Callable[[], LiveState],
        database: Database,
        follower: Follower,
        profile_problem: Callable[[], str | None],
        now: NowCollector,
        document: Callable[[], bytes],
    ) -> None:
        """
        Args:
            now: what is counted when metrics are asked for.
            document: the description of the API.
        """
        self._state = state
        self._database = database
        self._follower = follower
        self._profile_problem = profile_problem
        self._now = now
        self._document = document

    @endpoints.declare(
        "GET /api/v1/status", Answer("What this worker serves from", Status), scope="read"
    )
    async def status(self, request: Request) -> Response:
        """What this worker serves from."""
        now, state = time.time(), self._state()
        fallback = state.fallback(now, self._database.up)
        catalogue = state.catalogue
        manifest = catalogue.snapshot.manifest if catalogue else None
        read_at = self._follower.read_at
        body = {
            "model_version": state.model_version,
            "trained_at": manifest.trained_at if manifest else None,
            "variant": "heuristic" if fallback else "champion",
            "fallback_reason": fallback,
            "detail": state.detail,
            "challenger_version": state.challenger and state.challenger.version,
            "catalogue": catalogue
            and {
                "source": catalogue.source,
                "built_at": catalogue.snapshot.manifest.built_at,
                "tables_refreshed": catalogue.snapshot.refreshed,
                "users": len(catalogue.snapshot.users.ids),
                "items": catalogue.live.size,
            },
            "database_up": self._database.up,
            "registry_up": state.registry_up,
            "poll_age_seconds": None if state.polled_at is None else now - state.polled_at,
            "catalogue_lag_seconds": None
            if read_at is None
            else asyncio.get_running_loop().time() - read_at,
            "profile": state.profile.name,
            "profile_problem": self._profile_problem(),
            "worker": os.getpid(),
        }
        return answer_json(request, orjson.dumps(body).decode())

    @endpoints.declare(
        "GET /api/v1/openapi.json", Answer("This document", media_type="application/json")
    )
    async def openapi(self, request: Request) -> Response:
        """This document."""
        return Response(self._document(), media_type="application/json")

    @endpoints.declare(
        "GET /metrics", Answer("Metrics for Prometheus", media_type="text/plain"), scope="metrics"
    )
    async def prometheus_metrics(self, request: Request) -> Response:
        """Metrics for Prometheus."""
        TALLY.flush()
        # In a thread: it reads a file of every worker there ever was.
        body = await asyncio.to_thread(exposition, self._now)
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")


# BentoML answers these; see ``serving/service.py``.
UP = "The process is up"
READY = "The first look for a model is over; without one the heuristic answers"
NOT_YET = Answer("Not yet", status=503, media_type="text/plain")
for _name, _summary, *_others in (("healthz", UP), ("livez", UP), ("readyz", READY, NOT_YET)):
    _answer = Answer(_summary, media_type="text/plain")
    endpoints.declare(f"GET /{_name}", _answer, *_others, name=_name, summary=_summary)(None)
