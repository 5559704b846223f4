"""``/feed/trending``: what is popular now, the same for everybody but for the rules."""

from __future__ import annotations

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from models.catalogue.viewers.viewer import Indices
from models.data.scorers import Scores
from models.feed.reasons import Reason
from serving.http.answers import answer_json
from serving.http.endpoints import Answer, Endpoints
from serving.http.inputs import parse_query
from serving.routes.reads.answers import Body, listed
from serving.routes.reads.shapes import TrendingItems, TrendingQuery
from serving.routes.reads.view import View, Views

WEEK_HOURS = 168
EXAMPLE: Body = {
    "items": [
        {
            "item_id": "listing-7",
            "rank": 1,
            "trending_score": 1.0,
            "reason": "Popular this week",
            "reason_code": "popular",
            "reason_parameters": {},
        }
    ],
    "hours": WEEK_HOURS,
}
endpoints = Endpoints(tag="feed", scope="read", user="query")


class TrendingCalls:
    def __init__(self, views: Views) -> None:
        self._views = views

    @endpoints.declare(
        "GET /api/v1/feed/trending",
        Answer("Items within the viewer's rules", TrendingItems, EXAMPLE),
        compressed=True,
        query=TrendingQuery,
    )
    async def trending(self, request: Request) -> Response:
        """What is popular now.

        Counted by the pipeline; needs no model. `hours` says which window was used.
        """
        asked = parse_query(TrendingQuery, request.query_params)
        view = self._views.of(asked.user_id)
        if view is None:
            return answer_json(request, {"items": [], "hours": None})
        rows, scores, hours = window(view, asked.hours)
        kept = np.flatnonzero(view.allowed(rows))[: asked.limit]
        rows = rows[kept]
        # "this week" would not be true of a longer window
        code = "popular" if hours is None or hours <= WEEK_HOURS else "well_liked"
        items = listed(
            view.live,
            rows,
            [Reason(code, {})] * len(rows),
            trending_score=scores[kept].astype(np.float64).clip(0, 1).round(4).tolist(),
        )
        return answer_json(request, {"items": items, "hours": hours})


def window(view: View, hours: int) -> tuple[Indices, Scores, int | None]:
    """Rows and scores, best first, of the shortest window of at least ``hours``, else of the
    longest one, and its hours; before any is known, what the snapshot was built with."""
    windows = view.live.trending
    if not windows:
        rows = view.catalogue.shortlists.trending
        return rows, view.live.items.trending[rows], None
    used = min((width for width in windows if width >= hours), default=max(windows))
    return *windows[used], used
