"""The client for asyncio."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

import httpx

from feedwright_client import calls
from feedwright_client.answers import FeedPage, SyncReport
from feedwright_client.async_tracking import AsyncTracker
from feedwright_client.calls import Call, FeedOptions
from feedwright_client.errors import FeedwrightError
from feedwright_client.events import Tracking
from feedwright_client.outbox import QUEUE_EVENTS, Event, OnRejected
from feedwright_client.retries import TEMPORARY, Attempts

P = ParamSpec("P")
T = TypeVar("T")
EXIT_SECONDS = 5.0


def _sent(
    make: Callable[P, Call[T]],
) -> Callable[Concatenate[AsyncFeedwright, P], Coroutine[Any, Any, T]]:
    """A method that sends what ``make`` makes."""

    async def send(self: AsyncFeedwright, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._send(make(*args, **kwargs))

    calls.described_by(make, send)
    return send


class AsyncFeedwright(Tracking[AsyncTracker]):
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
        timeout: float | None = None,
        fallback: Sequence[str] | None = None,
        **options: Unpack[FeedOptions],
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
        try:
            return await self._send(calls.feed(user_id, limit, options), timeout)
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

    trending = _sent(calls.trending)
    nearby = _sent(calls.nearby)
    similar = _sent(calls.similar)
    rank = _sent(calls.rank)
    recommend = _sent(calls.recommend)
    preferences = _sent(calls.preferences)
    set_preferences = _sent(calls.set_preferences)
    get_item = _sent(calls.get_item)
    put_item = _sent(calls.put_item)
    patch_item = _sent(calls.patch_item)
    delete_item = _sent(calls.delete_item)
    get_user = _sent(calls.get_user)
    put_user = _sent(calls.put_user)
    patch_user = _sent(calls.patch_user)
    export_user = _sent(calls.export_user)
    erase_user = _sent(calls.erase_user)
    get_owner = _sent(calls.get_owner)
    put_owner = _sent(calls.put_owner)
    patch_owner = _sent(calls.patch_owner)
    delete_owner = _sent(calls.delete_owner)

    async def sync_items(self, items: Iterable[Mapping[str, Any]]) -> SyncReport:
        """Create or replace many items, each with its ``id``, 1000 a request. Reads the
        iterable as it goes; wrong entries are in the report, the others are written."""
        return await self._sync("items", items)

    async def sync_users(self, users: Iterable[Mapping[str, Any]]) -> SyncReport:
        """As ``sync_items``."""
        return await self._sync("users", users)

    async def sync_owners(self, owners: Iterable[Mapping[str, Any]]) -> SyncReport:
        """As ``sync_items``."""
        return await self._sync("owners", owners)

    async def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was tracked is stored; False: not within ``timeout`` seconds."""
        return await self._tracker.flush(timeout)

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
        attempts = Attempts(self._url, timeout or self._timeout)
        while True:
            failed: httpx.Response | httpx.TransportError
            try:
                failed = await self._http.request(
                    call.method,
                    call.path,
                    params=call.query,
                    json=call.body,
                    timeout=attempts.left,
                )
                if failed.status_code not in TEMPORARY:
                    return call.result(failed)
            except httpx.TransportError as error:
                failed = error
            await asyncio.sleep(attempts.after(failed))
