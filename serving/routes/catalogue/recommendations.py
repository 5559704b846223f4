"""``/recommendations/{user_id}``: the list that the pipeline keeps ready."""

from __future__ import annotations

from itertools import compress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.http import describe
from serving.http.answers import Api, answer_json, not_found
from serving.http.inputs import parse_query, path_id
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
    "request_id": "5f0c3f6b3c1f4f0e9a57d7a1a5b9a2a1",
}


def routes(api: Api) -> list[Route]:
    async def get(request: Request) -> Response:
        user_id = path_id(request, "user_id")
        limit = parse_query(AskedRecommendations, request.query_params).limit
        ready = await api.database.run(lambda c: people.recommendations(c, user_id))
        if ready is None:
            raise not_found("user", user_id)
        # The list may be a day old.
        shown = api.may_show(user_id, [row["item_id"] for row in ready])
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

    return [api.route("/api/v1/recommendations/{user_id:id}", compressed=True, GET=get)]


SHAPES = [(Recommendations, "serialization")]
PATHS: dict[str, Any] = {
    "/api/v1/recommendations/{user_id}": {
        "parameters": [describe.path_id("user_id", "Whose list.")],
        "get": describe.operation(
            "recommendations",
            "A user's ready list, with reasons",
            "recommendations",
            {200: describe.answer("The list", Recommendations, EXAMPLE)},
            description="Made by the pipeline for users who were active lately; empty for others. "
            "What a rule excludes by now is left out. The champion's, whatever flags and "
            "experiments give the user in `GET /feed`.",
            parameters=describe.query(AskedRecommendations),
            problems=(404, 422, 503),
        ),
    }
}
