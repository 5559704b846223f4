"""Which columns a log may have, and what each must hold: one table for reading, checking, writing
and loading, for the API, for the quarantine and for the suites of ``data_checks``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from models.profile.training_sections import Checks

Entity = Literal["users", "items", "owners", "interactions"]
Kind = Literal["id", "uuid", "text", "tags", "json", "number", "whole", "time", "type", "status"]

ENTITIES: tuple[Entity, ...] = ("users", "owners", "items", "interactions")
STATUSES = ("draft", "published", "removed")
MAX_ID_BYTES = 255
MAX_TEXT_BYTES = 65_536
MAX_WHOLE = 2**31 - 1
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)  # of times that may lie after now; end of year 9999
CLOCK_SLACK = timedelta(minutes=Checks().max_future_minutes)
"""A client's clock may run a little ahead of ours; a profile can allow more, not less."""

SQL_TYPES: dict[Kind, str] = {
    "id": "text",
    "uuid": "uuid",
    "text": "text",
    "tags": "text[]",
    "json": "jsonb",
    "number": "double precision",
    "whole": "integer",
    "time": "timestamptz",
    "type": "text",
    "status": "text",
}


@dataclass(frozen=True)
class Column:
    """One column. ``low`` and ``high`` bound numbers, both ends included.

    ``required``: the file must have the column. ``filled``: no cell may be empty.
    ``future``: a time that may lie after now. ``passes``: it is a plan until then, and over after.
    """

    name: str
    kind: Kind
    required: bool = False
    filled: bool = False
    low: float = 0.0
    high: float = 1e15
    future: bool = False
    passes: bool = False


_PLACE = (
    Column("lat", "number", low=-90, high=90),
    Column("lon", "number", low=-180, high=180),
    Column("city", "text"),
)
_ID = Column("id", "id", required=True, filled=True)

COLUMNS: dict[Entity, tuple[Column, ...]] = {
    "users": (
        _ID,
        *_PLACE,
        Column("tags", "tags"),
        Column("attributes", "json"),
        Column("created_at", "time"),
    ),
    "owners": (
        _ID,
        Column("average_rating", "number", high=5),
        Column("completion_rate", "number", high=1),
        Column("finished_jobs", "whole"),
    ),
    "items": (
        _ID,
        Column("owner_id", "id"),
        Column("title", "text"),
        Column("text", "text"),
        Column("tags", "tags"),
        Column("category", "text"),
        *_PLACE,
        Column("price_min", "number"),
        Column("price_max", "number"),
        Column("status", "status"),
        Column("capacity", "whole"),
        Column("created_at", "time"),
        Column("publish_at", "time", future=True, passes=True),
        Column("starts_at", "time", future=True),
        Column("attributes", "json"),
    ),
    "interactions": (
        Column("event_id", "uuid"),
        Column("user_id", "id", required=True),
        Column("item_id", "id", required=True),
        Column("type", "type", required=True, filled=True),
        Column("occurred_at", "time", required=True, filled=True),
        Column("metadata", "json"),
    ),
}


def key(entity: Entity) -> str:
    """The column that tells rows of ``entity`` apart."""
    return "event_id" if entity == "interactions" else "id"
