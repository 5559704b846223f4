"""What changed in the catalogue since it was last looked at, as plain Python values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class ItemRow(NamedTuple):
    """An item as it is now. Times are epoch seconds; None: the product did not tell."""

    id: str
    owner_id: str | None
    tags: list[str]
    category: str | None
    city: str | None
    lat: float | None
    lon: float | None
    price_min: float | None
    price_max: float | None
    status: str
    capacity: int | None
    created_at: float
    publish_at: float | None
    starts_at: float | None
    title: str | None = None


class UserRow(NamedTuple):
    """A user as they are now, with their preferences; ``price_…`` is what they like to pay."""

    id: str
    lat: float | None
    lon: float | None
    city: str | None
    tags: list[str]
    max_distance_km: float | None
    price_min: float | None
    price_max: float | None
    preferred_tags: list[str]
    blocked_tags: list[str]
    blocked_owners: list[str]
    personalization_enabled: bool


class OwnerRow(NamedTuple):
    """An owner as they are now; the quality of all their items follows from it."""

    id: str
    average_rating: float | None
    completion_rate: float | None
    finished_jobs: int | None


@dataclass(frozen=True)
class Changes:
    """Rows that were made or changed, and the ids of those that are gone.

    Attributes:
        position: of the change log once all of this is applied. Applying something again, or
            a newer state of it first, does no harm.
        removed_items: deleted, or in breach of a data rule and so not to be shown; the other
            two likewise.
        erased_users: those who were erased, and when (epoch seconds). One of them may be among
            ``users`` again: another person with the same id.
    """

    position: str
    items: list[ItemRow] = field(default_factory=list)
    users: list[UserRow] = field(default_factory=list)
    owners: list[OwnerRow] = field(default_factory=list)
    removed_items: list[str] = field(default_factory=list)
    removed_users: list[str] = field(default_factory=list)
    removed_owners: list[str] = field(default_factory=list)
    erased_users: dict[str, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Rows and ids in all."""
        rows = len(self.items) + len(self.users) + len(self.owners)
        return rows + sum(map(len, (self.removed_items, self.removed_users, self.removed_owners)))
