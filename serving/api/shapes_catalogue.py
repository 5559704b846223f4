"""Shapes of the catalogue, of users and of what is kept for them.

Limits are those of ``storage.loading.values.columns``; a test compares the two.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

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


class _Given(BaseModel):
    """What a caller writes: types as they are in JSON, and no field that does nothing."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    updated_at: Any = Field(
        default=None,
        exclude=True,
        description="Set by the server; ignored, so that what was read can be sent back.",
        json_schema_extra={"readOnly": True},
    )


class _WithId(BaseModel):
    id: Id = Field(examples=["listing-7"])


class _MayHaveId(BaseModel):
    id: Id | None = Field(default=None, description="Only as it is in the path, or left out.")


class IdOnly(BaseModel):
    """An id in a path."""

    id: Id


class ItemFields(_Given):
    """Null or left out: the default."""

    owner_id: Id | None = Field(default=None, description="Who posted it.")
    title: Text | None = None
    text: Text | None = None
    tags: Tags | None = Field(default=None, description="Default: none.")
    category: Text | None = None
    city: Text | None = None
    lat: Latitude | None = Field(default=None, description="Degrees; only with `lon`.")
    lon: Longitude | None = Field(default=None, description="Degrees; only with `lat`.")
    price_min: Price | None = Field(default=None, description="At most `price_max`.")
    price_max: Price | None = None
    status: ItemStatus | None = Field(
        default=None, description="Only what is `published`, the default, is shown."
    )
    capacity: Whole | None = Field(default=None, description="Places; null: no limit.")
    created_at: PastTime | None = Field(
        default=None, description="Default: when the item was first written."
    )
    publish_at: Time | None = Field(default=None, description="Not shown before.")
    starts_at: Time | None = Field(default=None, description="Not shown after.")
    attributes: Attributes | None = Field(default=None, description="Whatever the product likes.")


class ItemBody(ItemFields, _MayHaveId):
    """An item without its id."""


class ItemEntry(ItemFields, _WithId):
    """An item with its id."""


class UserFields(_Given):
    """Null or left out: the default."""

    lat: Latitude | None = Field(default=None, description="Degrees; only with `lon`.")
    lon: Longitude | None = Field(default=None, description="Degrees; only with `lat`.")
    city: Text | None = None
    tags: Tags | None = Field(default=None, description="Interests that the user chose.")
    attributes: Attributes | None = Field(default=None, description="Whatever the product likes.")
    created_at: PastTime | None = Field(
        default=None, description="Default: when the user was first written."
    )


class UserBody(UserFields, _MayHaveId):
    """A user without their id."""


class UserEntry(UserFields, _WithId):
    """A user with their id."""


class OwnerFields(_Given):
    average_rating: Annotated[float, Field(ge=0, le=5)] | None = None
    completion_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    finished_jobs: Whole | None = None


class OwnerBody(OwnerFields, _MayHaveId):
    """An owner without their id."""


class OwnerEntry(OwnerFields, _WithId):
    """An owner with their id."""


class Item(BaseModel):
    id: str
    owner_id: str | None
    title: str | None
    text: str | None
    tags: list[str]
    category: str | None
    city: str | None
    lat: float | None
    lon: float | None
    price_min: float | None
    price_max: float | None
    status: ItemStatus
    capacity: int | None
    created_at: datetime
    publish_at: datetime | None
    starts_at: datetime | None
    attributes: dict[str, Any]
    updated_at: datetime


class User(BaseModel):
    id: str
    lat: float | None
    lon: float | None
    city: str | None
    tags: list[str]
    attributes: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class Owner(BaseModel):
    id: str
    average_rating: float | None
    completion_rate: float | None
    finished_jobs: int | None
    updated_at: datetime


class ItemsEnvelope(BaseModel):
    """Up to 1000 items, each whole: what an entry does not name gets its default."""

    items: list[ItemEntry] = Field(min_length=1, max_length=MAX_ENTRIES)


class UsersEnvelope(BaseModel):
    """Up to 1000 users, each whole: what an entry does not name gets its default."""

    users: list[UserEntry] = Field(min_length=1, max_length=MAX_ENTRIES)


class OwnersEnvelope(BaseModel):
    """Up to 1000 owners, each whole: what an entry does not name gets its default."""

    owners: list[OwnerEntry] = Field(min_length=1, max_length=MAX_ENTRIES)


class EntryError(BaseModel):
    field: str = Field(examples=["items.3.lat"])
    message: str


class EntryOutcome(BaseModel):
    id: str | None = Field(description="Null where the entry has no id.")
    outcome: Literal["created", "updated", "rejected"]
    errors: list[EntryError]


class BulkOutcome(BaseModel):
    """What became of each entry, in the order of the request."""

    outcomes: list[EntryOutcome]
    created: int
    updated: int
    rejected: int
    request_id: str


class AskedItems(BaseModel):
    """Query of ``GET /items``."""

    ids: str = Field(
        min_length=1,
        description=f"Up to {MAX_ASKED} ids with commas between; ask for an id that has a comma "
        "alone, at `/items/{id}`.",
        examples=["listing-7,listing-9"],
    )


class FoundItems(BaseModel):
    items: list[Item] = Field(description="In the order asked for, each once.")
    missing: list[str] = Field(description="Ids that no item has.")
    request_id: str


class AskedUsers(BaseModel):
    """Query of ``GET /users``."""

    q: Annotated[str, AfterValidator(_id)] = Field(
        default="", description="What the id starts with.", examples=["19"]
    )
    limit: Annotated[int, Field(ge=1, le=100)] = Field(default=20, description="Users on the page.")
    after: Annotated[str, AfterValidator(_id)] = Field(
        default="", description="The last id of the page before.", examples=["196"]
    )


class FoundUsers(BaseModel):
    users: list[User] = Field(description="By id.")
    next: str | None = Field(description="Path of the next page; null on the last one.")
    request_id: str


class OfUser(BaseModel):
    """Query that names a user."""

    user_id: Id = Field(description="Whose.", examples=["196"])


class PreferencesBody(_Given):
    """The fields to change; null goes back to the default."""

    user_id: Id | None = Field(default=None, description="Only as it is in the query, or left out.")
    max_distance_km: Annotated[float, Field(gt=0, le=50_000)] | None = Field(
        default=None, description="Null: no limit of their own."
    )
    preferred_price_min: Price | None = Field(
        default=None, description="At most `preferred_price_max`."
    )
    preferred_price_max: Price | None = None
    preferred_tags: PreferredTags | None = None
    blocked_tags: PreferredTags | None = Field(
        default=None, description="None of `preferred_tags`."
    )
    blocked_owners: Annotated[list[Id], Field(max_length=MAX_PREFERRED)] | None = None
    personalization_enabled: bool | None = Field(default=None, description="Default: true.")


class Preferences(BaseModel):
    user_id: str
    max_distance_km: float | None
    preferred_price_min: float | None
    preferred_price_max: float | None
    preferred_tags: list[str]
    blocked_tags: list[str]
    blocked_owners: list[str]
    personalization_enabled: bool
    updated_at: datetime | None = Field(description="Null: these are the defaults.")


class AskedRecommendations(BaseModel):
    """Query of ``GET /recommendations/{user_id}``."""

    limit: Annotated[int, Field(ge=1, le=100)] = Field(default=20, description="Items at most.")


class Recommendation(BaseModel):
    item_id: str
    rank: int = Field(ge=1)
    score: float = Field(description="In [0, 1].")
    reason: str = Field(description="Why it is there, in English.")
    reason_code: str = Field(description="Id of the reason's text, for translation.")
    reason_parameters: dict[str, str] = Field(description="What the text is filled with.")


class Recommendations(BaseModel):
    """The list that the pipeline keeps ready; empty while there is none."""

    user_id: str
    model_version: str | None
    generated_at: datetime | None
    items: list[Recommendation]
    request_id: str


Row = dict[str, Any]


class UserExport(BaseModel):
    """Rows as they are stored."""

    user: Row | None = Field(description="Null: only other tables know the user.")
    preferences: Row | None
    implicit_interests: list[Row]
    recommendations: list[Row]
    user_similarities: list[Row]
    experiment_assignments: list[Row]
    refresh_queue: list[Row]
    variant_hours: list[Row] = Field(
        description="What they did, counted by hour, variant and experiment."
    )
    interactions: list[Row]
    rejected: list[Row]
    lake: str = Field(description="What the interaction lake holds beside these rows.")
