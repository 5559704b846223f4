"""``/admin/rejected``: what was refused, to be read, mended and taken in again."""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from serving.http.answers import answer_json, not_found
from serving.http.describe import path_number
from serving.http.endpoints import Answer, Body, Endpoints
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

REPLAYED = Answer("What became of each row", ReplayOutcome)
endpoints = Endpoints(tag="admin", scope="admin", problems=(503,))


class RejectedCalls:
    def __init__(self, database: Database, ingest: Ingest) -> None:
        self._database = database
        self._ingest = ingest

    @endpoints.declare(
        "GET /api/v1/admin/rejected",
        Answer("Some rows", RejectedPage),
        compressed=True,
        query=RejectedAsked,
    )
    async def find_rejected(self, request: Request) -> Response:
        """Read what was refused, the newest first."""
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

    @endpoints.declare(
        "POST /api/v1/admin/rejected/{id:number}/replay",
        REPLAYED,
        parameters=[path_number("id", "The refused row's number.")],
        body=Body(Interaction, EXAMPLE_EVENT, required=False),
        problems=(404,),
    )
    async def replay_rejected(self, request: Request) -> Response:
        """Take a refused interaction in again.

        The body may hold the corrected event. The row is gone once it is stored.
        """
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

    @endpoints.declare(
        "POST /api/v1/admin/rejected:replay",
        REPLAYED,
        compressed=True,
        body=Body(ReplayAsked, {"reason": "type:"}, required=False),
    )
    async def replay_all_rejected(self, request: Request) -> Response:
        """Take many refused interactions in again.

        In turn, `limit` a call. What is rejected again stays.
        """
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
        users = {result.user_id for result in results if result.user_id is not None}
        if users:
            self._ingest.tell_committed(users)
        outcomes = [
            {"id": result.id, "outcome": result.outcome, "reason": result.reason}
            for result in results
        ]
        count = [result.outcome for result in results].count
        return answer_json(
            request,
            {
                "results": outcomes,
                "accepted": count("accepted"),
                "duplicates": count("duplicate"),
                "rejected": count("rejected"),
                "next_after": next,
            },
        )
