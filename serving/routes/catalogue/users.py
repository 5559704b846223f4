"""``/users``: who the feed is for, all that is stored of one, and their erasure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from serving.http.answers import answer_json, not_found
from serving.http.describe import path_id
from serving.http.endpoints import Answer, Endpoints
from serving.http.inputs import id_in, parse_query
from serving.http.request_ids import request_id_of
from serving.postgres.database import Database
from serving.routes.catalogue.entities import EntityCalls, Kind, declare
from serving.routes.catalogue.shapes import (
    AskedUsers,
    FoundUsers,
    User,
    UserBody,
    UserEntry,
    UserExport,
    UsersEnvelope,
)
from storage.catalogue import entities as catalogue
from storage.catalogue.entities import Connection
from storage.privacy import people
from storage.privacy.people import PARTS, Page

EXPORT_ROWS = 1_000
"""Rows of an export that are held at once."""
LAKE = (
    "The interaction lake holds copies of the interactions above, by day, and nothing else of "
    "the user. An erasure reaches it with the next run of the pipeline."
)
"""What an export says of the lake."""
SINGLE = ("user", "preferences")
"""Parts of an export that are one row or none."""
EXAMPLE: dict[str, Any] = {
    "id": "196",
    "lat": 46.77,
    "lon": 23.59,
    "city": "Cluj",
    "tags": ["Photography"],
    "attributes": {},
    "created_at": "2026-05-16T08:00:00+00:00",
}
PATCH: dict[str, Any] = {"tags": ["Design"]}
KIND = Kind("users", "user", UserBody, UserEntry, UsersEnvelope, User, EXAMPLE, PATCH)
endpoints = Endpoints(tag="users", scope="admin", user="path", problems=(503,))


class UserCalls(EntityCalls):
    def __init__(self, database: Database, written: Callable[[], None]) -> None:
        super().__init__(database, written, KIND)

    @endpoints.declare(
        "GET /api/v1/users",
        Answer("A page", FoundUsers),
        user="nowhere",
        compressed=True,
        query=AskedUsers,
    )
    async def find_users(self, request: Request) -> Response:
        """Users by id, a page at a time."""
        asked = parse_query(AskedUsers, request.query_params)
        rows = await self._database.run(
            # one more than asked for tells whether there is another page
            lambda c: catalogue.browse(c, "users", asked.q, asked.after, asked.limit + 1)
        )
        page = rows[: asked.limit]
        following = None
        if len(rows) > asked.limit:
            query = {"q": asked.q, "limit": asked.limit, "after": page[-1][0]}
            following = f"/api/v1/users?{urlencode(query)}"
        users = [orjson.Fragment(row) for _, row in page]
        return answer_json(request, {"users": users, "next": following})

    @endpoints.declare(
        "GET /api/v1/users/{id:id}/export",
        Answer("All of it", UserExport),
        compressed=True,
        parameters=[path_id("id", "The user's id.")],
        problems=(404,),
    )
    async def export_user(self, request: Request) -> Response:
        """All that the database holds of a user.

        Streamed, so of any size. `user_similarities` names other users: leave it out of what you
        hand on.
        """
        id = id_in(request)

        async def begin(connection: Connection) -> dict[str, Page]:
            return {
                part: await people.page(connection, part, id, None, EXPORT_ROWS) for part in PARTS
            }

        # What fails before the first row can still be answered by a status.
        pages = await self._database.run(begin)
        if not any(page.rows for page in pages.values()):
            raise not_found("user", id)
        return StreamingResponse(
            self._exported(id, pages),
            media_type="application/json",
            headers={
                "X-Request-Id": request_id_of(request),
                "Cache-Control": "no-store",
                "Content-Disposition": 'attachment; filename="user.json"',
            },
        )

    async def _exported(self, id: str, pages: dict[str, Page]) -> AsyncIterator[str]:
        """The JSON text, page by page: a slow reader holds no connection, and no memory."""
        opening = "{"
        for part, page in pages.items():
            yield f'{opening}"{part}":'
            opening = ","
            if part in SINGLE:
                yield page.rows[0] if page.rows else "null"
                continue
            yield "[" + ",".join(page.rows)
            while page.after is not None:
                page = await self._database.run(
                    partial(people.page, part=part, user_id=id, after=page.after, limit=EXPORT_ROWS)
                )
                if page.rows:
                    yield "," + ",".join(page.rows)
            yield "]"
        yield f',"lake":{orjson.dumps(LAKE).decode()}}}'

    async def _remove(self, connection: Connection, id: str) -> bool:
        return await people.erase(connection, id)


declare(
    endpoints,
    KIND,
    put_note=" A user who is there keeps `created_at` unless another is given.",
    delete_note=" Erases all that the database holds of the user: profile, preferences, "
    "interactions, learned interests, lists, similarities, and refused rows. Workers forget "
    "the user within two seconds, and what comes in late of the time before is not kept. The "
    "next run of the pipeline erases them from the lake before it trains.",
)
