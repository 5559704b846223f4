"""Refused interactions are taken in again, as they are or corrected."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid5

import orjson
import psycopg

from models.profile.interaction_types import InteractionTypes
from serving.http.json_bodies import decode
from serving.ingest.checking import FIELDS, MAX_RAW, Clock, check_one
from storage.catalogue.entities import SOURCE
from storage.events import rejections
from storage.events import store as events
from storage.events.rejections import Rejection
from storage.events.store import Connection, Event, Refusal, Stored

_NAMESPACE = UUID("5f0a7d0e-6f0b-4a53-9f3e-0a1d4a9f5c11")


@dataclass(frozen=True)
class Replay:
    """What became of one row; ``user_id``: whose event it is."""

    id: int
    outcome: Literal["accepted", "duplicate", "rejected"]
    reason: str | None = None
    user_id: str | None = None


async def replay(
    connection: Connection,
    rows: Sequence[Rejection],
    clock: Clock,
    types: InteractionTypes,
    corrected: Mapping[int, Any] | None = None,
) -> list[Replay]:
    """Take in rows that are locked; those that are good now are deleted from the refused ones.

    Doing it twice stores nothing twice: a row without an event id gets one of its own number.

    Args:
        corrected: id -> the event to take instead of what was kept.
    """
    results: list[Replay] = []
    good: list[tuple[Rejection, Event]] = []
    for number, row in enumerate(rows):
        if number % 50 == 0:
            await asyncio.sleep(0)  # others have their turn
        event = _event(row, clock, types, corrected or {})
        if isinstance(event, str):
            results.append(Replay(row.id, "rejected", event))
        else:
            good.append((row, event))
    given = [event for _, event in good]
    stored = Stored()
    if given:
        await events.ensure_partitions(connection, events.months(given))
        await events.keep_others_out(connection)
        stored = await _store(connection, given)
    for number, (row, event) in enumerate(good):
        if number in stored.refused:
            results.append(Replay(row.id, "rejected", str(stored.refused[number])))
        else:
            outcome: Literal["duplicate", "accepted"]
            outcome = "duplicate" if number in stored.known else "accepted"
            results.append(Replay(row.id, outcome, user_id=event["user_id"]))
    done = [result.id for result in results if result.outcome != "rejected"]
    await rejections.delete(connection, done)
    return sorted(results, key=lambda entry: entry.id)


async def _store(connection: Connection, given: list[Event]) -> Stored:
    """What Postgres itself refuses is refused alone. Its rows are kept already."""
    try:
        async with connection.transaction():
            return await events.store(connection, given, keep=False)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        if len(given) == 1:
            return Stored(refused={0: Refusal("", str(error.diag.message_primary))})
    stored = Stored()
    for number, event in enumerate(given):
        stored.add(await _store(connection, [event]), [number])
    return stored


def _event(
    row: Rejection, clock: Clock, types: InteractionTypes, corrected: Mapping[int, Any]
) -> Event | str:
    """The event of a row, or why it is none."""
    if row.entity != "interactions":
        return f"It is of {row.entity}: write it with PUT /api/v1/{row.entity}/{{id}}."
    entry = corrected.get(row.id)
    if entry is None:
        try:
            entry = decode(row.raw)
        except orjson.JSONDecodeError as error:
            cut = "; what was kept of it is not all" if len(row.raw) == MAX_RAW else ""
            return f"What was kept is not JSON{cut}: {error}"
        if isinstance(entry, dict) and row.source != SOURCE:  # a row of the table, or of a log
            entry = {name: value for name, value in entry.items() if name in FIELDS}
    if isinstance(entry, dict) and entry.get("event_id") is None:
        entry = {**entry, "event_id": str(uuid5(_NAMESPACE, str(row.id)))}
    event = check_one(entry, clock, types)
    if isinstance(event, Refusal):
        return str(event)
    return event
