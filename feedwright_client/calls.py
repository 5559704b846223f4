"""The calls as data: each is a function here, and a method of both clients, which differ only in
how they send.

Every call may be sent twice: reads change nothing, and writes say what the result is to be.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Generic, Literal, TypedDict, TypeVar
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
Row = dict[str, Any]
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


class FeedOptions(TypedDict, total=False):
    """What else may be asked of a feed."""

    offset: int
    sort: Literal["recommended", "time"] | None
    exclude_seen: bool | None
    exclude_applied: bool | None
    lat: float | None
    lon: float | None
    device: Literal["phone", "tablet", "desktop"] | None
    feed_id: str | None
    variant: str | None
    profile: str | None
    weights: Mapping[str, float] | None


def feed(user_id: str | None, limit: int, options: FeedOptions) -> Call[FeedPage]:
    for name in options.keys() - FeedOptions.__annotations__.keys():
        raise TypeError(f"feed() got an unexpected keyword argument {name!r}")
    query = given(user_id=user_id, limit=limit, **{"offset": 0, **options})
    weights = query.get("weights")
    if weights is not None:
        query["weights"] = ",".join(f"{name}:{weight:g}" for name, weight in weights.items())
    return Call("GET", "/api/v1/feed", FeedPage.of, query)


def next_page(page: FeedPage) -> Call[FeedPage]:
    assert page.next is not None
    return Call("GET", page.next, FeedPage.of)


def trending(
    *, limit: int = 20, hours: int = 168, user_id: str | None = None
) -> Call[list[TrendingItem]]:
    """What is liked most in the last hours, by the user's rules if one is given."""
    query = given(limit=limit, hours=hours, user_id=user_id)
    return Call("GET", "/api/v1/feed/trending", _items(TrendingItem), query)


def nearby(
    lat: float,
    lon: float,
    *,
    radius_km: float | None = None,
    limit: int = 20,
    user_id: str | None = None,
    category: str | None = None,
) -> Call[list[NearbyItem]]:
    """The nearest items, within ``radius_km`` (default: of the profile)."""
    body = given(
        lat=lat, lon=lon, radius_km=radius_km, limit=limit, user_id=user_id, category=category
    )
    return Call("POST", "/api/v1/feed/nearby", _items(NearbyItem), body=body)


def similar(
    item_id: str, *, limit: int = 20, user_id: str | None = None
) -> Call[list[SimilarItem]]:
    """Items like this one."""
    query = given(limit=limit, user_id=user_id)
    return Call("GET", f"/api/v1/feed/similar/{_id(item_id)}", _items(SimilarItem), query)


def rank(
    item_ids: Sequence[str],
    *,
    user_id: str | None = None,
    lat: float | None = None,
    lon: float | None = None,
    variant: str | None = None,
) -> Call[RankedItems]:
    """These items (at most 1000) in the order for the user, without what rules exclude."""
    body = given(item_ids=list(item_ids), user_id=user_id, lat=lat, lon=lon, variant=variant)
    return Call("POST", "/api/v1/rank", RankedItems.of, body=body)


def recommend(user_ids: Sequence[str], *, limit: int = 20) -> Call[list[Recommended]]:
    """Items for each of many users (at most 100), such as for a newsletter."""

    def parse(answer: Any) -> list[Recommended]:
        return [Recommended.of(user) for user in answer["users"]]

    body = {"user_ids": list(user_ids), "limit": limit}
    return Call("POST", "/api/v1/recommend", parse, body=body)


def preferences(user_id: str) -> Call[Row]:
    """What the user asked for, the defaults where they asked for nothing."""
    return Call("GET", "/api/v1/feed/preferences", dict, {"user_id": user_id})


def set_preferences(user_id: str, **changes: Any) -> Call[Row]:
    """Change some preferences (``blocked_tags=[…]``); None goes back to the default."""
    return Call("PATCH", "/api/v1/feed/preferences", dict, {"user_id": user_id}, changes)


def get_item(id: str) -> Call[Row | None]:
    """The item, or None."""
    return _get("items", id)


def put_item(id: str, **fields: Any) -> Call[Row]:
    """Create or replace an item; a field left out gets its default."""
    return _write("PUT", "items", id, fields)


def patch_item(id: str, **fields: Any) -> Call[Row]:
    """Change some fields of an item; None goes back to the default."""
    return _write("PATCH", "items", id, fields)


def delete_item(id: str) -> Call[bool]:
    """Delete an item; False: there was none."""
    return _delete("items", id)


def get_user(id: str) -> Call[Row | None]:
    """The user, or None."""
    return _get("users", id)


def put_user(id: str, **fields: Any) -> Call[Row]:
    """Create or replace a user; a field left out gets its default."""
    return _write("PUT", "users", id, fields)


def patch_user(id: str, **fields: Any) -> Call[Row]:
    """Change some fields of a user; None goes back to the default."""
    return _write("PATCH", "users", id, fields)


def export_user(user_id: str) -> Call[Row | None]:
    """All that is stored of a user, or None."""
    return Call("GET", f"/api/v1/users/{_id(user_id)}/export", _same, may_miss=True)


def erase_user(user_id: str) -> Call[bool]:
    """Erase all that is stored of a user; False: there was nothing. The pipeline erases them from
    the lake before it trains again."""
    return _delete("users", user_id)


def get_owner(id: str) -> Call[Row | None]:
    """The owner, or None."""
    return _get("owners", id)


def put_owner(id: str, **fields: Any) -> Call[Row]:
    """Create or replace an owner; a field left out gets its default."""
    return _write("PUT", "owners", id, fields)


def patch_owner(id: str, **fields: Any) -> Call[Row]:
    """Change some fields of an owner; None goes back to the default."""
    return _write("PATCH", "owners", id, fields)


def delete_owner(id: str) -> Call[bool]:
    """Delete an owner; False: there was none."""
    return _delete("owners", id)


def bulk(entity: str, entries: Sequence[Mapping[str, Any]]) -> Call[Row]:
    return Call("POST", f"/api/v1/{entity}:bulk", dict, body={entity: list(entries)})


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
    fields = {"User-Agent": "feedwright-client"}
    return fields if key is None else fields | {"Authorization": f"Bearer {key}"}


def described_by(make: Callable[..., Call[Any]], method: Callable[..., Any]) -> None:
    """Give ``method`` the name, the text and the parameters of ``make``, after ``self``."""
    update_wrapper(method, make)
    signature = inspect.signature(make)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    returns = signature.return_annotation.removeprefix("Call[").removesuffix("]")
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[own, *signature.parameters.values()], return_annotation=returns
    )


def _get(entity: str, id: str) -> Call[Row | None]:
    return Call("GET", f"/api/v1/{entity}/{_id(id)}", _same, may_miss=True)


def _write(method: str, entity: str, id: str, fields: Row) -> Call[Row]:
    return Call(method, f"/api/v1/{entity}/{_id(id)}", dict, body=fields)


def _delete(entity: str, id: str) -> Call[bool]:
    path = f"/api/v1/{entity}/{_id(id)}"
    return Call("DELETE", path, lambda answer: answer is not None, may_miss=True)


def _items(kind: type[T]) -> Callable[[Any], list[T]]:
    return lambda answer: [read(kind, item) for item in answer["items"]]


def _same(answer: Any) -> Any:
    return answer


def _id(id: str) -> str:
    return quote(id, safe="")
