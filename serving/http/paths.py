"""Ids in paths. Routes and access rules match a path whose escapes are undone, but for those of the
slashes in an id: ``users/x%2Fexport`` is the user ``x/export``, not an export.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

_SLASH = re.compile("%2[Ff]")


class AsRouted:
    """A middleware; put it before whatever looks at the path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and b"%" in scope["raw_path"]:
            scope = {**scope, "path": as_routed(scope["raw_path"])}
        await self._app(scope, receive, send)


def as_routed(raw_path: bytes) -> str:
    """The path that routes match. Of its escapes only ``%2F`` and, so that this can be told from
    text, ``%25`` are left."""
    parts = _SLASH.split(raw_path.decode("ascii", "replace"))
    return "%2F".join(unquote(part).replace("%", "%25") for part in parts)


def as_meant(text: str) -> str:
    """A part of a path that routes match, with its last escapes undone."""
    return text.replace("%2F", "/").replace("%25", "%")


def path_of(*parts: str) -> str:
    """The address of something below ``/api/v1``: ``path_of("users", "x/export")``."""
    return "/".join(("/api/v1", *(quote(part, safe="") for part in parts)))


class _Id(Convertor[str]):
    """``{id:id}`` in a path: an id. Its slashes need not be escaped where that is clear."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return as_meant(value)

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


class _FirstId(_Id):
    """``{id:first_id}``: an id that another one follows, so its slashes are escaped."""

    regex = "[^/]*"


class _Number(Convertor[int]):
    """``{id:number}``: a whole number that Postgres can hold. Python would not read any number of
    digits, and raise an error where routes are compared."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("id", _Id())
register_url_convertor("first_id", _FirstId())
register_url_convertor("number", _Number())
