"""When to try again."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

TEMPORARY = frozenset((408, 429, 500, 502, 503, 504))
FIRST_SECONDS = 0.1
MOST_SECONDS = 30.0


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
