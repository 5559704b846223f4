"""Shapes of the read calls."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from models.profile.feed_sections import Eligibility, Names, ScorerName, ScorerSettings
from serving.feed.excluded import ExcludedItem
from serving.feed.shapes import FeedItem, SourceName
from serving.http.fields import Id, Latitude, Longitude, Text, whole_number
from serving.versions.fallback import FallbackReason, Variant

MAX_RANKED = 1_000
MAX_USERS = 100
FARTHEST_KM = 20_037.0
"""Half of the way round the Earth."""


def _distinct(ids: list[str]) -> list[str]:
    if len(set(ids)) < len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise ValueError(f"{twice!r} is given more than once: give each id once")
    return ids


DistinctIds = Annotated[
    list[Id], AfterValidator(_distinct), Field(json_schema_extra={"uniqueItems": True})
]
Limit = Annotated[int, Field(ge=1, le=100), BeforeValidator(whole_number)]
UserId = Annotated[
    Id | None,
    Field(description="Who looks: their rules hold. Left out: an anonymous viewer."),
]


class _Body(BaseModel):
    """Types as they are in JSON, and no field that does nothing."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class TrendingQuery(BaseModel):
    limit: Annotated[int, Field(ge=1, le=100)] = Field(default=20, description="Items at most.")
    hours: Annotated[int, Field(ge=1, le=720)] = Field(
        default=168, description="Of so many hours, or the next longer window that is counted."
    )
    user_id: UserId = None


class SimilarQuery(BaseModel):
    limit: Annotated[int, Field(ge=1, le=100)] = Field(default=20, description="Items at most.")
    user_id: UserId = None


class NearbyBody(_Body):
    lat: Latitude = Field(description="Degrees.")
    lon: Longitude = Field(description="Degrees.")
    radius_km: Annotated[float, Field(gt=0, le=FARTHEST_KM)] | None = Field(
        default=None, description="Default: the profile's `max_distance_km`."
    )
    limit: Limit = Field(default=20, description="Items at most.")
    user_id: UserId = None
    category: Text | None = Field(default=None, description="Only items of this category.")


class PairIds(BaseModel):
    """The path of ``/features/pairs``."""

    user_id: Id
    item_id: Id


class RankBody(_Body):
    item_ids: DistinctIds = Field(
        min_length=1, max_length=MAX_RANKED, description="What to rank, each once."
    )
    user_id: Id | None = Field(default=None, description="Left out: an anonymous viewer.")
    lat: Latitude | None = Field(
        default=None, description="Where the user is now, in degrees; only with `lon`."
    )
    lon: Longitude | None = Field(default=None, description="In degrees; only with `lat`.")
    variant: Literal["champion", "heuristic", "time"] | None = Field(
        default=None, description="Ask for one way to rank. Left out: the champion, if it can."
    )


class RecommendBody(_Body):
    user_ids: DistinctIds = Field(min_length=1, max_length=MAX_USERS)
    limit: Limit = Field(default=20, description="Items a user.")
    exclude_seen: bool | None = Field(
        default=None, description="Leave out what the user has touched; as in `GET /feed`."
    )
    exclude_applied: bool | None = Field(
        default=None, description="Leave out what the user has applied to; as in `GET /feed`."
    )


class _Shown(BaseModel):
    item_id: str
    rank: int = Field(ge=1)
    reason: str = Field(description="Why it is there, in English.")
    reason_code: str = Field(description="Id of the reason's text, for translation.")
    reason_parameters: dict[str, str] = Field(description="What the text is filled with.")


class TrendingItem(_Shown):
    trending_score: float = Field(ge=0, le=1, description="1 for the top item.")


class TrendingItems(BaseModel):
    items: list[TrendingItem] = Field(description="The most trending first.")
    hours: int | None = Field(
        description="The window that was counted; null: that of the model's own data."
    )
    request_id: str


class NearbyItem(_Shown):
    distance_km: float = Field(ge=0, description="Along a great circle.")


class NearbyItems(BaseModel):
    items: list[NearbyItem] = Field(description="The nearest first.")
    request_id: str


class SimilarItem(_Shown):
    similarity: float = Field(ge=0, le=1, description="A cosine.")
    by: Literal["people", "content"] = Field(
        description="`people`: the same users liked both. `content`: tags, category, city and "
        "price are alike; these come after the others."
    )


class SimilarItems(BaseModel):
    items: list[SimilarItem]
    request_id: str


class RankedItems(BaseModel):
    items: list[FeedItem] = Field(description="The best first.")
    excluded: list[ExcludedItem] = Field(description="In the order of the request.")
    model_version: str | None = Field(
        description="Version that ranked; null unless the variant is `champion`."
    )
    variant: Variant
    fallback_reason: FallbackReason | None
    request_id: str


class RecommendedTo(BaseModel):
    user_id: str
    items: list[FeedItem]
    variant: Variant
    fallback_reason: FallbackReason | None = Field(
        description="Why the champion did not rank for this user; null: it did."
    )


class RecommendedItems(BaseModel):
    users: list[RecommendedTo] = Field(description="In the order of the request.")
    model_version: str | None = Field(
        description="Version that ranked where the variant is `champion`; null: none did."
    )
    request_id: str


class Weighed(BaseModel):
    name: str
    weight: float = Field(description="How much was liked, in no unit.")


class Taste(BaseModel):
    tags: list[Weighed]
    categories: list[Weighed]


class Counts(BaseModel):
    seen: int
    liked: int
    applied: int


class RecentItem(BaseModel):
    item_id: str
    title: str
    type: str | None


class SimilarUser(BaseModel):
    user_id: str
    similarity: float


class WishesShown(BaseModel):
    max_distance_km: float | None
    preferred_price_min: float | None
    preferred_price_max: float | None
    blocked_tags: list[str]
    blocked_owners: list[str]
    personalization_enabled: bool


class UserFeatures(BaseModel):
    """What ranking sees of a user."""

    user_id: str
    in_model: bool = Field(description="Training knew the user.")
    has_vector: bool
    vector_norm: float | None
    lat: float | None
    lon: float | None
    tags: list[str] = Field(description="Chosen interests and preferred tags.")
    owner_id: str | None = Field(description="The owner that this user is.")
    counts: Counts = Field(description="Items, as training saw them.")
    taste: Taste = Field(description="What they liked, at most ten of each, most first.")
    recent: list[RecentItem] = Field(description="Liked last, the newest first.")
    similar_users: list[SimilarUser] = Field(description="At most ten, the most similar first.")
    wishes: WishesShown
    model_version: str | None


class SimilarTo(BaseModel):
    item_id: str
    similarity: float


class ItemFeatures(BaseModel):
    """What ranking sees of an item."""

    item_id: str
    title: str
    in_model: bool = Field(description="Training knew the item.")
    has_vector: bool
    vector_norm: float | None
    bias: float = Field(description="How popular it is to the model, whoever looks.")
    published: bool
    created_at: str | None
    publish_at: str | None
    starts_at: str | None
    appeared_at: str | None = Field(description="Made or published, whichever came later.")
    lat: float | None
    lon: float | None
    city: str | None
    category: str | None
    tags: list[str]
    price_min: float | None
    price_max: float | None
    price_band: int | None = Field(description="0 to 7, each twice as dear as the one before.")
    capacity: int | None = Field(description="Null: no limit.")
    applied: int
    impressions: int
    clicks: int
    owner_id: str | None
    owner_quality: float | None
    engagement: float
    trending: float
    similar_items: list[SimilarTo] = Field(description="At most ten, the most similar first.")
    changed: bool = Field(description="Written since the model's data was read.")
    model_version: str | None


class ModelScore(BaseModel):
    raw: float = Field(description="`user · item + bias`, what ranks.")
    unit: float = Field(ge=0, le=1, description="The same as the feed shows it.")


class PairFeatures(BaseModel):
    """What ranking makes of an item for a user."""

    user_id: str
    item_id: str
    components: dict[ScorerName, float | None] = Field(
        description="Every scorer, whether the profile weighs it or not; null: missing."
    )
    weights: dict[ScorerName, float] = Field(description="The profile's.")
    hybrid: float = Field(
        description="Weighted mean of the components: what the heuristic ranks by."
    )
    model: ModelScore | None = Field(description="Null: the model does not rank for this user.")
    reason: str
    reason_code: str
    reason_parameters: dict[str, str]
    rules_broken: list[str] = Field(description="Empty: the item may be shown.")
    seen: bool = Field(description="`exclude_seen` would leave it out.")
    applied: bool = Field(description="`exclude_applied` would leave it out.")
    sources: list[SourceName] = Field(description="Those that name it as a candidate.")
    model_version: str | None


class ShownProfile(BaseModel):
    names: Names
    scorer_weights: dict[ScorerName, float]
    scorers: ScorerSettings
    eligibility: Eligibility


class Profiles(BaseModel):
    active: str
    profiles: dict[str, ShownProfile] = Field(description="Those that ship, and the active one.")


class ReasonText(BaseModel):
    text: str = Field(examples=["Near you: {city}"])
    parameters: list[str] = Field(description="What the text is filled with.", examples=[["city"]])


class ReasonTexts(BaseModel):
    """Texts of the reasons in English, by ``reason_code``."""

    reasons: dict[str, ReasonText]
