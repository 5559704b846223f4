"""The calls as data: both clients build them here, and differ only in how they send.

Every call may be sent twice: reads change nothing, and writes say what the result is to be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from feedwright_client.answers import (
    FeedPage,
    NearbyItem,
    RankedItems,
    Recommended,
    SimilarItem,
    TrendingItem,
    read,
)
from feedwright_client.errors import FeedwrightError

T = TypeVar("T")
RETRIES = 2
"""So often a call is repeated that failed for the moment, if its time allows."""
BULK_SECONDS = 30.0
CHUNK_ENTRIES = 1_000
CHUNK_BYTES = 6 * 2**20
"""The server takes bodies of 8 MiB."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """
    Attributes:
        parse: what the call returns, from the JSON of the answer (None: it has no body).
        may_miss: 404 is an answer too: ``parse`` gets None.
    """

    method: str
    path: str
    parse: Callable[[Any], T]
    query: Mapping[str, Any] | None = None
    body: Any = None
    may_miss: bool = False

    def result(self, answer: httpx.Response) -> T:
        """
        Raises:
            FeedwrightError: the answer is a refusal, or no JSON.
        """
        if answer.status_code == 404 and self.may_miss:
            return self.parse(None)
        if not answer.is_success:
            raise FeedwrightError.of_answer(answer)
        try:
            return self.parse(answer.json() if answer.content else {})
        except (ValueError, KeyError, TypeError) as error:
            raise FeedwrightError(
                f"{answer.url} answers what Feedwright would not: is the address right?",
                answer.status_code,
            ) from error


def given(**parameters: Any) -> dict[str, Any]:
    """The parameters that are not None, as a query or a body takes them."""
    return {name: value for name, value in parameters.items() if value is not None}


def feed(user_id: str | None, limit: int, offset: int, **more: Any) -> Call[FeedPage]:
    query = given(user_id=user_id, limit=limit, offset=offset, **more)
    weights = query.get("weights")
    if weights is not None:
        query["weights"] = ",".join(f"{name}:{weight:g}" for name, weight in weights.items())
    return Call("GET", "/api/v1/feed", FeedPage.of, query)


def next_page(page: FeedPage) -> Call[FeedPage]:
    assert page.next is not None
    return Call("GET", page.next, FeedPage.of)


def trending(limit: int, hours: int, user_id: str | None) -> Call[list[TrendingItem]]:
    query = given(limit=limit, hours=hours, user_id=user_id)
    return Call("GET", "/api/v1/feed/trending", _items(TrendingItem), query)


def nearby(**body: Any) -> Call[list[NearbyItem]]:
    return Call("POST", "/api/v1/feed/nearby", _items(NearbyItem), body=given(**body))


def similar(item_id: str, limit: int, user_id: str | None) -> Call[list[SimilarItem]]:
    query = given(limit=limit, user_id=user_id)
    return Call("GET", f"/api/v1/feed/similar/{_id(item_id)}", _items(SimilarItem), query)


def rank(item_ids: Sequence[str], **more: Any) -> Call[RankedItems]:
    body = given(item_ids=list(item_ids), **more)
    return Call("POST", "/api/v1/rank", RankedItems.of, body=body)


def recommend(user_ids: Sequence[str], limit: int) -> Call[list[Recommended]]:
    def parse(answer: Any) -> list[Recommended]:
        return [Recommended.of(one) for one in answer["users"]]

    body = {"user_ids": list(user_ids), "limit": limit}
    return Call("POST", "/api/v1/recommend", parse, body=body)


def preferences(user_id: str, changes: Mapping[str, Any] | None) -> Call[dict[str, Any]]:
    method = "GET" if changes is None else "PATCH"
    return Call(method, "/api/v1/feed/preferences", dict, {"user_id": user_id}, changes)


def get(entity: str, id: str) -> Call[dict[str, Any] | None]:
    return Call("GET", f"/api/v1/{entity}/{_id(id)}", _same, may_miss=True)


def put(entity: str, id: str, fields: Mapping[str, Any]) -> Call[dict[str, Any]]:
    return Call("PUT", f"/api/v1/{entity}/{_id(id)}", dict, body=dict(fields))


def patch(entity: str, id: str, fields: Mapping[str, Any]) -> Call[dict[str, Any]]:
    return Call("PATCH", f"/api/v1/{entity}/{_id(id)}", dict, body=dict(fields))


def delete(entity: str, id: str) -> Call[bool]:
    path = f"/api/v1/{entity}/{_id(id)}"
    return Call("DELETE", path, lambda answer: answer is not None, may_miss=True)


def bulk(entity: str, entries: Sequence[Mapping[str, Any]]) -> Call[dict[str, Any]]:
    return Call("POST", f"/api/v1/{entity}:bulk", dict, body={entity: list(entries)})


def export_user(user_id: str) -> Call[dict[str, Any] | None]:
    return Call("GET", f"/api/v1/users/{_id(user_id)}/export", _same, may_miss=True)


def chunks(entries: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Parts that fit into a request; reads no more of ``entries`` than it gives."""
    chunk: list[Mapping[str, Any]] = []
    size = 0
    for entry in entries:
        length = len(json.dumps(entry, ensure_ascii=False).encode()) + 1
        if chunk and (len(chunk) == CHUNK_ENTRIES or size + length > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += length
    if chunk:
        yield chunk


def headers(key: str | None) -> dict[str, str]:
    told = {"User-Agent": "feedwright-client"}
    return told if key is None else told | {"Authorization": f"Bearer {key}"}


def _items(kind: type[T]) -> Callable[[Any], list[T]]:
    return lambda answer: [read(kind, one) for one in answer["items"]]


def _same(answer: Any) -> Any:
    return answer


def _id(id: str) -> str:
    return quote(id, safe="")
