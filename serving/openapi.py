"""The OpenAPI document of the API, made from the shapes."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.shapes import FeedPage, FeedRequest, Problem, Status

_REF = "#/components/schemas/{model}"
EXAMPLE_PAGE = {
    "items": [
        {
            "item_id": "242",
            "rank": 1,
            "recommendation_score": 0.9721,
            "reason": "Because you liked Comedy",
            "reason_code": "because_you_liked",
            "reason_parameters": {"tags": "Comedy"},
            "components": {"location": None, "recency": 0.31, "content": 0.82, "model": 0.9721},
        }
    ],
    "total": 1649,
    "has_more": True,
    "model_version": "3",
    "variant": "champion",
    "fallback_reason": None,
    "request_id": "5f0c3f6b3c1f4f0e9a57d7a1a5b9a2a1",
}


def document() -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    shapes: list[type[BaseModel]] = [FeedPage, Problem, Status]
    _, schemas = models_json_schema(
        [(shape, "serialization") for shape in shapes], ref_template=_REF
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Feedwright",
            "version": _version(),
            "description": "A feed, ranked for each user, with a reason for every item. "
            "It always answers: `fallback_reason` says when something else than the champion did.",
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/api/v1/feed": {"get": _feed()},
            "/api/v1/status": {
                "get": _operation("status", "What this worker serves from", "Status")
            },
            "/api/v1/openapi.json": {
                "get": _operation("openapi", "This document", None, "application/json")
            },
            "/healthz": {"get": _operation("healthz", "The process is up", None, "text/plain")},
            "/livez": {"get": _operation("livez", "The process is up", None, "text/plain")},
            "/readyz": {
                "get": _operation(
                    "readyz",
                    "The first look for a model is over; without one the heuristic answers",
                    None,
                    "text/plain",
                    {"503": {"description": "Not yet", "content": {"text/plain": {}}}},
                )
            },
            "/metrics": {
                "get": _operation("metrics", "Metrics for Prometheus", None, "text/plain")
            },
        },
        "components": {"schemas": schemas["$defs"]},
    }


def _feed() -> dict[str, Any]:
    schema = FeedRequest.model_json_schema()
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": spec.pop("description"),
            "schema": _without_null(spec),
        }
        for name, spec in schema["properties"].items()
    ]
    request_id = {
        "name": "X-Request-Id",
        "in": "header",
        "required": False,
        "description": "1 to 128 printable ASCII characters; comes back as `request_id`. "
        "Anything else is replaced by a new id.",
        "schema": {"type": "string"},
    }
    operation = _operation("feed", "The feed of a user", "FeedPage")
    operation["description"] = (
        "The next page is at `offset + limit` while `has_more` is true. A fallback answers with "
        "status 200 too. Other parameters are ignored."
    )
    operation["parameters"] = [*parameters, request_id]
    answer = operation["responses"]["200"]
    answer["content"]["application/json"]["example"] = EXAMPLE_PAGE
    answer["headers"] = {
        "X-Request-Id": {"description": "The same as `request_id`.", "schema": {"type": "string"}}
    }
    operation["responses"]["422"] = {
        "description": "A parameter is wrong; `errors` names each one and the fix.",
        "content": _content("Problem", "application/problem+json"),
    }
    return operation


def _operation(
    name: str,
    summary: str,
    shape: str | None,
    media_type: str = "application/json",
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": _content(shape, media_type)},
            **(more or {}),
        },
    }


def _content(shape: str | None, media_type: str) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": _REF.format(model=shape)}} if shape else {}}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is there or not; it is never null."""
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "title")}
    for option in schema.get("anyOf", []):
        if option != {"type": "null"}:
            kept |= option
    if kept.get("default") is None:
        kept.pop("default", None)
    return kept


def _version() -> str:
    try:
        return version("feedwright")
    except PackageNotFoundError:
        return "0"
