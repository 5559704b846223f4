"""``/feed/preferences``: what a user wants to see, and what not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.http.answers import answer_row, check_version, not_found
from serving.http.describe import IF_MATCH
from serving.http.endpoints import Answer, Body, Endpoints
from serving.http.inputs import conflicts, parse, parse_query, read_object, refuse
from serving.postgres.database import Database
from serving.routes.catalogue.shapes import OfUser, Preferences, PreferencesBody
from storage.catalogue.entities import Connection
from storage.privacy import people

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
SHOWN = Answer("Preferences", Preferences, EXAMPLE, versioned=True)
endpoints = Endpoints(tag="preferences", scope="preferences", user="query", problems=(503,))


class PreferenceCalls:
    def __init__(self, database: Database, written: Callable[[], None]) -> None:
        """
        Args:
            written: called after each call that wrote.
        """
        self._database = database
        self._written = written

    @endpoints.declare("GET /api/v1/feed/preferences", SHOWN, query=OfUser, problems=(404,))
    async def get_preferences(self, request: Request) -> Response:
        """A user's preferences; the defaults where none are stored."""
        user_id = parse_query(OfUser, request.query_params).user_id
        row = await self._database.run(lambda c: people.preferences(c, user_id))
        if row is None:
            raise not_found("user", user_id)
        return answer_row(request, row)

    @endpoints.declare(
        "PATCH /api/v1/feed/preferences",
        replace(SHOWN, description="All of them now"),
        parameters=[IF_MATCH],
        query=OfUser,
        body=Body(PreferencesBody, {"blocked_tags": ["Gambling"]}),
        problems=(404,),
    )
    async def patch_preferences(self, request: Request) -> Response:
        """Change some of a user's preferences.

        A JSON merge patch (RFC 7396): fields left out stay, null goes back to the default.
        """
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

        row = await self._database.run(work)
        self._written()
        return answer_row(request, row)
