"""The id by which a request is found in logs: the caller's own, or a new one."""

from __future__ import annotations

from uuid import uuid4

from starlette.requests import Request

MAX_LENGTH = 128


def request_id_of(request: Request) -> str:
    """``X-Request-Id`` if it is 1 to 128 printable ASCII characters, else a new id.

    The same for every call of one request.
    """
    request_id: str | None = request.scope.get("feedwright.request_id")
    if request_id is None:
        given = request.headers.get("x-request-id", "")
        usable = 0 < len(given) <= MAX_LENGTH and given.isascii() and given.isprintable()
        request_id = given if usable else uuid4().hex
        request.scope["feedwright.request_id"] = request_id
    return request_id
