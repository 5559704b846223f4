"""The OpenAPI document of the API, made from the shapes."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from serving import admin, ingest
from serving.access import user_tokens
from serving.feed.shapes import FeedPage, FeedRequest, Status
from serving.http.describe import answer, operation, query, ref
from serving.http.problems import Problem
from serving.routes import catalogue, reads

_REF = "#/components/schemas/{model}"
GROUPS = (*reads.GROUPS, *ingest.GROUPS, *catalogue.GROUPS, *admin.GROUPS, user_tokens)
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key: `fw_<scope>_…`."},
    "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "user_token": {"type": "apiKey", "in": "header", "name": "X-User-Token"},
}
"""Who may call what is in ``SECURITY.md``; on this machine alone, no key is needed."""
SHAPES: list[tuple[type[BaseModel], JsonSchemaMode]] = [
    (FeedPage, "serialization"),
    (Problem, "serialization"),
    (Status, "serialization"),
]
EXAMPLE_PAGE = {
    "items": [
        {
            "item_id": "242",
            "rank": 1,
            "recommendation_score": 0.9721,
            "reason": "Because you liked Comedy",
            "reason_code": "because_you_liked_tags",
            "reason_parameters": {"tags": "Comedy"},
            "components": {"location": None, "recency": 0.31, "content": 0.82, "model": 0.9721},
            "sources": ["model", "similar_users"],
            "explored": False,
            "seen": False,
            "propensity": 0.95,
        }
    ],
    "total": 1000,
    "has_more": True,
    "next": "/api/v1/feed?user_id=196&limit=1&offset=1&feed_id=01a1ff95aec25b065759e8d2efa6337e",
    "feed_id": "01a1ff95aec25b065759e8d2efa6337e",
    "model_version": "3",
    "variant": "champion",
    "fallback_reason": None,
    "experiments": {"warmer-start": "challenger"},
    "request_id": "5f0c3f6b3c1f4f0e9a57d7a1a5b9a2a1",
}


def document() -> dict[str, Any]:
    """The document, OpenAPI 3.1: each group of calls describes its own."""
    shapes = [*SHAPES, *(shape for group in GROUPS for shape in group.SHAPES)]
    _, schemas = models_json_schema(shapes, ref_template=_REF)
    paths = {"/api/v1/feed": {"get": _feed()}}
    for group in GROUPS:
        paths |= group.PATHS
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Feedwright",
            "version": _version(),
            "description": "A feed, ranked for each user, with a reason for every item. "
            "It always answers: `fallback_reason` says when something else than the champion did.",
        },
        "servers": [{"url": "/"}],
        "paths": paths | _service(),
        "components": {"schemas": schemas["$defs"], "securitySchemes": SECURITY},
        "security": [{}, {"bearer": []}, {"key": []}],
    }


@cache
def encoded() -> bytes:
    """The document as JSON; making it takes a quarter of a second."""
    return orjson.dumps(document())


def _feed() -> dict[str, Any]:
    return operation(
        "feed",
        "The feed of a user",
        "feed",
        {200: answer("The feed of a user", FeedPage, EXAMPLE_PAGE)},
        description="A visit begins without an `offset`: the feed is ranked, or read again if "
        "that was done less than the profile's `reuse_seconds` ago. `next` is the next page of the "
        "same feed: it neither repeats nor skips an item, even when another model has gone live. "
        "An item that may no longer be shown is left out, and the ranks of others stay. A feed "
        "that is no longer kept is ranked anew: the answer then has another `feed_id`. A "
        "fallback answers with status 200 too. Other parameters are ignored.",
        parameters=query(FeedRequest),
        problems=(422,),
    )


def _service() -> dict[str, Any]:
    """What operators ask."""
    text = "text/plain"
    return {
        "/api/v1/status": {
            "get": _plain("status", "What this worker serves from", "application/json", Status)
        },
        "/api/v1/openapi.json": {"get": _plain("openapi", "This document", "application/json")},
        "/healthz": {"get": _plain("healthz", "The process is up", text)},
        "/livez": {"get": _plain("livez", "The process is up", text)},
        "/readyz": {
            "get": _plain(
                "readyz",
                "The first look for a model is over; without one the heuristic answers",
                text,
                not_yet=True,
            )
        },
        "/metrics": {"get": _plain("metrics", "Metrics for Prometheus", text)},
    }


def _plain(
    name: str,
    summary: str,
    media_type: str,
    shape: type[BaseModel] | None = None,
    *,
    not_yet: bool = False,
) -> dict[str, Any]:
    """An operation without parameters."""
    content: dict[str, Any] = {media_type: {"schema": ref(shape)} if shape else {}}
    answers = {"200": {"description": summary, "content": content}}
    if not_yet:
        answers["503"] = {"description": "Not yet", "content": {media_type: {}}}
    return {"operationId": name, "summary": summary, "tags": ["service"], "responses": answers}


def _version() -> str:
    try:
        return version("feedwright")
    except PackageNotFoundError:
        return "0"
