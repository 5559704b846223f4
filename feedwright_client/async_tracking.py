"""The event loop's side of tracking: a task that empties an outbox."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import monotonic

import httpx

from feedwright_client.outbox import PATH, Event, OnRejected, Outbox
from feedwright_client.retries import pause

log = logging.getLogger("feedwright_client")


class AsyncTracker:
    """Sends in a task, which starts with the first event and ends when there is nothing left."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        timeout: float,
        max_events: int,
        on_rejected: OnRejected | None,
    ) -> None:
        self._url, self._headers, self._timeout = url, headers, timeout
        self.outbox = Outbox(max_events, on_rejected)
        self._hurry = asyncio.Event()
        self._flushing = 0
        self._task: asyncio.Task[None] | None = None
        self._closed_at: float | None = None  # until when to go on trying

    def add(self, event: Event) -> bool:
        """
        Raises:
            RuntimeError: there is no running event loop, or the client is closed.
        """
        if self._closed_at is not None:
            raise RuntimeError("the client is closed: track before close()")
        loop = asyncio.get_running_loop()
        added = self.outbox.add(event)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run())
        elif self.outbox.is_due_sooner:
            self._hurry.set()
        return added

    async def flush(self, timeout: float) -> bool:
        """Wait until all that was tracked is with the server; False: not within ``timeout`` s."""
        deadline = monotonic() + timeout
        self._flushing += 1
        self._hurry.set()
        try:
            while len(self.outbox) and self._task is not None and not self._task.done():
                done, _ = await asyncio.wait({self._task}, timeout=deadline - monotonic())
                if not done:
                    return False
        finally:
            self._flushing -= 1
        return len(self.outbox) == 0

    async def close(self, timeout: float) -> list[Event]:
        """Send what is left within ``timeout`` seconds; returns what could not be sent."""
        if self._closed_at is None:
            self._closed_at = monotonic() + timeout
        await self.flush(timeout)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        return self.outbox.give_up("the client was closed")

    def send_rest(self, timeout: float) -> None:
        """Without an event loop: one attempt for each batch that is left."""
        deadline = monotonic() + timeout
        self.outbox.put_back()
        with httpx.Client(headers=self._headers) as http:
            while (left := deadline - monotonic()) > 0 and (batch := self.outbox.take()):
                try:
                    answer = http.post(
                        f"{self._url}{PATH}", json={"interactions": batch}, timeout=left
                    )
                except httpx.TransportError as error:
                    log.warning("events not delivered: %s", error)
                    break
                if not self.outbox.settle(answer):
                    break
        self.outbox.give_up("the program ended")

    async def _run(self) -> None:
        try:
            async with httpx.AsyncClient(headers=self._headers, timeout=self._timeout) as http:
                attempt = 0
                while (due := self.outbox.due_in(hurried=self._is_hurried)) is not None:
                    if due:
                        if self._closed_at is not None and due > self._closed_at - monotonic():
                            return  # held for longer than there is time
                        await self._wait(due)
                        continue
                    seconds = await self._send(http, attempt)
                    if seconds is None:
                        attempt = 0
                    else:
                        attempt += 1
                        await asyncio.sleep(seconds)
        finally:
            self.outbox.put_back()  # cancelled: at the end of the program it is sent again

    @property
    def _is_hurried(self) -> bool:
        return self._flushing > 0 or self._closed_at is not None

    async def _wait(self, seconds: float) -> None:
        """Until a batch is due, or something changes when it is."""
        self._hurry.clear()
        waiting = asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait({waiting}, timeout=seconds)
        finally:
            waiting.cancel()

    async def _send(self, http: httpx.AsyncClient, attempt: int) -> float | None:
        """Seconds until the batch is sent again; None: it is settled."""
        batch = self.outbox.take()
        answer: httpx.Response | None = None
        try:
            answer = await http.post(f"{self._url}{PATH}", json={"interactions": batch})
            if self.outbox.settle(answer):
                return None
            why = f"status {answer.status_code}"
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
        level = logging.WARNING if attempt == 0 else logging.DEBUG
        log.log(level, "%d events not delivered yet: %s", len(batch), why)
        return pause(attempt, answer)
