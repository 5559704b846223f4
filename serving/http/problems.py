"""Errors of the HTTP API, as problem documents (RFC 9457)."""

from __future__ import annotations

import logging
from http import HTTPStatus

import orjson
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.http.json_bodies import as_text
from serving.http.request_ids import request_id_of
from serving.postgres.database import DatabaseAway

log = logging.getLogger("feedwright.serving")
MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2
LONGEST = 900
"""Characters of a message; what was sent may be in it."""


class InvalidParameters(Exception):
    """A request that cannot be answered as it is; ``errors`` names each field and the fix."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__("; ".join(f"{error['field']}: {error['message']}" for error in errors))
        self.errors = errors


def problem(
    request: Request,
    status: int,
    detail: str,
    errors: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    request_id = request_id_of(request)
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": _cut(detail),
        "errors": [{name: _cut(text) for name, text in error.items()} for error in errors or []],
        "request_id": request_id,
    }
    return Response(
        orjson.dumps(body),
        status,
        headers={"X-Request-Id": request_id, **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def _cut(text: str) -> str:
    """Fit for an answer, of whatever a caller sent."""
    text = as_text(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def on_invalid_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidParameters)
    return problem(request, 422, str(error), error.errors)


def on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(request, error.status_code, error.detail, headers=dict(error.headers or {}))


def on_database_away(request: Request, error: Exception) -> Response:
    retry = {"Retry-After": str(RETRY_SECONDS)}
    detail = f"The database does not answer: {error}. Try again."
    return problem(request, 503, detail, headers=retry)


def on_exception(request: Request, error: Exception) -> Response:
    # Not the path: it may name a user. The line "request" has the route.
    log.error("request failed", exc_info=error, extra={"request_id": request_id_of(request)})
    return problem(request, 500, "Something failed on our side; the log names the request_id.")


EXCEPTION_HANDLERS = {
    InvalidParameters: on_invalid_parameters,
    HTTPException: on_http_exception,
    DatabaseAway: on_database_away,
    Exception: on_exception,
}
"""For Starlette."""


class ProblemError(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["limit: Input should be less than or equal to 100"])
    errors: list[ProblemError] = []
    request_id: str
