"""``/items``: what the feed ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.http.answers import answer_json
from serving.http.endpoints import Answer, Endpoints
from serving.http.fields import MAX_ASKED, IdOnly
from serving.http.inputs import parse, parse_query
from serving.http.problems import InvalidParameters
from serving.postgres.database import Database
from serving.routes.catalogue.entities import EntityCalls, Kind, declare
from serving.routes.catalogue.shapes import (
    AskedItems,
    FoundItems,
    Item,
    ItemBody,
    ItemEntry,
    ItemsEnvelope,
)
from storage.catalogue import entities as catalogue

EXAMPLE: dict[str, Any] = {
    "id": "listing-7",
    "owner_id": "ana",
    "title": "Wedding photographer",
    "text": "Two photographers, a whole day.",
    "tags": ["Photography", "Design"],
    "category": "services",
    "city": "Cluj",
    "lat": 46.77,
    "lon": 23.59,
    "price_min": 400.0,
    "price_max": 900.0,
    "status": "published",
    "capacity": None,
    "created_at": "2026-05-16T08:00:00+00:00",
    "publish_at": None,
    "starts_at": None,
    "attributes": {"remote": False},
}
PATCH: dict[str, Any] = {"status": "removed"}
KIND = Kind("items", "item", ItemBody, ItemEntry, ItemsEnvelope, Item, EXAMPLE, PATCH)
endpoints = Endpoints(tag="items", scope="admin", problems=(503,))


class ItemCalls(EntityCalls):
    def __init__(self, database: Database, written: Callable[[], None]) -> None:
        super().__init__(database, written, KIND)

    @endpoints.declare(
        "GET /api/v1/items",
        Answer("Those that there are", FoundItems),
        scope="read",
        compressed=True,
        query=AskedItems,
    )
    async def find_items(self, request: Request) -> Response:
        """Read several items."""
        ids = list(dict.fromkeys(parse_query(AskedItems, request.query_params).ids.split(",")))
        if len(ids) > MAX_ASKED:
            raise InvalidParameters(
                [{"field": "ids", "message": f"{len(ids)} of them, at most {MAX_ASKED} at once"}]
            )
        for id in ids:
            parse(IdOnly, {"id": id})
        rows = await self._database.run(lambda c: catalogue.get_many(c, "items", ids))
        items = [orjson.Fragment(rows[id]) for id in ids if id in rows]
        return answer_json(
            request, {"items": items, "missing": [id for id in ids if id not in rows]}
        )


declare(
    endpoints,
    KIND,
    read="read",
    put_note=" An item that is there keeps its `created_at` unless another is given.",
    delete_note=" What users did with the item stays.",
)
