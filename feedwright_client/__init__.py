"""A client for Feedwright's HTTP API, for product services: sync and async, typed.

from feedwright_client import Feedwright

with Feedwright("http://localhost:3000", key="fw_admin_…") as feedwright:
    page = feedwright.feed("196", limit=10)
    feedwright.track("click", user_id="196", item_id=page.items[0].item_id,
                     metadata=page.metadata_of(page.items[0]))
"""

from feedwright_client.answers import (
    FeedItem,
    FeedPage,
    NearbyItem,
    RankedItems,
    Recommended,
    Rejected,
    SimilarItem,
    SyncReport,
    TrendingItem,
)
from feedwright_client.async_client import AsyncFeedwright
from feedwright_client.client import Feedwright
from feedwright_client.errors import FeedwrightError
from feedwright_client.outbox import Event

__all__ = [
    "AsyncFeedwright",
    "Event",
    "FeedItem",
    "FeedPage",
    "Feedwright",
    "FeedwrightError",
    "NearbyItem",
    "RankedItems",
    "Recommended",
    "Rejected",
    "SimilarItem",
    "SyncReport",
    "TrendingItem",
]
