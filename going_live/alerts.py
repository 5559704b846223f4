"""Alerts: raised in the transaction of what they tell of, delivered to a webhook later.

Delivery is at least once: a receiver tells repeats by the header ``X-Feedwright-Delivery``, which
stays the same from try to try. The shape of the body and how to check its signature:
docs/observability.md.
"""

from __future__ import annotations

import hmac
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

import httpx
import orjson
import psycopg
from psycopg.rows import args_row
from psycopg.types.json import Jsonb

from storage.settings import Settings

Severity = Literal["info", "warning", "critical"]

FIRST_RETRY_SECONDS = 30.0
LAST_RETRY_SECONDS = 3600.0
MAX_TRIES = 20
"""Over about half a day: a receiver that is away for a night still hears of it."""
TIMEOUT_SECONDS = 5.0
ROUND_SECONDS = 20.0
"""A round of deliveries begins no further one after this: Dagster cuts a sensor off at 60 s."""
NOWHERE = "FEEDWRIGHT_WEBHOOK_URL is not set"


def raise_alert(
    conn: psycopg.Connection,
    kind: str,
    severity: Severity,
    title: str,
    detail: Mapping[str, Any],
) -> int:
    """Note an alert in the caller's transaction; ``send_due`` delivers it. Returns its id.

    Args:
        kind: what happened, for machines: ``rollback``, ``run_failed``, …
        title: one line for people.
        detail: what they need beside it; anything JSON holds.
    """
    row = conn.execute(
        "INSERT INTO feed.alerts (kind, severity, title, detail) VALUES (%s, %s, %s, %s)"
        " RETURNING id",
        (kind, severity, title, Jsonb(dict(detail))),
    ).fetchone()
    assert row is not None
    return row[0]


@dataclass(frozen=True)
class Sent:
    """What a round of deliveries did: ``failed`` are tried again, ``given_up`` are not."""

    delivered: int = 0
    failed: int = 0
    given_up: int = 0


@dataclass(frozen=True)
class _Alert:
    id: int
    raised_at: datetime
    kind: str
    severity: Severity
    title: str
    detail: dict[str, Any]
    attempts: int


def send_due(conn: psycopg.Connection, settings: Settings) -> Sent:
    """Deliver the alerts whose time has come, the oldest first.

    Each is locked while it is posted, so several senders share the work and none posts what
    another is posting. One that fails is tried again after 30 s, 60 s, … up to an hour, each cut
    by up to a half at random, and given up after ``MAX_TRIES``. A receiver that does not answer
    ends the round. Without an address alerts are given up at once: they are of that moment.

    Args:
        conn: in no transaction.
    """
    if settings.webhook_url is None:
        given_up = conn.execute(
            "UPDATE feed.alerts SET given_up_at = now(), last_error = %s"
            " WHERE delivered_at IS NULL AND given_up_at IS NULL",
            (NOWHERE,),
        ).rowcount
        conn.commit()
        return Sent(given_up=given_up)
    delivered = failed = given_up = 0
    end = time.monotonic() + ROUND_SECONDS
    with httpx.Client(timeout=TIMEOUT_SECONDS) as client:
        while time.monotonic() < end:
            with conn.transaction():
                alert = _next_due(conn)
                if alert is None:
                    break
                problem = _post(client, settings, alert)
                if problem is None:
                    conn.execute(
                        "UPDATE feed.alerts SET attempts = attempts + 1, delivered_at = now(),"
                        " last_error = NULL WHERE id = %s",
                        (alert.id,),
                    )
                    delivered += 1
                    continue
                last = alert.attempts + 1 >= MAX_TRIES
                conn.execute(
                    "UPDATE feed.alerts SET attempts = attempts + 1, last_error = %s,"
                    " next_try_at = clock_timestamp() + %s * interval '1 second',"
                    " given_up_at = CASE WHEN %s THEN now() END WHERE id = %s",
                    (problem.text, _wait(alert.attempts), last, alert.id),
                )
                given_up, failed = given_up + last, failed + (not last)
            if not problem.answered:
                break
    return Sent(delivered, failed, given_up)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Value of ``X-Feedwright-Signature``: HMAC-SHA256 of ``<timestamp>.<body>``, in hex."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.digest(secret.encode(), signed, "sha256").hex()


@dataclass(frozen=True)
class _Problem:
    text: str
    answered: bool


def _next_due(conn: psycopg.Connection) -> _Alert | None:
    """The next alert that nobody else is delivering, locked."""
    return (
        conn.cursor(row_factory=args_row(_Alert))
        .execute(
            "SELECT id, raised_at, kind, severity, title, detail, attempts FROM feed.alerts"
            " WHERE delivered_at IS NULL AND given_up_at IS NULL"
            " AND (next_try_at <= clock_timestamp()"
            # no wait is so long: the clock was set back
            "  OR next_try_at > clock_timestamp() + %s * interval '1 second')"
            " ORDER BY next_try_at, id LIMIT 1 FOR UPDATE SKIP LOCKED",
            (LAST_RETRY_SECONDS,),
        )
        .fetchone()
    )


def _post(client: httpx.Client, settings: Settings, alert: _Alert) -> _Problem | None:
    """Why it was not taken; None: it was."""
    # Of the environment too: several installations may share a receiver.
    named = f"feedwright:{settings.environment}:{alert.id}:{alert.raised_at.isoformat()}"
    delivery = str(uuid5(NAMESPACE_URL, named))
    try:
        body = orjson.dumps(_body(settings, alert, delivery))
    except TypeError as error:  # such as a number of more than 64 bits
        return _Problem(f"it cannot be told as JSON: {error}", answered=True)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "feedwright",
        "X-Feedwright-Delivery": delivery,
        "X-Feedwright-Timestamp": (timestamp := str(int(time.time()))),
    }
    if settings.webhook_secret is not None:
        headers["X-Feedwright-Signature"] = signature(settings.webhook_secret, timestamp, body)
    try:
        # The answer's body is nothing to us, and may be long.
        with client.stream(
            "POST", str(settings.webhook_url), content=body, headers=headers
        ) as answer:
            if answer.is_success:
                return None
            return _Problem(f"the receiver answers {answer.status_code}", answered=True)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return _Problem(f"{type(error).__name__}: {error}"[:500], answered=False)


def _body(settings: Settings, alert: _Alert, delivery: str) -> dict[str, Any]:
    return {
        "delivery": delivery,
        "id": alert.id,
        "kind": alert.kind,
        "severity": alert.severity,
        "title": alert.title,
        "detail": alert.detail,
        "raised_at": alert.raised_at.isoformat(),
        "environment": settings.environment,
        "attempt": alert.attempts + 1,
        "text": _text(settings, alert),
    }


def _text(settings: Settings, alert: _Alert) -> str:
    """All of it for people, with ``&``, ``<`` and ``>`` as Slack wants them."""
    lines = [f"[{alert.severity}] {alert.title} ({settings.environment})"]
    lines += [f"{key}: {value}" for key, value in alert.detail.items() if value is not None]
    text = "\n".join(lines)[:3000]
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _wait(attempts: int) -> float:
    """Seconds to the next try, when so many failed before the last one."""
    longest = min(FIRST_RETRY_SECONDS * 2.0**attempts, LAST_RETRY_SECONDS)
    return longest * random.uniform(0.5, 1.0)
