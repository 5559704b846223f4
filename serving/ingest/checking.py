"""Entries of a request -> events, and those that are refused, each with its first reason.

Plain Python over what orjson read, about 6 µs an event. A pydantic adapter that reads the bytes
itself takes longer, without the checks that it has no words for. The limits are those of
``storage.loading.values.validation``; a test compares the two.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes
from serving.http.json_bodies import encode, find_unfit, may_hold_no_number, written
from storage.catalogue.entities import MAX_REASON
from storage.events.store import Event, Refusal, RefusedEvent
from storage.loading.values.columns import CLOCK_SLACK, MAX_ID_BYTES
from storage.loading.values.validation import SHOWN
from storage.privacy.named_users import users_in

MAX_METADATA_BYTES = 16 * 1024
MAX_RAW = 64 * 1024
"""Characters of a refused entry that are kept: a key that is public must not fill the disk."""
MICROSECONDS = len("2026-05-17T09:30:00.123456Z")
FIELDS = frozenset(("event_id", "user_id", "item_id", "type", "occurred_at", "metadata"))

_UUID = re.compile(r"[0-9a-fA-F]{8}(-?)(?:[0-9a-fA-F]{4}\1){3}[0-9a-fA-F]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True)
class Clock:
    """What times are believed of events that are received at ``now``."""

    now: datetime
    earliest: datetime
    latest: datetime

    @classmethod
    def at(cls, now: datetime, retention: timedelta) -> Clock:
        """For events that are kept for ``retention``."""
        return cls(now.astimezone(UTC), now - retention, now + CLOCK_SLACK)


@dataclass
class Checked:
    """What checking made of the entries.

    ``events``: the good ones. ``places``: the place of each among the entries, from 0.
    ``refusals``: of the others, by place; ``refused``: the same, to be kept.
    """

    events: list[Event] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    refusals: dict[int, Refusal] = field(default_factory=dict)
    refused: list[RefusedEvent] = field(default_factory=list)

    def leave_out(self, refusals: dict[int, Refusal]) -> None:
        """Refuse events by their places, without keeping them."""
        if refusals:
            kept = [number for number, place in enumerate(self.positions) if place not in refusals]
            self.events = [self.events[number] for number in kept]
            self.positions = [self.positions[number] for number in kept]
            self.refusals |= refusals


class _Refused(Exception):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.refusal = Refusal(field, reason[:MAX_REASON])


AT_ONCE = 50
"""Entries that are checked without a pause: the largest take 20 ms."""


async def check(
    entries: list[Any], clock: Clock, types: InteractionTypes = DEFAULT_TYPES
) -> Checked:
    """Check every entry. A bad one never takes a good one with it. Other calls have their turns
    in between."""
    checked = Checked()
    for place, entry in enumerate(entries):
        if place and place % AT_ONCE == 0:
            await asyncio.sleep(0)
        try:
            checked.events.append(to_event(entry, clock, types))
            checked.positions.append(place)
        except _Refused as error:
            checked.refusals[place] = error.refusal
            checked.refused.append(refused(entry, error.refusal, place + 1))
    _keep_order(checked.events)
    return checked


def _keep_order(events: list[Event]) -> None:
    """Let the times of each user's events tell their order, where they do not contradict it.

    A time that the server gave is not after those that are believed of later events: a clock may
    be set right between two events. Of several at one time each is a microsecond after the last.
    """
    if len(events) < 2:
        return
    times = [datetime.fromisoformat(event["occurred_at"]) for event in events]
    believed: dict[str | None, datetime] = {}
    for at in reversed(range(len(events))):
        user_id = events[at]["user_id"]
        if events[at]["flagged"]:
            times[at] = min(times[at], believed.get(user_id, times[at]))
        else:
            believed[user_id] = min(times[at], believed.get(user_id, times[at]))
    taken: dict[tuple[str | None, datetime], int] = {}
    for event, time in zip(events, times, strict=True):
        place = event["user_id"], time
        taken[place] = later = taken.get(place, -1) + 1
        if later or event["flagged"]:
            event["occurred_at"] = (time + later * timedelta(microseconds=1)).isoformat()


def check_one(entry: Any, clock: Clock, types: InteractionTypes) -> Event | Refusal:
    """One entry, checked."""
    try:
        return to_event(entry, clock, types)
    except _Refused as error:
        return error.refusal


def to_event(entry: Any, clock: Clock, types: InteractionTypes) -> Event:
    """The event.

    Raises:
        _Refused: the first thing that is wrong with it.
    """
    if not isinstance(entry, dict):
        raise _Refused("", "must be a JSON object")
    if not entry.keys() <= FIELDS:
        name = next(name for name in entry if name not in FIELDS)
        raise _Refused(_shown(name), f"no such field; there are {', '.join(sorted(FIELDS))}")
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in types.root:
        raise _Refused("type", f"{_quoted(kind)} is not one of {', '.join(types.names)}")
    item_id = _id("item_id", entry.get("item_id"))
    if item_id is None and kind not in types.without_item:
        raise _Refused("item_id", f"required for type {kind}")
    metadata = _metadata(entry.get("metadata"))
    occurred_at, doubt = _occurred_at(entry.get("occurred_at"), clock)
    if doubt:
        claim = {"claimed": entry.get("occurred_at"), "reason": doubt}
        metadata = {**(metadata or {}), "clock": claim}
    return {
        "event_id": _event_id(entry.get("event_id")),
        "user_id": _id("user_id", entry.get("user_id")),
        "item_id": item_id,
        "type": kind,
        "occurred_at": occurred_at,
        "metadata": metadata,
        "flagged": doubt is not None,
    }


def refused(entry: Any, refusal: Refusal, row_number: int) -> RefusedEvent:
    """A refused entry as it is kept."""
    return {
        "row_number": row_number,
        "reason": str(refusal)[:MAX_REASON],
        "raw": encode(entry)[:MAX_RAW],
        "user_ids": users_in("interactions", entry),
    }


def _event_id(value: Any) -> str:
    if not isinstance(value, str) or not (match := _UUID.fullmatch(value)):
        problem = "is missing" if value is None else f"{_quoted(value)} is not a UUID"
        raise _Refused("event_id", problem)
    return value.lower() if match[1] else str(UUID(value))


def _id(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _Refused(name, f"{_quoted(value)} is not a string")
    if not value:
        raise _Refused(name, "empty: leave it out")
    if "\0" in value:
        raise _Refused(name, "has a NUL character, which Postgres cannot hold")
    if len(value) * 4 > MAX_ID_BYTES or not value.isascii():
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            raise _Refused(name, "is not Unicode text: it has half a surrogate pair") from error
        if size > MAX_ID_BYTES:
            raise _Refused(name, f"longer than {MAX_ID_BYTES} bytes")
    return value


def _metadata(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _Refused("metadata", f"{_quoted(value)} is not a JSON object")
    try:
        text = orjson.dumps([[[value]]])  # as deep as it is written later
    except TypeError as error:
        raise _Refused("metadata", f"cannot be written as JSON: {_shown(str(error))}") from error
    if may_hold_no_number(text) and (problem := find_unfit(value)):
        raise _Refused("metadata", f"{_shown(problem[0])}: {problem[1]}")
    if len(text) - 6 > MAX_METADATA_BYTES:
        raise _Refused("metadata", f"{len(text) - 6} bytes, at most {MAX_METADATA_BYTES}")
    if b"\\u0000" in text and _NUL.search(text):
        raise _Refused("metadata", "has a NUL character, which Postgres cannot hold")
    return value


def _occurred_at(value: Any, clock: Clock) -> tuple[str, str | None]:
    """The time in UTC, and why it is not the claimed one (None: it is)."""
    if value is None:
        return clock.now.isoformat(), "missing"
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise _Refused("occurred_at", f"{_quoted(value)} is no time as in 2026-05-17T09:30:00Z")
    try:
        time = datetime.fromisoformat(value.upper())
    except ValueError as error:
        raise _Refused("occurred_at", f"{_quoted(value)} is no time: {error}") from error
    if time > clock.latest:
        return clock.now.isoformat(), "future"
    if time < clock.earliest:
        return clock.now.isoformat(), "too_old"
    if value[-1] == "Z" and value[10] == "T" and len(value) <= MICROSECONDS:
        return value, None
    return time.astimezone(UTC).isoformat(), None


def _quoted(value: Any) -> str:
    if isinstance(value, str):
        return f"'{_shown(value)}'"
    return "nothing" if value is None else _shown(written(value)[: SHOWN + 1])


def _shown(text: str) -> str:
    """Some of a caller's text, fit for a log, Postgres and an answer."""
    short = text[:SHOWN] + ("…" if len(text) > SHOWN else "")
    return short.encode("utf-8", "replace").decode().replace("\0", "\\0")
