"""What the calls return. Fields that a newer server adds are ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

Answer = TypeVar("Answer")


def read(kind: type[Answer], given: Mapping[str, Any]) -> Answer:
    """A dataclass from the members of a JSON object that it knows."""
    names = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in given.items() if name in names})


@dataclass(frozen=True)
class FeedItem:
    """An item of a feed; ``propensity``: how likely it was at this place."""

    item_id: str
    rank: int
    recommendation_score: float = 0.0
    reason: str = ""
    reason_code: str = ""
    reason_parameters: Mapping[str, str] = field(default_factory=dict)
    components: Mapping[str, float | None] = field(default_factory=dict)
    sources: Sequence[str] = ()
    explored: bool = False
    seen: bool = False
    propensity: float = 1.0


@dataclass(frozen=True)
class FeedPage:
    """One page. ``fallback_reason``: why it is not personalised by the model; None: it is."""

    items: list[FeedItem]
    total: int
    has_more: bool = False
    next: str | None = None
    feed_id: str | None = None
    model_version: str | None = None
    variant: str = ""
    fallback_reason: str | None = None
    experiments: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> FeedPage:
        return read(cls, {**given, "items": [read(FeedItem, item) for item in given["items"]]})

    @classmethod
    def of_fallback(cls, item_ids: Sequence[str], error: Exception) -> FeedPage:
        """A page of the caller's own items, for when the server does not answer."""
        items = [FeedItem(item_id, rank) for rank, item_id in enumerate(item_ids, 1)]
        return cls(items, len(items), variant="client", fallback_reason=f"client: {error}")

    @property
    def is_from_server(self) -> bool:
        return self.variant != "client"

    def metadata_of(self, item: FeedItem) -> dict[str, Any]:
        """What to send with an impression or a click, so that versions can be compared."""
        metadata = {
            "feed_id": self.feed_id,
            "variant": self.variant,
            "model_version": self.model_version,
            "position": item.rank,
            "propensity": item.propensity,
        }
        return {name: value for name, value in metadata.items() if value is not None}


@dataclass(frozen=True)
class TrendingItem:
    item_id: str
    rank: int
    trending_score: float
    reason: str = ""
    reason_code: str = ""
    reason_parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NearbyItem:
    item_id: str
    rank: int
    distance_km: float
    reason: str = ""
    reason_code: str = ""
    reason_parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SimilarItem:
    item_id: str
    rank: int
    similarity: float
    by: str = ""
    reason: str = ""
    reason_code: str = ""
    reason_parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RankedItems:
    """``excluded``: id -> the rule that excludes it."""

    items: list[FeedItem]
    excluded: dict[str, str]
    model_version: str | None
    variant: str
    fallback_reason: str | None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> RankedItems:
        items = [read(FeedItem, item) for item in given["items"]]
        excluded = {entry["item_id"]: entry["rule"] for entry in given["excluded"]}
        return read(cls, {**given, "items": items, "excluded": excluded})


@dataclass(frozen=True)
class Recommended:
    """What one of many users is recommended."""

    user_id: str
    items: list[FeedItem]
    variant: str
    fallback_reason: str | None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Recommended:
        return read(cls, {**given, "items": [read(FeedItem, item) for item in given["items"]]})


@dataclass(frozen=True)
class Rejected:
    """An entry or event that the server refused, and why: ``field: message``."""

    entry: Mapping[str, Any]
    reasons: Sequence[str]


@dataclass
class SyncReport:
    """What became of all entries of a sync."""

    created: int = 0
    updated: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    def add(self, entries: Sequence[Mapping[str, Any]], answer: Mapping[str, Any]) -> None:
        """Count one chunk's answer, whose outcomes are in the order of ``entries``."""
        self.created += answer["created"]
        self.updated += answer["updated"]
        for entry, outcome in zip(entries, answer["outcomes"], strict=True):
            if outcome["outcome"] == "rejected":
                reasons = [f"{error['field']}: {error['message']}" for error in outcome["errors"]]
                self.rejected.append(Rejected(entry, reasons))
