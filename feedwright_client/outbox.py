"""Events on their way, in batches; what to do with each answer. Sends nothing itself.

The queue is bounded: when it is full, new events are dropped and counted, because a product must
not wait for its statistics. An event keeps its ``event_id`` and ``occurred_at`` whatever happens,
so the server stores it once, however often it is sent.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TypedDict
from uuid import uuid4

import httpx

from feedwright_client.answers import Rejected
from feedwright_client.errors import FeedwrightError
from feedwright_client.retries import TEMPORARY

log = logging.getLogger("feedwright_client")

PATH = "/api/v1/interactions"
BATCH_EVENTS = 200
BATCH_SECONDS = 1.0
QUEUE_EVENTS = 10_000


class Event(TypedDict, total=False):
    event_id: str
    user_id: str
    item_id: str
    type: str
    occurred_at: str
    metadata: Mapping[str, Any]


OnRejected = Callable[[Rejected], None]


def new_event(
    type: str,
    user_id: str | None,
    item_id: str | None,
    metadata: Mapping[str, Any] | None,
    occurred_at: datetime | None,
    event_id: str | None,
) -> Event:
    """
    Raises:
        ValueError: ``occurred_at`` has no time zone.
    """
    at = occurred_at or datetime.now(UTC)
    if at.tzinfo is None:
        raise ValueError("occurred_at has no time zone: use datetime.now(timezone.utc)")
    event = Event(event_id=event_id or str(uuid4()), type=type, occurred_at=at.isoformat())
    if user_id is not None:
        event["user_id"] = user_id
    if item_id is not None:
        event["item_id"] = item_id
    if metadata is not None:
        event["metadata"] = dict(metadata)
    return event


@dataclass
class Counts:
    """Of events since the client was made."""

    sent: int = 0
    duplicates: int = 0
    rejected: int = 0
    dropped: int = 0


@dataclass
class Held:
    """Events of a user who is over the limit, until a time of the monotonic clock."""

    until: float
    events: deque[Event] = field(default_factory=deque)


class Outbox:
    """Threads may share it. ``take`` gives a batch, which is in flight until it is settled. Events
    of users who are over their limit wait apart: they hold up nobody else's."""

    def __init__(self, max_events: int = QUEUE_EVENTS, on_rejected: OnRejected | None = None):
        self.counts = Counts()
        self._max = max_events
        self._on_rejected = on_rejected
        self._lock = threading.Lock()
        self._waiting: deque[Event] = deque()
        self._held: dict[str | None, Held] = {}  # by user
        self._in_flight: list[Event] = []
        self._batch_size = BATCH_EVENTS
        self._since = 0.0
        self._full = False

    def __len__(self) -> int:
        """Events that are waiting, held or in flight."""
        held = sum(len(batch.events) for batch in self._held.values())
        return len(self._waiting) + len(self._in_flight) + held

    def add(self, event: Event) -> bool:
        """Whether there was room; else the event is dropped, and counted."""
        with self._lock:
            if len(self) >= self._max:
                self.counts.dropped += 1
                if not self._full:
                    self._full = True
                    log.error("%d events wait for the server: new ones are dropped", self._max)
                return False
            self._full = False
            held = self._held.get(event.get("user_id"))
            if held is not None:
                held.events.append(event)
                return True
            if not self._waiting:
                self._since = monotonic()
            self._waiting.append(event)
            return True

    @property
    def is_due_sooner(self) -> bool:
        """The last event may have begun a batch, or filled one."""
        return len(self._waiting) == 1 or len(self._waiting) >= BATCH_EVENTS

    def due_in(self, *, hurried: bool = False) -> float | None:
        """Seconds until a batch should be sent; None: there is nothing to send.

        Args:
            hurried: do not wait for more events, only for the limits of users.
        """
        with self._lock:
            if self._in_flight or len(self._waiting) >= BATCH_EVENTS:
                return 0.0
            times = [held.until for held in self._held.values()]
            if self._waiting:
                times.append(self._since + (0.0 if hurried else BATCH_SECONDS))
            return max(min(times) - monotonic(), 0.0) if times else None

    def take(self) -> list[Event]:
        """The next batch, or the one that is in flight already; empty: nothing may go now."""
        with self._lock:
            if not self._in_flight:
                self._release()
                n = min(self._batch_size, len(self._waiting))
                self._in_flight = [self._waiting.popleft() for _ in range(n)]
                self._since = monotonic()
            return list(self._in_flight)

    def put_back(self) -> None:
        """What is in flight waits again, before the others."""
        with self._lock:
            self._waiting.extendleft(reversed(self._in_flight))
            self._in_flight = []

    def settle(self, answer: httpx.Response) -> bool:
        """What becomes of the batch in flight; whether it is over with. False: send it again.

        An event over its user's limit is held with all that follow of this user.
        """
        if answer.status_code in TEMPORARY:
            return False
        if answer.status_code == 413 and len(self._in_flight) > 1:
            self._batch_size = max(len(self._in_flight) // 2, 1)
            self.put_back()
            return True
        batch = list(self._in_flight)
        limited: list[tuple[Event, float]] = []
        if answer.is_success:
            refused, limited = self._refused(batch, answer)
        else:  # all of it: a wrong key, a wrong address
            error = FeedwrightError.of_answer(answer)
            log.error("%d events refused: %s", len(batch), error)
            refused = [Rejected(event, [str(error)]) for event in batch]
        with self._lock:
            self._in_flight = []
            self._hold(limited)
            self._batch_size = min(self._batch_size * 2, BATCH_EVENTS)
            self.counts.rejected += len(refused)
            self.counts.sent += len(batch) - len(refused) - len(limited)
        for refusal in refused:
            self._tell(refusal)
        return True

    def give_up(self, why: str) -> list[Event]:
        """Take out all that is left, those of a user in their order, and count it as dropped."""
        with self._lock:
            held = [event for batch in self._held.values() for event in batch.events]
            left = [*self._in_flight, *self._waiting, *held]
            self._waiting.clear()
            self._held.clear()
            self._in_flight = []
            self.counts.dropped += len(left)
        if left:
            log.error("%d events not delivered: %s", len(left), why)
        return left

    def _hold(self, limited: list[tuple[Event, float]]) -> None:
        """Put events back, before the others of their users, for so many seconds."""
        for event, seconds in reversed(limited):
            held = self._held.setdefault(event.get("user_id"), Held(0.0))
            held.until = monotonic() + seconds
            held.events.appendleft(event)

    def _release(self) -> None:
        """Let the events go whose users' time has come, so many of each as one batch holds."""
        now = monotonic()
        for user_id, held in list(self._held.items()):
            if held.until > now:
                continue
            n = min(self._batch_size, len(held.events))
            self._waiting.extendleft(reversed([held.events.popleft() for _ in range(n)]))
            if not held.events:
                del self._held[user_id]

    def _refused(
        self, batch: list[Event], answer: httpx.Response
    ) -> tuple[list[Rejected], list[tuple[Event, float]]]:
        """What is refused for good, and what may be sent again after so many seconds."""
        try:
            results = answer.json()["results"]
        except (ValueError, KeyError, TypeError):
            log.error("%s answers what Feedwright would not: is the address right?", answer.url)
            return [Rejected(event, ["no such service at this address"]) for event in batch], []
        refused: list[Rejected] = []
        limited: list[tuple[Event, float]] = []
        for event, result in zip(batch, results, strict=False):
            self.counts.duplicates += result["outcome"] == "duplicate"
            if result.get("retry_after"):
                limited.append((event, float(result["retry_after"])))
            elif result["outcome"] == "rejected":
                field, reason = result.get("field"), result.get("reason") or "no reason given"
                refused.append(Rejected(event, [f"{field}: {reason}" if field else reason]))
        return refused, limited

    def _tell(self, rejected: Rejected) -> None:
        log.warning("event refused: %s", "; ".join(rejected.reasons))
        if self._on_rejected is None:
            return
        try:
            self._on_rejected(rejected)
        except Exception:  # the caller's own; other events still have to go
            log.exception("on_rejected failed")
