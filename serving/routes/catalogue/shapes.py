"""Shapes of the catalogue, of users and of what is kept for them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from serving.http.fields import (
    MAX_ASKED,
    MAX_ENTRIES,
    MAX_PREFERRED,
    Attributes,
    Id,
    ItemStatus,
    Latitude,
    Longitude,
    PastTime,
    PreferredTags,
    Price,
    Tags,
    Text,
    Time,
    Whole,
    _id,
)


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
