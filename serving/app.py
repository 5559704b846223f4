"""The HTTP API: routes, and the parts behind them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from collections.abc import AsyncIterator
from time import perf_counter

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from models.profile import Profile, load_profile
from serving import docs, logs, openapi
from serving.database import Database, database_address
from serving.engine import FeedEngine
from serving.live_model import LiveModel
from serving.metrics import FEED_SECONDS, ModelCollector, exposition, feed_counter
from serving.problems import (
    InvalidParameters,
    on_exception,
    on_http_exception,
    on_invalid_parameters,
    parse_feed_request,
)
from serving.request_ids import request_id_of
from storage.settings import Settings


class FeedApp:
    """Everything that one worker holds.

    Attributes:
        asgi: the application.
        live, database, engine: its parts.
    """

    def __init__(self, settings: Settings, profile: Profile | None = None) -> None:
        self._settings = settings
        self._profile = profile or load_profile(settings.profile)
        self.database = Database(lambda: database_address(settings))
        self.live = LiveModel(settings, self._profile, database_up=lambda: self.database.up)
        self.engine = FeedEngine(lambda: self.live.state, self.database, self._profile)
        self._model_metrics = ModelCollector(self._version_and_age)
        self._openapi = orjson.dumps(openapi.document())
        self.asgi = Starlette(
            routes=[
                Route("/api/v1/feed", self._feed),
                Route("/api/v1/status", self._status),
                Route("/api/v1/openapi.json", self._describe),
                Route("/metrics", self._metrics),
                *docs.ROUTES,
                Route("/{path:path}", _NotFound()),
            ],
            exception_handlers={
                InvalidParameters: on_invalid_parameters,
                HTTPException: on_http_exception,
                Exception: on_exception,
            },
            lifespan=self._lifespan,
        )

    def is_ready(self) -> bool:
        """The first look for a model and a database is over."""
        return self.live.state.polled_at is not None and self.database.checked

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        logs.configure()
        # Both before the first request is taken: a new worker serves the champion at once.
        await self.database.check()
        await asyncio.to_thread(self.live.poll)
        watch = asyncio.create_task(self.database.watch(self._settings.model_poll_seconds))
        self.live.start()
        # What lives for ever need not be looked through by every collection: those pauses
        # are the latency's tail.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.to_thread(self.live.stop)
            await self.database.close()
            self.engine.close()

    async def _feed(self, request: Request) -> Response:
        start = perf_counter()
        request_id = request_id_of(request)
        page = await self.engine.feed(parse_feed_request(request.query_params), request_id)
        response = Response(
            orjson.dumps(page),
            media_type="application/json",
            headers={"X-Request-Id": request_id, "Cache-Control": "no-store"},
        )
        feed_counter(page["variant"], page["fallback_reason"]).inc()
        FEED_SECONDS.observe(perf_counter() - start)
        return response

    async def _status(self, request: Request) -> Response:
        now, state = time.time(), self.live.state
        fallback = state.fallback(now, self._profile.serving.max_model_age_hours, self.database.up)
        catalogue = state.catalogue
        body = {
            "model_version": state.model_version,
            "trained_at": catalogue.manifest.trained_at if catalogue else None,
            "variant": "heuristic" if fallback else "champion",
            "fallback_reason": fallback,
            "detail": state.detail,
            "catalogue": catalogue
            and {
                "source": state.source,
                "built_at": catalogue.manifest.built_at,
                "users": len(catalogue.users.ids),
                "items": len(catalogue.items.ids),
            },
            "database_up": self.database.up,
            "registry_up": state.registry_up,
            "poll_age_seconds": None if state.polled_at is None else now - state.polled_at,
            "worker": os.getpid(),
        }
        return Response(orjson.dumps(body), media_type="application/json")

    async def _describe(self, request: Request) -> Response:
        return Response(self._openapi, media_type="application/json")

    async def _metrics(self, request: Request) -> Response:
        # In a thread: it reads a file of every worker there ever was.
        body = await asyncio.to_thread(exposition, self._model_metrics)
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")

    def _version_and_age(self) -> tuple[str, float] | None:
        state = self.live.state
        if state.model_version is None or state.trained_at is None:
            return None
        return state.model_version, time.time() - state.trained_at


class _NotFound:
    """The last route: 405 where another has the path with other methods, else 404."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        for route in scope["app"].routes:
            match, _ = route.matches(scope)
            if match is Match.PARTIAL:
                allowed = ", ".join(sorted(route.methods))
                raise HTTPException(
                    405, f"{path} answers {allowed}, not {method}", {"Allow": allowed}
                )
        raise HTTPException(404, f"There is nothing at {path}; see /docs")
