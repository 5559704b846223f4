"""Answers in JSON, with the version of what they show."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.http.request_ids import request_id_of


def answer_json(
    request: Request,
    body: dict[str, Any] | str,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    """``body`` as JSON; a dict gets the ``request_id``."""
    request_id = request_id_of(request)
    return Response(
        body if isinstance(body, str) else orjson.dumps({**body, "request_id": request_id}),
        status,
        headers={"X-Request-Id": request_id, "Cache-Control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def answer_row(
    request: Request, row: str, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """JSON text with its ETag; 304 when the caller has it already."""
    tag = etag(row)
    given = {"ETag": tag, "Cache-Control": "private, no-cache", **(headers or {})}
    if request.method in ("GET", "HEAD") and _named(request, "if-none-match", tag, weak=True):
        return Response(status_code=304, headers={"X-Request-Id": request_id_of(request), **given})
    return answer_json(request, row, status, given)


def etag(row: str) -> str:
    """A strong ETag. The row holds ``updated_at``, so each write gives another."""
    return f'"{blake2b(row.encode(), digest_size=16).hexdigest()}"'


def is_conditional(request: Request) -> bool:
    return "if-match" in request.headers or "if-none-match" in request.headers


def check_version(request: Request, row: str | None) -> None:
    """``If-Match`` and ``If-None-Match`` of a write against what is there now.

    Raises:
        HTTPException: 412, it is not what the caller believes.
    """
    tag = None if row is None else etag(row)
    if "if-match" in request.headers and not _named(request, "if-match", tag):
        raise HTTPException(
            412, "It is not the version that If-Match names: get it again, and decide anew."
        )
    if _named(request, "if-none-match", tag, weak=True):
        raise HTTPException(412, "It is there already, and If-None-Match rules that out.")


def not_found(what: str, id: str) -> HTTPException:
    return HTTPException(404, f"There is no {what} {id!r}.")


def _named(request: Request, header: str, tag: str | None, *, weak: bool = False) -> bool:
    """Whether the header lists ``tag``; ``*`` is any."""
    if tag is None:
        return False
    for part in ",".join(request.headers.getlist(header)).split(","):
        named = part.strip()
        if named == "*" or (named.removeprefix("W/") if weak else named) == tag:
            return True
    return False
