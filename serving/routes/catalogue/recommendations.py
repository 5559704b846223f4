"""``/recommendations/{user_id}``: the list that the pipeline keeps ready."""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.http.answers import answer_json, not_found
from serving.http.describe import path_id
from serving.http.endpoints import Answer, Endpoints
from serving.http.inputs import id_in, parse_query
from serving.postgres.database import Database
from serving.routes.catalogue.shapes import AskedRecommendations, Recommendations
from storage.privacy import people

EXAMPLE: dict[str, Any] = {
    "user_id": "196",
    "model_version": "3",
    "generated_at": "2026-05-17T02:04:10.512000+00:00",
    "items": [
        {
            "item_id": "242",
            "rank": 1,
            "score": 0.97,
            "reason": "Because you liked Comedy",
            "reason_code": "because_you_liked",
            "reason_parameters": {"tags": "Comedy"},
        }
    ],
}
endpoints = Endpoints(tag="recommendations", scope="read", user="path", problems=(503,))


class RecommendationCalls:
    def __init__(
        self, database: Database, may_show: Callable[[str, list[str]], list[bool]]
    ) -> None:
        """
        Args:
            may_show: whether a user may be shown each of some items, as of now.
        """
        self._database = database
        self._may_show = may_show

    @endpoints.declare(
        "GET /api/v1/recommendations/{user_id:id}",
        Answer("The list", Recommendations, EXAMPLE),
        compressed=True,
        parameters=[path_id("user_id", "Whose list.")],
        query=AskedRecommendations,
        problems=(404,),
    )
    async def recommendations(self, request: Request) -> Response:
        """A user's ready list, with reasons.

        Made by the pipeline for users who were active lately; empty for others. What a rule
        excludes by now is left out. The champion's, whatever flags and experiments give the user in
        `GET /feed`.
        """
        user_id = id_in(request, "user_id")
        limit = parse_query(AskedRecommendations, request.query_params).limit
        ready = await self._database.run(lambda c: people.recommendations(c, user_id))
        if ready is None:
            raise not_found("user", user_id)
        # The list may be a day old.
        shown = self._may_show(user_id, [row["item_id"] for row in ready])
        rows = list(compress(ready, shown))[:limit]
        body = {
            "user_id": user_id,
            "model_version": rows[0]["model_version"] if rows else None,
            "generated_at": rows[0]["generated_at"] if rows else None,
            "items": [
                {
                    "item_id": row["item_id"],
                    "rank": rank,
                    "score": row["score"],
                    "reason": row["reason"]["text"],
                    "reason_code": row["reason"]["code"],
                    "reason_parameters": row["reason"]["parameters"],
                }
                for rank, row in enumerate(rows, 1)
            ],
        }
        return answer_json(request, body)
