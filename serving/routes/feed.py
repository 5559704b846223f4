"""``/feed``: a feed, ranked for its user."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from models.feed.context import device_of
from serving.feed.engine import FeedEngine
from serving.feed.shapes import FeedPage, FeedRequest, parse_feed_request
from serving.http.endpoints import Answer, Endpoints
from serving.http.request_ids import request_id_of
from serving.telemetry.metrics import FEED_SECONDS

EXAMPLE: dict[str, Any] = {
    "items": [
        {
            "item_id": "242",
            "rank": 1,
            "recommendation_score": 0.9721,
            "reason": "Because you liked Comedy",
            "reason_code": "because_you_liked_tags",
            "reason_parameters": {"tags": "Comedy"},
            "components": {"location": None, "recency": 0.31, "content": 0.82, "model": 0.9721},
            "sources": ["model", "similar_users"],
            "explored": False,
            "seen": False,
            "propensity": 0.95,
        }
    ],
    "total": 1000,
    "has_more": True,
    "next": "/api/v1/feed?user_id=196&limit=1&offset=1&feed_id=01a1ff95aec25b065759e8d2efa6337e",
    "feed_id": "01a1ff95aec25b065759e8d2efa6337e",
    "model_version": "3",
    "variant": "champion",
    "fallback_reason": None,
    "experiments": {"warmer-start": "challenger"},
}
endpoints = Endpoints(tag="feed", scope="read", user="query")


class FeedCalls:
    def __init__(self, engine: Callable[[], FeedEngine]) -> None:
        """
        Args:
            engine: asked at each request, since it is made after the routes.
        """
        self._engine = engine

    @endpoints.declare(
        "GET /api/v1/feed", Answer("The feed of a user", FeedPage, EXAMPLE), query=FeedRequest
    )
    async def feed(self, request: Request) -> Response:
        """The feed of a user.

        A visit begins without an `offset`: the feed is ranked, or read again if that was done less
        than the profile's `reuse_seconds` ago. `next` is the next page of the same feed: it neither
        repeats nor skips an item, even when another model has gone live. An item that may no longer
        be shown is left out, and the ranks of others stay. A feed that is no longer kept is ranked
        anew: the answer then has another `feed_id`. A fallback answers with status 200 too. Other
        parameters are ignored.
        """
        start = perf_counter()
        request_id = request_id_of(request)
        asked = parse_feed_request(request.query_params)
        if asked.device is None and (device := device_of(request.headers.get("user-agent"))):
            asked = asked.model_copy(update={"device": device})
        body = await self._engine().feed(asked, request_id)
        FEED_SECONDS.observe(perf_counter() - start)
        return Response(
            body,
            media_type="application/json",
            headers={"X-Request-Id": request_id, "Cache-Control": "no-store"},
        )
