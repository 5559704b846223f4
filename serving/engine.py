"""The feed engine: one request in, one page out, whatever happens."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from time import monotonic
from typing import Any

from models.profile import Profile
from models.ranker import By, Viewer, rank, viewer_of
from models.snapshot import Snapshot
from serving.database import Database
from serving.live_state import LiveState, render
from serving.shapes import FallbackReason, FeedRequest, Variant
from serving.time_budget import BudgetSpent, TimeBudget

log = logging.getLogger("feedwright.serving")
LOG_EVERY_SECONDS = 10.0
MOMENT_SECONDS = 60.0
"""Ranking's clock ticks this slowly, so that the pages of one visit are of one order."""


class FeedEngine:
    """Answers feed requests from the live state.

    The champion answers known users. Otherwise the heuristic does and ``fallback_reason``
    says why; when that fails too, or the time budget is spent, the popular list made ready
    beforehand; with no catalogue at all, an empty page.
    """

    def __init__(
        self,
        live: Callable[[], LiveState],
        database: Database,
        profile: Profile,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._live = live
        self._database = database
        self._profile = profile
        self._clock = clock
        seconds = profile.serving.time_budget_ms / 1000
        # Apart, so that a slow model does not make the heuristic careful too.
        self._model_budget, self._heuristic_budget = TimeBudget(seconds), TimeBudget(seconds)
        self._seen: Snapshot | None = None
        self._last_logged = -LOG_EVERY_SECONDS

    async def feed(self, request: FeedRequest, request_id: str) -> dict[str, Any]:
        """The page, of the shape ``FeedPage``. Never raises for want of a model or a database."""
        now = self._clock()
        state = self._live()
        snapshot = state.catalogue
        by_time = request.sort == "time"
        fallback = state.fallback(now, self._profile.serving.max_model_age_hours, self._database.up)
        if snapshot is None:
            return _page([], 0, 0, None, "time" if by_time else "heuristic", fallback, request_id)
        if snapshot is not self._seen:
            self._seen = snapshot
            self._model_budget.be_careful()
            self._heuristic_budget.be_careful()
        try:
            viewer = await self._viewer(snapshot, request)
        except Exception as error:
            self._log_failure("viewer", error)
            return self._ready(state, request, fallback or "model_error", request_id)
        if by_time:
            fallback = None
        elif fallback is None and viewer.user is None:
            fallback = "anonymous" if request.user_id is None else "unknown_user"

        if fallback is not None and _knows_nothing(viewer) and _within(state, request):
            return self._ready(state, request, fallback, request_id)
        # The champion first if nothing speaks against it, then the heuristic.
        moment = now - now % MOMENT_SECONDS
        if fallback is None and not by_time:
            page = await self._ranked(state, snapshot, viewer, request, "model", moment, request_id)
            if isinstance(page, dict):
                return page
            fallback = page
            if fallback == "time_budget_exceeded":
                return self._ready(state, request, fallback, request_id)
        by: By = "time" if by_time else "heuristic"
        page = await self._ranked(
            state, snapshot, viewer, request, by, moment, request_id, fallback=fallback
        )
        if isinstance(page, dict):
            return page
        return self._ready(state, request, fallback or page, request_id)

    def close(self) -> None:
        self._model_budget.close()
        self._heuristic_budget.close()

    async def _viewer(self, snapshot: Snapshot, request: FeedRequest) -> Viewer:
        viewer = viewer_of(snapshot, request.user_id, lat=request.lat, lon=request.lon)
        if viewer.user is None and request.user_id is not None and request.sort != "time":
            newcomer = await self._database.newcomer(request.user_id)
            if newcomer is not None:
                here = request.lat is not None
                viewer = viewer_of(
                    snapshot,
                    None,
                    lat=request.lat if here else newcomer.lat,
                    lon=request.lon if here else newcomer.lon,
                    tags=newcomer.tags,
                )
        return viewer

    async def _ranked(
        self,
        state: LiveState,
        snapshot: Snapshot,
        viewer: Viewer,
        request: FeedRequest,
        by: By,
        now: float,
        request_id: str,
        *,
        fallback: FallbackReason | None = None,
    ) -> dict[str, Any] | FallbackReason:
        """The page, or why there is none."""

        # The gate may have found that no model beats the heuristic: then it is the champion.
        heuristic_won = by == "model" and snapshot.manifest.recommender == "heuristic"

        def work() -> tuple[list[dict[str, Any]], int]:
            ranking = rank(
                snapshot,
                viewer,
                self._profile,
                now=now,
                by="heuristic" if heuristic_won else by,
                exclude_seen=request.exclude_seen,
                exclude_applied=request.exclude_applied,
                limit=request.limit,
                offset=request.offset,
            )
            items = render(snapshot, viewer, self._profile, ranking, offset=request.offset)
            return items, ranking.total

        budget = self._model_budget if by == "model" else self._heuristic_budget
        try:
            items, total = await budget.run(work)
        except BudgetSpent:
            return "time_budget_exceeded"
        except Exception as error:  # anything: the feed always answers
            self._log_failure(by, error)
            return "model_error"
        variant: Variant = "champion" if by == "model" else by
        version = state.model_version if by == "model" else None
        return _page(items, request.offset, total, version, variant, fallback, request_id)

    def _ready(
        self,
        state: LiveState,
        request: FeedRequest,
        fallback: FallbackReason,
        request_id: str,
    ) -> dict[str, Any]:
        items = state.ready[request.offset : request.offset + request.limit]
        total = state.ready_total if _within(state, request) else len(state.ready)
        return _page(items, request.offset, total, None, "heuristic", fallback, request_id)

    def _log_failure(self, what: str, error: Exception) -> None:
        """Once in a while: a model that fails, fails for everybody."""
        if monotonic() - self._last_logged >= LOG_EVERY_SECONDS:
            self._last_logged = monotonic()
            log.error("ranking failed", exc_info=error, extra={"ranked_by": what})


def _knows_nothing(viewer: Viewer) -> bool:
    """The heuristic's answer for such a viewer is the ready list itself."""
    return viewer.user is None and math.isnan(viewer.lat) and len(viewer.tags) == 0


def _within(state: LiveState, request: FeedRequest) -> bool:
    return request.offset + request.limit <= len(state.ready)


def _page(
    items: list[dict[str, Any]],
    offset: int,
    total: int,
    model_version: str | None,
    variant: Variant,
    fallback: FallbackReason | None,
    request_id: str,
) -> dict[str, Any]:
    return {
        "items": items,
        "total": total,
        "has_more": offset + len(items) < total and bool(items),
        "model_version": model_version,
        "variant": variant,
        "fallback_reason": fallback,
        "request_id": request_id,
    }
