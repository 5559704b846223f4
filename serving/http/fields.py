"""Types of fields that shapes of requests share, each with its limits.

Limits are those of ``storage.loading.values.columns``; a test compares the two.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from storage.loading.values.columns import (
    CLOCK_SLACK,
    EARLIEST,
    LATEST,
    MAX_ID_BYTES,
    MAX_TEXT_BYTES,
)

MAX_ENTRIES = 1_000


MAX_TAGS = 32


MAX_TAG_CHARACTERS = 100


MAX_PREFERRED = 200


MAX_ASKED = 100


MAX_INTEGER = 2**31 - 1


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _id(value: str) -> str:
    if len(value.encode()) > MAX_ID_BYTES:
        raise ValueError(f"must be at most {MAX_ID_BYTES} bytes in UTF-8")
    return no_nul(value)


def no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    return value


def _text(value: str) -> str:
    if len(value.encode()) > MAX_TEXT_BYTES:
        raise ValueError(f"must be at most {MAX_TEXT_BYTES} bytes in UTF-8")
    return no_nul(value)


def _attributes(value: dict[str, Any]) -> dict[str, Any]:
    try:
        text = orjson.dumps([[value]])  # as deep as in a list of rows
    except TypeError as error:
        raise ValueError("is nested too deeply") from error
    if len(text) > MAX_TEXT_BYTES:
        raise ValueError(f"must be at most {MAX_TEXT_BYTES} bytes of JSON")
    # orjson writes NUL as an escape; a backslash before it is one that was escaped itself
    if re.search(rb"(?<!\\)(?:\\\\)*\\u0000", text):
        raise ValueError("must not contain a NUL character")
    return value


def whole_number(value: Any) -> Any:
    """JSON does not tell 5.0 from 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _time(value: Any) -> Any:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be a time with its zone, as in 2026-05-17T09:30:00Z (RFC 3339)")
    try:
        time = datetime.fromisoformat(value.upper())
    except ValueError as error:
        raise ValueError(f"is not a time: {error}") from error
    if not EARLIEST <= time <= LATEST:
        raise ValueError(f"must be between 1970 and {LATEST.year}")
    return time.astimezone(UTC)  # Postgres knows no zone beyond 16 hours


def _past(time: datetime) -> datetime:
    if time > datetime.now(UTC) + CLOCK_SLACK:
        raise ValueError("must not be in the future")
    return time


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_BYTES), AfterValidator(_id)]


Text = Annotated[str, Field(max_length=MAX_TEXT_BYTES), AfterValidator(_text)]


Tag = Annotated[str, Field(min_length=1, max_length=MAX_TAG_CHARACTERS), AfterValidator(no_nul)]


Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]


PreferredTags = Annotated[list[Tag], Field(max_length=MAX_PREFERRED)]


Attributes = Annotated[dict[str, Any], AfterValidator(_attributes)]


Latitude = Annotated[float, Field(ge=-90, le=90)]


Longitude = Annotated[float, Field(ge=-180, le=180)]


Price = Annotated[float, Field(ge=0, le=1e15)]


Whole = Annotated[int, Field(ge=0, le=MAX_INTEGER), BeforeValidator(whole_number)]


Time = Annotated[datetime, BeforeValidator(_time)]


PastTime = Annotated[Time, AfterValidator(_past)]


ItemStatus = Literal["draft", "published", "removed"]


class IdOnly(BaseModel):
    """An id in a path."""

    id: Id
