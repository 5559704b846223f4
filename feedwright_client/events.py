"""What both clients have in common: events are noted, and sent in the background."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

from feedwright_client.async_tracking import AsyncTracker
from feedwright_client.outbox import Counts, new_event
from feedwright_client.tracking import Tracker

K = TypeVar("K", Tracker, AsyncTracker)


class Tracking(Generic[K]):
    _tracker: K

    def track(
        self,
        type: str,
        *,
        user_id: str | None = None,
        item_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
        event_id: str | None = None,
    ) -> str:
        """Note what a user did; returns at once, and sends in the background.

        Args:
            type: ``click``, ``view``, ``save``, ``search``, …
            user_id: None: an anonymous user.
            metadata: ``page.metadata_of(item)`` for impressions and clicks of a feed;
                ``{"seconds": 31}`` for a dwell.
            occurred_at: with its time zone; default: now.
            event_id: a UUID; default: a new one. The same id is stored once.

        Returns:
            The event's id.
        """
        event = new_event(type, user_id, item_id, metadata, occurred_at, event_id)
        self._tracker.add(event)
        return event["event_id"]

    @property
    def counts(self) -> Counts:
        """Of events: sent, of these duplicates; rejected; dropped."""
        return self._tracker.outbox.counts
