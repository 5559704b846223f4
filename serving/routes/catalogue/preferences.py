"""``/feed/preferences``: what a user wants to see, and what not."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.http import describe
from serving.http.answers import Api, answer_row, check_version, not_found
from serving.http.inputs import conflicts, parse, parse_query, read_object, refuse
from serving.routes.catalogue.shapes import OfUser, Preferences, PreferencesBody
from storage.catalogue.entities import Connection
from storage.privacy import people

PATH = "/api/v1/feed/preferences"
EXAMPLE: dict[str, Any] = {
    "user_id": "196",
    "max_distance_km": 25.0,
    "preferred_price_min": None,
    "preferred_price_max": 900.0,
    "preferred_tags": ["Photography"],
    "blocked_tags": ["Gambling"],
    "blocked_owners": [],
    "personalization_enabled": True,
    "updated_at": "2026-05-17T09:30:00.123456+00:00",
}


def routes(api: Api) -> list[Route]:
    async def get(request: Request) -> Response:
        user_id = parse_query(OfUser, request.query_params).user_id
        found = await api.database.run(lambda c: people.preferences(c, user_id))
        if found is None:
            raise not_found("user", user_id)
        return answer_row(request, found)

    async def patch(request: Request) -> Response:
        user_id = parse_query(OfUser, request.query_params).user_id
        body = parse(PreferencesBody, await read_object(request))
        if body.user_id not in (None, user_id):
            refuse([{"field": "user_id", "message": f"is not {user_id!r} as in the query"}])
        changes = body.model_dump(exclude_unset=True, exclude={"user_id"})

        async def work(connection: Connection) -> str:
            there = await people.preferences(connection, user_id, lock=True)
            if there is None:
                raise not_found("user", user_id)
            check_version(request, there)
            old = orjson.loads(there)
            refuse(conflicts({**old, **changes}, changes))
            if not changes:
                return there
            return await people.change_preferences(connection, user_id, changes)

        return answer_row(request, await api.database.run(work))

    return [api.route(PATH, GET=get, PATCH=patch)]


SHAPES = [(Preferences, "serialization"), (PreferencesBody, "validation")]
PATHS: dict[str, Any] = {
    PATH: {
        "get": describe.operation(
            "getPreferences",
            "A user's preferences; the defaults where none are stored",
            "preferences",
            {
                200: describe.answer("Preferences", Preferences, EXAMPLE, versioned=True),
                304: describe.answer("Not changed since", versioned=True),
            },
            parameters=[*describe.query(OfUser), describe.IF_NONE_MATCH],
            problems=(404, 422, 503),
        ),
        "patch": describe.operation(
            "patchPreferences",
            "Change some of a user's preferences",
            "preferences",
            {200: describe.answer("All of them now", Preferences, EXAMPLE, versioned=True)},
            description="A JSON merge patch (RFC 7396): fields left out stay, null goes back to "
            "the default.",
            parameters=[*describe.query(OfUser), describe.IF_MATCH],
            body=describe.json_body(PreferencesBody, {"blocked_tags": ["Gambling"]}),
            problems=(404, 412, 503, *describe.BODY_PROBLEMS),
        ),
    }
}
