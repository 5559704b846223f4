"""Users under whom something breaks: they ask for feeds, and send events until each is taken.

What they saw is reported by the moment, and what became of their events by looking into Postgres.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import httpx
import psycopg

from benchmarks.common.report import BenchmarkError

FEEDS, SENDERS = 4, 4
BATCH = 10
TIMELESS = 10
"""Each so many events one has no time of its own."""
LIKED = 3
"""Each so many events one says that the user likes the item."""
PAUSE_SECONDS = 0.02
ANSWER_SECONDS = 30.0
SETTLE_SECONDS = 60.0
AGAIN = frozenset((429, 500, 502, 503, 504))
"""Answers after which a tracker sends its events once more."""


@dataclass
class Seen:
    """What clients of the feed saw since the last look.

    Attributes:
        cut: connections that were reset or refused.
        longest: seconds from the first of them to the next answer.
    """

    answers: int = 0
    not_200: list[str] = field(default_factory=list)
    cut: int = 0
    longest: float = 0.0


class Sender:
    """One that sends events numbered from 0, a batch after the other, each until it is taken."""

    def __init__(self, number: int, users: Sequence[str], items: Sequence[str]) -> None:
        self.number = number
        self.acknowledged = 0
        self._users, self._items = users, items

    def id(self, n: int) -> UUID:
        return UUID(int=self.number << 64 | n)

    def run(self, url: str, over: threading.Event) -> None:
        with httpx.Client(trust_env=False, timeout=ANSWER_SECONDS) as http:
            while not over.is_set():
                body = {"interactions": [self._event(self.acknowledged + n) for n in range(BATCH)]}
                while not self._is_taken(http, url, body):
                    if over.is_set():
                        return
                    time.sleep(5 * PAUSE_SECONDS)
                self.acknowledged += BATCH
                time.sleep(PAUSE_SECONDS)

    def _event(self, n: int) -> dict[str, object]:
        return {
            "event_id": str(self.id(n)),
            "user_id": self._users[n % len(self._users)],
            # Another one each time that it is this user's turn: a training learns from new ones.
            "item_id": self._items[(n + n // len(self._users)) % len(self._items)],
            "type": "view" if n % LIKED else "save",
            "occurred_at": None if n % TIMELESS == 0 else datetime.now(UTC).isoformat(),
        }

    def _is_taken(self, http: httpx.Client, url: str, body: object) -> bool:
        try:
            answer = http.post(f"{url}/api/v1/interactions", json=body)
        except httpx.TransportError:
            return False
        if answer.status_code in AGAIN:
            return False
        if answer.status_code != 202 or answer.json()["rejected"]:
            raise BenchmarkError(f"events: {answer.status_code} {answer.text[:300]}")
        return True


class Visitors:
    """All of them, from ``with`` on until it ends."""

    def __init__(self, url: str, users: Sequence[str], items: Sequence[str]) -> None:
        self._url, self._users = url, users
        self._senders = [Sender(number, users, items) for number in range(1, SENDERS + 1)]
        self._looked = dict.fromkeys(self._senders, 0)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._seen = Seen()
        self._failures: list[Exception] = []
        work = [lambda s=sender: s.run(url, self._over) for sender in self._senders]
        work += [lambda n=number: self._browse(n) for number in range(FEEDS)]
        self._threads = [
            threading.Thread(target=self._guarded, args=(task,), daemon=True) for task in work
        ]

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS)

    def seen(self) -> Seen:
        """What was seen since the last time that this was asked.

        Raises:
            BenchmarkError: a client failed.
        """
        if self._failures:
            raise BenchmarkError(f"a client failed: {self._failures[0]!r}")
        with self._lock:
            seen, self._seen = self._seen, Seen()
        return seen

    def missing(self, connection: psycopg.Connection) -> tuple[int, int]:
        """Events acknowledged since the last call that are not stored, and rows too many.

        Waits until all are stored, at most ``SETTLE_SECONDS``.
        """
        until = {sender: sender.acknowledged for sender in self._senders}
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            lost = doubled = 0
            for sender in self._senders:
                first, last = self._looked[sender], until[sender]
                row = connection.execute(
                    "SELECT count(*), count(DISTINCT event_id) FROM feed.interactions"
                    " WHERE event_id >= %s AND event_id < %s",
                    (sender.id(first), sender.id(last)),
                ).fetchone()
                assert row is not None
                lost += last - first - row[1]
                doubled += row[0] - row[1]
            if not lost or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        self._looked = until
        return lost, doubled

    def first_of_next(self) -> UUID:
        """The first event that the next ``missing`` looks for."""
        sender, first = next(iter(self._looked.items()))
        return sender.id(first)

    def acknowledged(self) -> int:
        return sum(sender.acknowledged for sender in self._senders)

    def _guarded(self, work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except Exception as error:
            self._failures.append(error)

    def _browse(self, number: int) -> None:
        with httpx.Client(trust_env=False, timeout=ANSWER_SECONDS) as http:
            cut_at: float | None = None
            for user in itertools.cycle(self._users[number::FEEDS]):
                if self._over.is_set():
                    return
                try:
                    answer = http.get(
                        f"{self._url}/api/v1/feed", params={"user_id": user, "limit": 20}
                    )
                except httpx.TransportError:
                    cut_at = cut_at or time.monotonic()
                    with self._lock:
                        self._seen.cut += 1
                else:
                    self._note(answer, cut_at)
                    cut_at = None
                time.sleep(PAUSE_SECONDS)

    def _note(self, answer: httpx.Response, cut_at: float | None) -> None:
        with self._lock:
            self._seen.answers += 1
            if cut_at is not None:
                self._seen.longest = max(self._seen.longest, time.monotonic() - cut_at)
            if answer.status_code != 200:
                self._seen.not_200.append(f"{answer.status_code} {answer.text[:200]}")
