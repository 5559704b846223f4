"""The OpenAPI document of the API, made from the declarations of its calls."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from serving import admin, ingest, pages, routes
from serving.access import user_tokens
from serving.http.describe import operation, shapes_of
from serving.http.endpoints import Endpoint
from serving.http.problems import Problem

GROUPS = (*routes.GROUPS, *ingest.GROUPS, *admin.GROUPS, user_tokens.endpoints, *pages.GROUPS)
ENDPOINTS: tuple[Endpoint, ...] = tuple(endpoint for group in GROUPS for endpoint in group)
"""Every call there is."""
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key: `fw_<scope>_…`."},
    "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "user_token": {"type": "apiKey", "in": "header", "name": "X-User-Token"},
}
"""Who may call what is in ``SECURITY.md``; on this machine alone, no key is needed."""


def document(endpoints: Iterable[Endpoint] = ENDPOINTS) -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    described = [endpoint for endpoint in endpoints if endpoint.name]
    # A dict keeps their order.
    shapes: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Problem, "serialization"): None}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in described:
        shapes |= dict.fromkeys(shapes_of(endpoint))
        paths.setdefault(endpoint.template, {})[endpoint.method.lower()] = operation(endpoint)
    _, schemas = models_json_schema(list(shapes), ref_template="#/components/schemas/{model}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Feedwright",
            "version": _version(),
            "description": "A feed, ranked for each user, with a reason for every item. "
            "It always answers: `fallback_reason` says when something else than the champion did.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas["$defs"], "securitySchemes": SECURITY},
        "security": [{}, {"bearer": []}, {"key": []}],
    }


@cache
def encoded() -> bytes:
    """The document as JSON; making it takes a quarter of a second."""
    return orjson.dumps(document())


def _version() -> str:
    try:
        return version("feedwright")
    except PackageNotFoundError:
        return "0"
