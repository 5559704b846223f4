"""The client for asyncio."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx

from feedwright_client import calls
from feedwright_client.answers import (
    FeedPage,
    NearbyItem,
    RankedItems,
    Recommended,
    SimilarItem,
    SyncReport,
    TrendingItem,
)
from feedwright_client.async_tracking import AsyncTracker
from feedwright_client.calls import Call
from feedwright_client.errors import FeedwrightError
from feedwright_client.outbox import QUEUE_EVENTS, Counts, Event, OnRejected, new_event
from feedwright_client.retries import TEMPORARY, pause

T = TypeVar("T")
EXIT_SECONDS = 5.0


class AsyncFeedwright:
    """The calls of ``Feedwright``, to be awaited. Use one in one event loop."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 5.0,
        max_queued: int = QUEUE_EVENTS,
        on_rejected: OnRejected | None = None,
    ) -> None:
        """
        Args:
            url: of the service, such as ``https://feed.example.com``.
            key: ``fw_…``; none is needed on the machine of a local installation.
            timeout: seconds that a call may take, repeated attempts included.
            max_queued: events that wait to be sent; when there are so many, new ones are
                dropped and counted in ``counts.dropped``.
            on_rejected: called in the event loop with each event that was refused.
        """
        self._url, self._timeout = url.rstrip("/"), timeout
        headers = calls.headers(key)
        self._http = httpx.AsyncClient(base_url=self._url, headers=headers)
        self._tracker = AsyncTracker(self._url, headers, max(timeout, 5.0), max_queued, on_rejected)
        # At the end of the program: what an event loop that is gone has left behind.
        self._finish = weakref.finalize(self, self._tracker.send_rest, EXIT_SECONDS)

    async def feed(
        self,
        user_id: str | None = None,
        *,
        limit: int = 20,
        offset: int = 0,
        sort: Literal["recommended", "time"] | None = None,
        exclude_seen: bool | None = None,
        exclude_applied: bool | None = None,
        lat: float | None = None,
        lon: float | None = None,
        device: Literal["phone", "tablet", "desktop"] | None = None,
        feed_id: str | None = None,
        variant: str | None = None,
        profile: str | None = None,
        weights: Mapping[str, float] | None = None,
        timeout: float | None = None,
        fallback: Sequence[str] | None = None,
    ) -> FeedPage:
        """A page of a user's feed; of an anonymous viewer's without ``user_id``.

        Args:
            timeout: seconds for this call.
            fallback: ids of items to show when the server does not answer in time, or fails:
                then nothing is raised, and ``page.is_from_server`` is false. A mistake in the
                request or a wrong key is raised all the same.

        Raises:
            FeedwrightError: see ``status``.
        """
        call = calls.feed(
            user_id,
            limit,
            offset,
            sort=sort,
            exclude_seen=exclude_seen,
            exclude_applied=exclude_applied,
            lat=lat,
            lon=lon,
            device=device,
            feed_id=feed_id,
            variant=variant,
            profile=profile,
            weights=weights,
        )
        try:
            return await self._send(call, timeout)
        except FeedwrightError as error:
            if fallback is None or not error.is_temporary:
                raise
            return FeedPage.of_fallback(list(fallback)[:limit], error)

    async def pages(
        self, user_id: str | None = None, *, limit: int = 20, **options: Any
    ) -> AsyncIterator[FeedPage]:
        """The pages of one feed until its end; the arguments are those of ``feed``."""
        page = await self.feed(user_id, limit=limit, **options)
        yield page
        while page.next is not None:
            page = await self._send(calls.next_page(page))
            yield page

    async def trending(
        self, *, limit: int = 20, hours: int = 168, user_id: str | None = None
    ) -> list[TrendingItem]:
        """What is liked most in the last hours, by the user's rules if one is given."""
        return await self._send(calls.trending(limit, hours, user_id))

    async def nearby(
        self,
        lat: float,
        lon: float,
        *,
        radius_km: float | None = None,
        limit: int = 20,
        user_id: str | None = None,
        category: str | None = None,
    ) -> list[NearbyItem]:
        """The nearest items, within ``radius_km`` (default: of the profile)."""
        return await self._send(
            calls.nearby(
                lat=lat,
                lon=lon,
                radius_km=radius_km,
                limit=limit,
                user_id=user_id,
                category=category,
            )
        )

    async def similar(
        self, item_id: str, *, limit: int = 20, user_id: str | None = None
    ) -> list[SimilarItem]:
        """Items like this one."""
        return await self._send(calls.similar(item_id, limit, user_id))

    async def rank(
        self,
        item_ids: Sequence[str],
        *,
        user_id: str | None = None,
        lat: float | None = None,
        lon: float | None = None,
        variant: str | None = None,
    ) -> RankedItems:
        """These items (at most 1000) in the order for the user, without what rules exclude."""
        return await self._send(
            calls.rank(item_ids, user_id=user_id, lat=lat, lon=lon, variant=variant)
        )

    async def recommend(self, user_ids: Sequence[str], *, limit: int = 20) -> list[Recommended]:
        """Items for each of many users (at most 100), such as for a newsletter."""
        return await self._send(calls.recommend(user_ids, limit))

    async def preferences(self, user_id: str) -> dict[str, Any]:
        """What the user asked for, the defaults where they asked for nothing."""
        return await self._send(calls.preferences(user_id, None))

    async def set_preferences(self, user_id: str, **changes: Any) -> dict[str, Any]:
        """Change some preferences (``blocked_tags=[…]``); None goes back to the default."""
        return await self._send(calls.preferences(user_id, changes))

    async def get_item(self, id: str) -> dict[str, Any] | None:
        """The item, or None."""
        return await self._send(calls.get("items", id))

    async def put_item(self, id: str, **fields: Any) -> dict[str, Any]:
        """Create or replace an item; a field left out gets its default."""
        return await self._send(calls.put("items", id, fields))

    async def patch_item(self, id: str, **fields: Any) -> dict[str, Any]:
        """Change some fields of an item; None goes back to the default."""
        return await self._send(calls.patch("items", id, fields))

    async def delete_item(self, id: str) -> bool:
        """Delete an item; False: there was none."""
        return await self._send(calls.delete("items", id))

    async def sync_items(self, items: Iterable[Mapping[str, Any]]) -> SyncReport:
        """Create or replace many items, each with its ``id``, 1000 a request. Reads the
        iterable as it goes; wrong entries are in the report, the others are written."""
        return await self._sync("items", items)

    async def get_user(self, id: str) -> dict[str, Any] | None:
        """The user, or None."""
        return await self._send(calls.get("users", id))

    async def put_user(self, id: str, **fields: Any) -> dict[str, Any]:
        """Create or replace a user; a field left out gets its default."""
        return await self._send(calls.put("users", id, fields))

    async def patch_user(self, id: str, **fields: Any) -> dict[str, Any]:
        """Change some fields of a user; None goes back to the default."""
        return await self._send(calls.patch("users", id, fields))

    async def sync_users(self, users: Iterable[Mapping[str, Any]]) -> SyncReport:
        """Create or replace many users, each with its ``id``, 1000 a request. Reads the
        iterable as it goes; wrong entries are in the report, the others are written."""
        return await self._sync("users", users)

    async def get_owner(self, id: str) -> dict[str, Any] | None:
        """The owner, or None."""
        return await self._send(calls.get("owners", id))

    async def put_owner(self, id: str, **fields: Any) -> dict[str, Any]:
        """Create or replace an owner; a field left out gets its default."""
        return await self._send(calls.put("owners", id, fields))

    async def patch_owner(self, id: str, **fields: Any) -> dict[str, Any]:
        """Change some fields of an owner; None goes back to the default."""
        return await self._send(calls.patch("owners", id, fields))

    async def delete_owner(self, id: str) -> bool:
        """Delete an owner; False: there was none."""
        return await self._send(calls.delete("owners", id))

    async def sync_owners(self, owners: Iterable[Mapping[str, Any]]) -> SyncReport:
        """Create or replace many owners, each with its ``id``, 1000 a request. Reads the
        iterable as it goes; wrong entries are in the report, the others are written."""
        return await self._sync("owners", owners)

    async def export_user(self, user_id: str) -> dict[str, Any] | None:
        """All that is stored of a user, or None."""
        return await self._send(calls.export_user(user_id))

    async def erase_user(self, user_id: str) -> bool:
        """Erase all that is stored of a user; False: there was nothing. The pipeline erases
        them from the lake before it trains again."""
        return await self._send(calls.delete("users", user_id))

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

    async def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was tracked is stored; False: not within ``timeout`` seconds."""
        return await self._tracker.flush(timeout)

    @property
    def counts(self) -> Counts:
        """Of events: sent, of these duplicates; rejected; dropped."""
        return self._tracker.outbox.counts

    async def close(self, timeout: float = EXIT_SECONDS) -> list[Event]:
        """Send what is left, within ``timeout`` seconds, and close the connections. The program
        sends at its end too.

        Events that the server holds back for longer (a limit's ``retry_after``) are not waited for.

        Returns:
            The events that could not be sent, for the caller to keep; they are counted as dropped
            and logged.
        """
        self._finish.detach()
        left = await self._tracker.close(timeout)
        await self._http.aclose()
        return left

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _sync(self, entity: str, entries: Iterable[Mapping[str, Any]]) -> SyncReport:
        report = SyncReport()
        for chunk in calls.chunks(entries):
            answer = await self._send(
                calls.bulk(entity, chunk), max(self._timeout, calls.BULK_SECONDS)
            )
            report.add(chunk, answer)
        return report

    async def _send(self, call: Call[T], timeout: float | None = None) -> T:
        """
        Raises:
            FeedwrightError: refused, or no good answer in time.
        """
        deadline = time.monotonic() + (timeout or self._timeout)
        attempt = 0
        while True:
            answer: httpx.Response | None = None
            try:
                answer = await self._http.request(
                    call.method,
                    call.path,
                    params=call.query,
                    json=call.body,
                    timeout=max(deadline - time.monotonic(), 0.001),
                )
                if answer.status_code not in TEMPORARY:
                    return call.result(answer)
                failure = FeedwrightError.of_answer(answer)
            except httpx.TransportError as error:
                failure = FeedwrightError.of_connection(self._url, error)
            seconds = pause(attempt, answer)
            if attempt == calls.RETRIES or time.monotonic() + seconds >= deadline:
                raise failure
            await asyncio.sleep(seconds)
            attempt += 1
