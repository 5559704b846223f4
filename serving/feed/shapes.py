"""Shapes of requests and responses. The OpenAPI document is made from them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from starlette.datastructures import QueryParams

from models.feed.candidates.sources import SOURCES
from models.feed.context import Device
from models.profile.feed_sections import ScorerName
from serving.http.problems import InvalidParameters
from serving.versions.fallback import FallbackReason, Variant

MAX_ID_BYTES = 255
SourceName = Annotated[str, Field(json_schema_extra={"enum": list(SOURCES)})]


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
        default="recommended",
        description="`time`: newest first (events: what starts soonest), whoever asks.",
    )
    exclude_seen: bool | None = Field(
        default=None,
        description="`true`: leave out what the user has touched before. Left out: as the profile "
        "has it, which leaves it out where it does not say; but who has seen nearly all gets it "
        "again, behind what is new, with `seen` on the item.",
    )
    exclude_applied: bool | None = Field(
        default=None,
        description="Leave out what the user has applied to. Left out: as the profile has it, "
        "which is `true` where it does not say.",
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
    device: Device | None = Field(
        default=None,
        description="What the feed is looked at on: the ranker may have learnt that it matters. "
        "Left out: what a browser's `User-Agent` tells; give it where your server asks.",
    )
    feed_id: Annotated[str | None, Field(pattern=r"^[0-9A-Za-z_-]{16,64}$")] = Field(
        default=None,
        description="The feed that this is a page of, as its first page named it. Left out with "
        "an `offset`: the user's last feed with the same parameters.",
    )
    variant: Variant | None = Field(
        default=None,
        description="Ask for one way to rank, to compare them; no flag and no experiment changes "
        "it. A challenger that no experiment needs is loaded when it is asked for: until then the "
        "champion answers, with `challenger_unavailable`. Left out: the best there is.",
    )
    profile: Literal["marketplace", "social", "events"] | None = Field(
        default=None,
        description="Preview: weigh the scorers as that profile does. The heuristic ranks.",
    )
    weights: dict[ScorerName, float] | None = Field(
        default=None,
        description="Preview: own weights of the scorers, as `location:25,tags:20`. "
        "The heuristic ranks.",
        examples=["location:25,tags:20,recency:10"],
    )

    @field_validator("weights", mode="before")
    @classmethod
    def _parsed(cls, value: object) -> object:
        """``location:25,tags:20`` as a mapping."""
        if not isinstance(value, str):
            return value
        weights: dict[str, float] = {}
        for pair in value.split(","):
            name, _, number = pair.partition(":")
            try:
                weights[name.strip()] = float(number)
            except ValueError:
                raise ValueError(
                    f"{pair!r} is not name:number; write location:25,tags:20"
                ) from None
        return weights

    @field_validator("weights")
    @classmethod
    def _usable(cls, value: dict[ScorerName, float] | None) -> dict[ScorerName, float] | None:
        if value is not None:
            if not all(0 <= weight <= 1e6 for weight in value.values()):
                raise ValueError("every weight must be from 0 to 1000000")
            if not any(value.values()):
                raise ValueError("at least one weight must be above 0")
        return value

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
    recommendation_score: float = Field(
        ge=0,
        le=1,
        description="Higher is better. Where the ranker put the item in its place, the chance "
        "that the user likes it when it is shown; where the profile gives actions a value, what it "
        "is worth: the sum of value times probability, from 0 for the worst that there could be to "
        "1 for the best. `components.ranker` has it too.",
    )
    reason: str = Field(description="Why it is there, in English.")
    reason_code: str = Field(description="Id of the reason's text, for translation.")
    reason_parameters: dict[str, str] = Field(description="What the text is filled with.")
    components: dict[str, float | None] = Field(
        description="What each scorer gave, 0 to 1; null where it knows nothing. `model` is "
        "the recommender's own score, `table.ease` the share that this table has of it, where "
        "the version is a blend, `ranker` the score of the ranker behind it, `probability.click` "
        "how likely this action is when the item is shown, where the profile's `ranker.values` "
        "weigh it; both null for items below those that the ranker looks at."
    )
    sources: list[SourceName] = Field(description="Where the candidate came from.")
    explored: bool = Field(description="A new item that exploration put there.")
    seen: bool = Field(
        description="The user has touched it before: it is there since little else is left."
    )
    propensity: float = Field(
        gt=0,
        le=1,
        description="How likely this item was at this place, given those before it. Send it back "
        "with the impression: it is what off-policy estimates need.",
    )


class FeedPage(BaseModel):
    """One page of a feed."""

    items: list[FeedItem]
    total: int = Field(ge=0, description="Items of the whole feed, over all its pages.")
    has_more: bool
    next: str | None = Field(
        description="Path of the next page; null on the last one.",
        examples=["/api/v1/feed?user_id=196&limit=20&offset=20&feed_id=…"],
    )
    feed_id: str | None = Field(
        description="Names this feed; its pages fit together for the profile's `list_minutes`."
    )
    model_version: str | None = Field(
        description="Version that ranked the page; null unless the variant is `champion` or "
        "`challenger`."
    )
    variant: Variant = Field(description="What ranked the page.")
    fallback_reason: FallbackReason | None = Field(
        description="Why something else ranked than would have; null when the champion did, what "
        "an experiment gives this user, or what was asked for."
    )
    experiments: dict[str, str] = Field(
        description="The user's arm by experiment; empty: none, anonymous, or the request asked "
        "for a way to rank. The arm stays when a fallback answered.",
        examples=[{"warmer-start": "challenger"}],
    )
    request_id: str


class CatalogueStatus(BaseModel):
    source: Literal["champion", "database", "snapshot"]
    built_at: str
    tables_refreshed: str | None = Field(
        description="Since the training, tables were brought up to date: up to when (UTC); null: "
        "they are those of the training.",
        examples=["20261201T103500123456Z"],
    )
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
    challenger_version: str | None = Field(
        description="Version that is loaded beside the champion; null: no experiment needs it."
    )
    catalogue: CatalogueStatus | None
    database_up: bool
    registry_up: bool
    poll_age_seconds: float | None = Field(description="Null before the first poll.")
    catalogue_lag_seconds: float | None = Field(
        description="Since the change log was last read to its end; null: never yet."
    )
    profile: str = Field(description="Name of the profile in use.")
    profile_problem: str | None = Field(
        description="Why the profile's file as it is now is not in use; null: it is."
    )
    worker: int = Field(description="Process id.")


def parse_feed_request(query: QueryParams) -> FeedRequest:
    """The typed request.

    Raises:
        InvalidParameters: a value is out of bounds, of the wrong kind, or given twice.
    """
    pairs = query.multi_items()
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        raise InvalidParameters(
            [
                {"field": name, "message": "given more than once: give it once"}
                for name in values
                if names.count(name) > 1
            ]
        )
    try:
        return FeedRequest.model_validate(values)
    except ValidationError as error:
        raise InvalidParameters(
            [
                {
                    "field": ".".join(map(str, problem["loc"])) or "lat, lon",
                    "message": problem["msg"].removeprefix("Value error, "),
                }
                for problem in error.errors()
            ]
        ) from error
