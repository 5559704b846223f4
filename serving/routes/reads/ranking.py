"""``/rank``: given items for one viewer. ``/recommend``: the feeds of many users."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from models.catalogue.viewers.viewer import Indices
from models.data.scorers import Scores
from models.feed.candidates.sources import RANKED, Bits, SourceGuard
from models.feed.pipeline import Query
from models.feed.ranking import Ranking
from models.feed.scoring.scores import By
from serving.access import require_user
from serving.feed.engine import FeedEngine
from serving.feed.excluded import sorted_out
from serving.feed.pages import render
from serving.feed.shapes import FeedRequest
from serving.http.answers import answer_json
from serving.http.endpoints import Answer, Body, Endpoints
from serving.http.inputs import conflicts, parse, read_object, refuse
from serving.http.request_ids import request_id_of
from serving.routes.reads.shapes import RankBody, RankedItems, RecommendBody, RecommendedItems
from serving.routes.reads.view import View, Views
from serving.versions.fallback import FallbackReason, Variant

log = logging.getLogger("feedwright.serving")

RENDERED_AT_ONCE = 100
"""Items in between two other requests: a few milliseconds."""
RECOMMEND_SECONDS = 2.5
"""Feeds of many users are ranked for so long; the other users get what is popular."""
EXAMPLE_ITEM: dict[str, Any] = {
    "item_id": "listing-7",
    "rank": 1,
    "recommendation_score": 0.9721,
    "reason": "Matches Photography",
    "reason_code": "matches_tags",
    "reason_parameters": {"tags": "Photography"},
    "components": {"location": None, "tags": 0.5, "recency": 0.31, "model": 0.9721},
    "sources": [],
    "explored": False,
    "seen": False,
    "propensity": 1.0,
}
endpoints = Endpoints(tag="ranking", scope="read", user="body")


class RankingCalls:
    def __init__(self, views: Views, engine: Callable[[], FeedEngine]) -> None:
        self._views = views
        self._engine = engine

    @endpoints.declare(
        "POST /api/v1/rank",
        Answer(
            "All of them, ranked or excluded",
            RankedItems,
            {
                "items": [EXAMPLE_ITEM],
                "excluded": [{"item_id": "listing-9", "rule": "distance"}],
                "model_version": "3",
                "variant": "champion",
                "fallback_reason": None,
            },
        ),
        compressed=True,
        body=Body(RankBody, {"user_id": "196", "item_ids": ["listing-7", "listing-9"]}),
    )
    async def rank(self, request: Request) -> Response:
        """Rank given items for a viewer.

        For a product's own lists and searches. Ranked by score alone: nothing is explored, nothing
        moved for diversity. `sources` is empty. The champion ranks: flags and experiments are about
        `GET /feed`.
        """
        asked = parse(RankBody, await read_object(request))
        refuse(conflicts({"lat": asked.lat, "lon": asked.lon}, ("lat", "lon")))
        user_id = require_user(request, asked.user_id)
        view = self._views.of(user_id, lat=asked.lat, lon=asked.lon)
        if view is None:
            return answer_json(request, _nothing(asked))
        rows, excluded = sorted_out(
            view.live, view.viewer, view.profile, asked.item_ids,
            now=view.now, exclude_seen=False, exclude_applied=False,
        )  # fmt: skip
        ranked = _ranked(view, asked.variant, rows)
        items: list[dict[str, Any]] = []
        for start in range(0, len(rows), RENDERED_AT_ONCE):
            part = slice(start, start + RENDERED_AT_ONCE)
            ranks = np.arange(len(rows))[part] + 1
            items += _rendered(
                view, ranked.ranking.rows[part], ranked.ranking.scores[part], ranks,
                sources=ranked.ranker[part], by_model=ranked.by_model,
                chances={name: of[part] for name, of in ranked.chances(view).items()},
            )  # fmt: skip
            await asyncio.sleep(0)
        champion = ranked.variant == "champion"
        return answer_json(
            request,
            {
                "items": items,
                "excluded": excluded,
                "model_version": view.state.model_version if champion else None,
                "variant": ranked.variant,
                "fallback_reason": ranked.fallback,
            },
        )

    @endpoints.declare(
        "POST /api/v1/recommend",
        Answer(
            "The first page of each",
            RecommendedItems,
            {
                "users": [
                    {
                        "user_id": "196",
                        "items": [EXAMPLE_ITEM],
                        "variant": "champion",
                        "fallback_reason": None,
                    }
                ],
                "model_version": "3",
            },
        ),
        compressed=True,
        description="For mails and messages. The champion ranks, whatever flags and experiments "
        "give these users in `GET /feed`. What takes longer than "
        f"{RECOMMEND_SECONDS:g} s is not waited for: the other users get popular items, and their "
        "`fallback_reason` is `time_budget_exceeded`.",
        body=Body(RecommendBody, {"user_ids": ["196", "197"], "limit": 10}),
    )
    async def recommend(self, request: Request) -> Response:
        """The feeds of many users."""
        asked = parse(RecommendBody, await read_object(request))
        end = perf_counter() + RECOMMEND_SECONDS
        users: list[dict[str, Any]] = []
        version: str | None = None
        for user_id in asked.user_ids:
            require_user(request, user_id)
        for user_id in asked.user_ids:
            feed = FeedRequest(
                user_id=user_id,
                variant="champion",  # flags and experiments are about what is scrolled
                limit=asked.limit,
                exclude_seen=asked.exclude_seen,
                exclude_applied=asked.exclude_applied,
            )
            view = self._views.of(user_id) if perf_counter() > end else None
            page = (
                _popular(view, feed)
                if view is not None
                else orjson.loads(
                    await self._engine().feed(feed, request_id_of(request), keep=False)
                )
            )
            version = page["model_version"] or version
            kept = {name: page[name] for name in ("items", "variant", "fallback_reason")}
            users.append({"user_id": user_id, **kept})
            await asyncio.sleep(0)
        return answer_json(request, {"users": users, "model_version": version})


class _Ranked(NamedTuple):
    """Items in order, and what ordered them."""

    ranking: Ranking
    variant: Variant
    fallback: FallbackReason | None
    by_model: bool = False

    @property
    def ranker(self) -> Bits:
        """Which the ranker ordered; no source named any."""
        return (self.ranking.sources & RANKED).astype(np.uint16)

    def chances(self, view: View) -> dict[str, Scores]:
        """Of each action that the profile values."""
        ranker, chances = view.catalogue.ranker, self.ranking.chances
        if ranker is None or not chances.shape[1]:
            return {}
        return dict(zip(ranker.weighed(view.profile.ranker.values), chances.T, strict=True))


def _ranked(view: View, asked: Variant | None, rows: Indices) -> _Ranked:
    """As the feed decides: the champion if it may, else the heuristic, or what was asked."""
    if asked in ("heuristic", "time"):
        return _Ranked(_ordered(view, asked, rows), asked, None)
    fallback = view.fallback
    if fallback is None:
        # The gate may have found that no model beats the heuristic: then it is the champion.
        won = view.catalogue.snapshot.manifest.recommender == "heuristic"
        try:
            ordered = _ordered(view, "heuristic" if won else "model", rows)
            return _Ranked(ordered, "champion", None, by_model=not won)
        except Exception:  # anything: items are ranked whatever the model does
            log.exception("ranking failed", extra={"ranked_by": "model"})
            fallback = "model_error"
    return _Ranked(_ordered(view, "heuristic", rows), "heuristic", fallback)


def _ordered(view: View, by: By, rows: Indices) -> Ranking:
    """Rows, best first: as the feed ranks, without diversity and exploration."""
    pipeline = view.catalogue.pipeline(view.profile, SourceGuard())
    return pipeline.rank(view.taste, Query(view.now, by, only=rows), upto="ranker")


def _rendered(
    view: View,
    rows: Indices,
    scores: Scores,
    ranks: NDArray[np.integer],
    *,
    sources: Bits | None = None,
    by_model: bool = False,
    chances: Mapping[str, Scores] | None = None,
) -> list[dict[str, Any]]:
    return render(
        view.live, view.taste, view.profile, rows, scores, ranks,
        now=view.now, sources=sources, by_model=by_model, chances=chances,
    )  # fmt: skip


def _popular(view: View, feed: FeedRequest) -> dict[str, Any]:
    """What is popular, within the rules: there is no time for more."""
    rows = view.catalogue.shortlists.popular
    keep = view.allowed(rows, exclude_seen=feed.exclude_seen, exclude_applied=feed.exclude_applied)
    rows = rows[keep][: feed.limit]
    scores = view.live.items.engagement[rows]
    return {
        "items": _rendered(view, rows, scores, np.arange(len(rows)) + 1),
        "model_version": None,
        "variant": "heuristic",
        "fallback_reason": "time_budget_exceeded",
    }


def _nothing(asked: RankBody) -> dict[str, Any]:
    return {
        "items": [],
        "excluded": [{"item_id": id, "rule": "unknown_item"} for id in asked.item_ids],
        "model_version": None,
        "variant": "time" if asked.variant == "time" else "heuristic",
        "fallback_reason": "no_catalogue",
    }
