"""Shapes of ingest. They describe; ``checking`` checks, since that must be quick."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from models.profile.interaction_types import DEFAULT_TYPES
from serving.http.fields import no_nul
from storage.loading.values.columns import MAX_ID_BYTES, Entity

MAX_ENTRIES = 1_000
_TIME: JsonDict = {"format": "date-time"}


class InteractionFields(BaseModel):
    """What every event says of itself."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(
        examples=list(DEFAULT_TYPES.names),
        description="One of the active profile's: the examples are always there.",
    )
    occurred_at: str | None = Field(
        default=None,
        json_schema_extra=_TIME,
        description="RFC 3339, with the zone. Left out, in the future, or older than events are "
        "kept: the time of receipt is stored, and the claim in `metadata.clock`. A retry repeats "
        "it.",
    )
    metadata: dict[str, Any] | None = Field(
        default=None, description="At most 16 KiB of JSON; of a dwell `seconds`, for one."
    )


class Interaction(InteractionFields):
    """One thing that a user did."""

    event_id: str = Field(
        json_schema_extra={"format": "uuid"}, description="Made by the client; a retry repeats it."
    )
    user_id: str | None = Field(
        default=None, min_length=1, max_length=MAX_ID_BYTES, description="Null: anonymous."
    )
    item_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_ID_BYTES,
        description="Required but for `search` and `filter`.",
    )


class OneInteraction(InteractionFields):
    """An event on the item in the path, of the user in the query."""

    event_id: str | None = Field(
        default=None,
        json_schema_extra={"format": "uuid"},
        description="Left out, a retry is another event.",
    )


class Interactions(BaseModel):
    """Events in a batch; the bare list is taken too."""

    interactions: list[Interaction] = Field(min_length=1, max_length=MAX_ENTRIES)


class OfUser(BaseModel):
    user_id: str | None = Field(
        default=None, min_length=1, max_length=MAX_ID_BYTES, description="Left out: anonymous."
    )


class Outcome(BaseModel):
    """What became of one entry."""

    event_id: str | None = Field(description="As it was sent; null if it is no text.")
    outcome: Literal["accepted", "duplicate", "rejected"]
    reason: str | None = Field(description="Why it was rejected.")
    field: str | None = Field(default=None, description="The field at fault.")
    retry_after: int | None = Field(
        default=None,
        description="Seconds after which this entry alone may be sent again: it is over the rate "
        "limit of its user, and is not kept.",
    )


class Outcomes(BaseModel):
    """What became of each entry, in their order. What is not rejected is durable."""

    results: list[Outcome]
    accepted: int
    duplicates: int
    rejected: int
    request_id: str


class RejectedRow(BaseModel):
    """A row that was refused."""

    id: int
    entity: Entity
    source: str = Field(description="`api`, `pipeline`, or the file that was loaded.")
    row_number: int | None
    reason: str
    raw: str = Field(description="As it came: JSON text, or the line that is no JSON.")
    rejected_at: str = Field(json_schema_extra=_TIME)


class RejectedPage(BaseModel):
    rows: list[RejectedRow]
    next_after: int | None = Field(description="`after` of the next page; null: this is the last.")
    request_id: str


class RejectedAsked(BaseModel):
    limit: int = Field(default=20, ge=1, le=1_000)
    after: int | None = Field(
        default=None, ge=0, le=2**63 - 1, description="Only rows with smaller ids."
    )
    entity: Entity | None = None


class ReplayAsked(BaseModel):
    """Which refused interactions to take in again: those of ``ids``, or else all in turn."""

    model_config = ConfigDict(strict=True, extra="forbid")

    ids: list[int] | None = Field(default=None, min_length=1, max_length=1_000)
    reason: Annotated[str, AfterValidator(no_nul)] = Field(
        default="", max_length=500, description="Only with this in the reason."
    )
    after: int = Field(default=0, ge=0, le=2**63 - 1, description="Only rows with larger ids.")
    limit: int = Field(default=1_000, ge=1, le=1_000)


class Replayed(BaseModel):
    """What became of one refused row. It is gone unless it was rejected again."""

    id: int
    outcome: Literal["accepted", "duplicate", "rejected"]
    reason: str | None


class ReplayOutcome(BaseModel):
    results: list[Replayed]
    accepted: int
    duplicates: int
    rejected: int
    next_after: int | None = Field(description="`after` of the next call; null: that was all.")
    request_id: str
