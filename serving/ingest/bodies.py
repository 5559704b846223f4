"""What a request to ingest brings, read within bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.http.inputs import decoded, refuse_unless_json
from serving.http.problems import InvalidParameters
from serving.ingest.shapes import MAX_ENTRIES

MAX_BODY_BYTES = 4 * 2**20
BEACON_KINDS = ("text/plain", "")
"""What ``sendBeacon`` of a browser says of a string, and of a Blob without a type."""


async def read_json(request: Request, arrived: Callable[[int], None]) -> Any:
    """The body.

    Args:
        arrived: called with the bytes of each part as it comes; may raise.

    Raises:
        HTTPException: 415 it is said to be something else, 413 too large; see ``decoded``.
    """
    refuse_unless_json(request, BEACON_KINDS)
    size = request.headers.get("content-length", "")
    if size.isdecimal() and int(size) > MAX_BODY_BYTES:
        _too_large()
    body = bytearray()
    async for chunk in request.stream():
        arrived(len(chunk))
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            _too_large()
    return decoded(body)


def entries_of(body: Any) -> list[Any]:
    """The entries of a batch.

    Raises:
        InvalidParameters: it is no list of 1 to ``MAX_ENTRIES`` entries.
    """
    wrong: list[dict[str, str]] = []
    entries = body
    if isinstance(body, dict):
        entries = body.get("interactions")
        unknown = [name for name in body if name != "interactions"][:10]
        wrong = [{"field": name[:100], "message": "no such field"} for name in unknown]
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_ENTRIES:
        message = f"must be a list of 1 to {MAX_ENTRIES} entries"
        wrong.append({"field": "interactions", "message": message})
    if wrong:
        raise InvalidParameters(wrong)
    return entries


def _too_large() -> NoReturn:
    raise HTTPException(413, f"The body is larger than {MAX_BODY_BYTES // 2**20} MiB: send less.")
