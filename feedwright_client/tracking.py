"""The threads' side of tracking: a daemon thread that empties an outbox."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from time import monotonic

import httpx

from feedwright_client.outbox import PATH, Event, OnRejected, Outbox
from feedwright_client.retries import pause

log = logging.getLogger("feedwright_client")


class Tracker:
    """Sends in the background. The thread starts with the first event, and again in a process
    that was forked: what the parent had waiting is the parent's."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        timeout: float,
        max_events: int,
        on_rejected: OnRejected | None,
    ) -> None:
        self._url, self._headers, self._timeout = url, headers, timeout
        self._max_events, self._on_rejected = max_events, on_rejected
        self._begin()

    def _begin(self) -> None:
        self.outbox = Outbox(self._max_events, self._on_rejected)
        self._changed = threading.Condition()
        self._hurry = 0  # how many wait in flush()
        self._closed_at: float | None = None  # until when to go on trying
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def add(self, event: Event) -> bool:
        if self._process != os.getpid():
            self._begin()
        with self._changed:
            if self._closed_at is not None:
                raise RuntimeError("the client is closed: track before close()")
            added = self.outbox.add(event)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="feedwright-tracker", daemon=True
                )
                self._thread.start()
            if self.outbox.is_due_sooner:
                self._changed.notify_all()
        return added

    def flush(self, timeout: float) -> bool:
        """Wait until all that was tracked is with the server; False: not within ``timeout`` s."""
        if self._process != os.getpid():
            return True
        with self._changed:
            self._hurry += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: len(self.outbox) == 0, timeout)
            finally:
                self._hurry -= 1

    def close(self, timeout: float) -> list[Event]:
        """Send what is left within ``timeout`` seconds, then end the thread; returns what could not
        be sent."""
        if self._process != os.getpid():
            return []
        with self._changed:
            if self._closed_at is not None:
                return []
            self._closed_at = monotonic() + timeout
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout + 1.0)
        return self.outbox.give_up("the client was closed")

    def _run(self) -> None:
        with httpx.Client(headers=self._headers, timeout=self._timeout) as http:
            attempt = 0
            while self._wait_for_work():
                seconds = self._send(http, attempt)
                if seconds is None:
                    attempt = 0
                    with self._changed:
                        self._changed.notify_all()
                    continue
                attempt += 1
                self._pause(seconds)

    def _pause(self, seconds: float) -> None:
        """Wait, but not when the client is closed meanwhile: then it is now or never."""
        until = monotonic() + seconds
        with self._changed:
            was_closed = self._closed_at is not None
            while (remaining := until - monotonic()) > 0:
                left = self._left()
                if left is not None and (left <= 0 or not was_closed):
                    return
                self._changed.wait(remaining if left is None else min(remaining, left))

    def _wait_for_work(self) -> bool:
        """Until a batch is due; False: closed, and nothing to do or no time left."""
        with self._changed:
            while True:
                left = self._left()
                if left is not None and (left <= 0 or len(self.outbox) == 0):
                    return False
                due = self.outbox.due_in(hurried=self._hurry > 0 or left is not None)
                if due == 0.0:
                    return True
                if due is not None and left is not None and due > left:
                    return False  # held for longer than there is time
                waits = [seconds for seconds in (due, left) if seconds is not None]
                self._changed.wait(min(waits, default=None))

    def _send(self, http: httpx.Client, attempt: int) -> float | None:
        """Seconds until the batch is sent again; None: it is settled."""
        batch = self.outbox.take()
        answer: httpx.Response | None = None
        try:
            answer = http.post(f"{self._url}{PATH}", json={"interactions": batch})
            if self.outbox.settle(answer):
                return None
            why = f"status {answer.status_code}"
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
        level = logging.WARNING if attempt == 0 else logging.DEBUG
        log.log(level, "%d events not delivered yet: %s", len(batch), why)
        return pause(attempt, answer)

    def _left(self) -> float | None:
        """Seconds until trying ends; None: not closed."""
        return None if self._closed_at is None else self._closed_at - monotonic()
