"""When to try again."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from feedwright_client.errors import FeedwrightError

TEMPORARY = frozenset((408, 429, 500, 502, 503, 504))
FIRST_SECONDS = 0.1
MOST_SECONDS = 30.0
RETRIES = 2
"""So often a call is repeated that failed for the moment, if its time allows."""


def pause(attempt: int, answer: httpx.Response | None) -> float:
    """Seconds before the next attempt: what ``Retry-After`` asks for, else from half of
    0.1 · 2^attempt to all of it, so that many clients do not come back at once.

    Args:
        attempt: from 0.
        answer: of this attempt, None: there was none.
    """
    backoff = min(FIRST_SECONDS * 2.0 ** min(attempt, 20), MOST_SECONDS)
    jittered = backoff * random.uniform(0.5, 1.0)
    asked = retry_after(answer)
    return jittered if asked is None else asked + jittered


def retry_after(answer: httpx.Response | None) -> float | None:
    """Seconds that the header asks for, which may hold a number or a date."""
    given = answer.headers.get("retry-after") if answer is not None else None
    if given is None:
        return None
    if given.strip().isdecimal():
        return float(given)
    try:
        until = parsedate_to_datetime(given)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


class Attempts:
    """Those at one call, within its time."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url
        self._deadline = time.monotonic() + seconds
        self._failed = 0

    @property
    def left(self) -> float:
        """Seconds that the next one may take."""
        return max(self._deadline - time.monotonic(), 0.001)

    def after(self, failed: httpx.Response | httpx.TransportError) -> float:
        """Seconds before the next one.

        Raises:
            FeedwrightError: there is none: it was the last, or there is no time.
        """
        if isinstance(failed, httpx.Response):
            failure, seconds = FeedwrightError.of_answer(failed), pause(self._failed, failed)
        else:
            failure = FeedwrightError.of_connection(self._url, failed)
            seconds = pause(self._failed, None)
        if self._failed == RETRIES or time.monotonic() + seconds >= self._deadline:
            raise failure
        self._failed += 1
        return seconds
