"""``/admin/rejected``: what was refused, to be read, mended and taken in again."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.http import describe
from serving.http.answers import Api, answer_json, not_found
from serving.http.inputs import parse, parse_query, read_object
from serving.http.problems import InvalidParameters
from serving.ingest.replay import Replay, replay
from serving.ingest.service import Ingest
from serving.ingest.shapes import (
    Interaction,
    RejectedAsked,
    RejectedPage,
    ReplayAsked,
    ReplayOutcome,
)
from serving.ingest.tracking import EXAMPLE_EVENT
from serving.postgres.database import Database
from storage.events import rejections
from storage.events.rejections import Rejection
from storage.events.store import Connection


class RejectedCalls:
    def __init__(self, database: Database, ingest: Ingest) -> None:
        self._database = database
        self._ingest = ingest

    async def browse(self, request: Request) -> Response:
        asked = parse_query(RejectedAsked, request.query_params)
        rows = await self._database.run(
            lambda c: rejections.page(c, asked.limit + 1, asked.after, asked.entity)
        )
        shown = rows[: asked.limit]
        return answer_json(
            request,
            {
                "rows": [asdict(row) for row in shown],
                "next_after": shown[-1].id if len(rows) > len(shown) else None,
            },
        )

    async def replay_one(self, request: Request) -> Response:
        id = request.path_params["id"]
        corrected = {id: await read_object(request)} if await request.body() else {}

        async def work(connection: Connection) -> list[Replay]:
            rows = await rejections.lock(connection, [id])
            return await replay(
                connection, rows, self._ingest.clock(), self._ingest.types(), corrected
            )

        results = await self._database.run(work)
        if not results:
            raise not_found("refused row", id)
        if results[0].outcome == "rejected":
            raise InvalidParameters([{"field": "event", "message": str(results[0].reason)}])
        return self._answer(request, results, None)

    async def replay_many(self, request: Request) -> Response:
        given = await read_object(request) if await request.body() else {}
        asked = parse(ReplayAsked, given)

        async def work(connection: Connection) -> tuple[list[Rejection], list[Replay]]:
            if asked.ids is not None:
                rows = await rejections.lock(connection, asked.ids)
            else:
                rows = await rejections.lock_next(
                    connection, asked.limit, asked.after, asked.reason
                )
            return rows, await replay(connection, rows, self._ingest.clock(), self._ingest.types())

        rows, results = await self._database.run(work)
        more = asked.ids is None and len(rows) == asked.limit
        return self._answer(request, results, rows[-1].id if more else None)

    def _answer(self, request: Request, results: list[Replay], next: int | None) -> Response:
        users = {one.user_id for one in results if one.user_id is not None}
        if users:
            self._ingest.tell_committed(users)
        told = [{"id": one.id, "outcome": one.outcome, "reason": one.reason} for one in results]
        count = [one.outcome for one in results].count
        return answer_json(
            request,
            {
                "results": told,
                "accepted": count("accepted"),
                "duplicates": count("duplicate"),
                "rejected": count("rejected"),
                "next_after": next,
            },
        )


def admin_routes(database: Database, ingest: Ingest) -> list[Route]:
    calls = RejectedCalls(database, ingest)
    api = Api(database, lambda: None, lambda user_id, item_ids: [False] * len(item_ids))
    return [
        api.route("/api/v1/admin/rejected", compressed=True, GET=calls.browse),
        api.route("/api/v1/admin/rejected:replay", compressed=True, POST=calls.replay_many),
        api.route("/api/v1/admin/rejected/{id:number}/replay", POST=calls.replay_one),
    ]


_operation = partial(describe.operation, tag="admin")
_REPLAYED = describe.answer("What became of each row", ReplayOutcome)
SHAPES = [(RejectedPage, "serialization"), (ReplayOutcome, "serialization"),
          (ReplayAsked, "validation"), (Interaction, "validation")]  # fmt: skip
PATHS: dict[str, Any] = {
    "/api/v1/admin/rejected": {
        "get": _operation(
            "findRejected",
            "Read what was refused, the newest first",
            answers={200: describe.answer("Some rows", RejectedPage)},
            parameters=describe.query(RejectedAsked),
            problems=(422, 503),
        )
    },
    "/api/v1/admin/rejected/{id}/replay": {
        "parameters": [
            {
                "name": "id",
                "in": "path",
                "required": True,
                "description": "The refused row's number.",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "post": _operation(
            "replayRejected",
            "Take a refused interaction in again",
            answers={200: dict(_REPLAYED)},
            description="The body may hold the corrected event. The row is gone once it is stored.",
            body=describe.json_body(Interaction, EXAMPLE_EVENT) | {"required": False},
            problems=(404, *describe.BODY_PROBLEMS, 503),
        ),
    },
    "/api/v1/admin/rejected:replay": {
        "post": _operation(
            "replayAllRejected",
            "Take many refused interactions in again",
            answers={200: dict(_REPLAYED)},
            description="In turn, `limit` a call. What is rejected again stays.",
            body=describe.json_body(ReplayAsked, {"reason": "type:"}) | {"required": False},
            problems=(*describe.BODY_PROBLEMS, 503),
        )
    },
}
