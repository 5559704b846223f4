"""Shapes of requests and responses. The OpenAPI document is made from them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Variant = Literal["champion", "heuristic", "time"]
FallbackReason = Literal[
    "no_catalogue",
    "no_model",
    "snapshot_missing",
    "model_load_failed",
    "model_stale",
    "database_unavailable",
    "anonymous",
    "unknown_user",
    "model_error",
    "time_budget_exceeded",
]
MAX_ID_BYTES = 255


class FeedRequest(BaseModel):
    """Query parameters of ``GET /api/v1/feed``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    user_id: Annotated[str | None, Field(min_length=1, max_length=MAX_ID_BYTES)] = Field(
        default=None,
        description="Who the feed is for. Left out: an anonymous viewer.",
        examples=["196"],
    )
    limit: Annotated[int, Field(ge=1, le=100)] = Field(
        default=20, description="Items on the page.", examples=[20]
    )
    offset: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=0, description="Items before the page.", examples=[0]
    )
    sort: Literal["recommended", "time"] = Field(
        default="recommended", description="`time`: newest first, the same for everybody."
    )
    exclude_seen: bool = Field(
        default=False, description="Leave out what the user has touched before."
    )
    exclude_applied: bool = Field(
        default=False, description="Leave out what the user has applied to."
    )
    lat: Annotated[float | None, Field(ge=-90, le=90, allow_inf_nan=False)] = Field(
        default=None,
        description="Where the user is now, in degrees; goes before the place on file. "
        "Only with `lon`.",
        examples=[44.97],
    )
    lon: Annotated[float | None, Field(ge=-180, le=180, allow_inf_nan=False)] = Field(
        default=None, description="In degrees. Only with `lat`.", examples=[-93.26]
    )

    @field_validator("user_id")
    @classmethod
    def _storable(cls, value: str | None) -> str | None:
        if value is not None:
            if len(value.encode()) > MAX_ID_BYTES:
                raise ValueError(f"must be at most {MAX_ID_BYTES} bytes in UTF-8")
            if "\0" in value:
                raise ValueError("must not contain a NUL character")
        return value

    @model_validator(mode="after")
    def _whole_place(self) -> Self:
        if (self.lat is None) != (self.lon is None):
            raise ValueError("lat and lon go together: give both, or neither")
        return self


class FeedItem(BaseModel):
    item_id: str
    rank: int = Field(ge=1, description="Place in the whole feed, from 1.")
    recommendation_score: float = Field(ge=0, le=1)
    reason: str = Field(description="Why it is there, in English.")
    reason_code: str = Field(description="Id of the reason's text, for translation.")
    reason_parameters: dict[str, str] = Field(description="What the text is filled with.")
    components: dict[str, float | None] = Field(
        description="What each scorer gave; null where it knows nothing. A fresh item's "
        "`recency` may be above 1."
    )


class FeedPage(BaseModel):
    """One page of a feed."""

    items: list[FeedItem]
    total: int = Field(ge=0, description="Items of the whole feed.")
    has_more: bool
    model_version: str | None = Field(
        description="Version that ranked the page; null unless the variant is `champion`."
    )
    variant: Variant = Field(description="What ranked the page.")
    fallback_reason: FallbackReason | None = Field(
        description="Why the page is not personalised by the champion; null when it is, and "
        "when `sort=time` was asked for."
    )
    request_id: str


class CatalogueStatus(BaseModel):
    source: Literal["champion", "database", "snapshot"]
    built_at: str
    users: int
    items: int


class Status(BaseModel):
    """What one worker serves from."""

    model_version: str | None
    trained_at: str | None
    variant: Variant
    fallback_reason: FallbackReason | None = Field(
        description="Why known users get no personalised feed at the moment; null: they do."
    )
    detail: str | None = Field(description="The last problem with the champion, in words.")
    catalogue: CatalogueStatus | None
    database_up: bool
    registry_up: bool
    poll_age_seconds: float | None = Field(description="Null before the first poll.")
    worker: int = Field(description="Process id.")


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
