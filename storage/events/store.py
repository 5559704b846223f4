"""Events of trackers -> ``feed.interactions``, each once: the SQL of ingest.

An event id belongs to one event: the same user, item, type and time. Sent again it is a
duplicate; with any of these another, it is refused and kept. ``feed.event_ids`` decides, since
the key of the table that is partitioned by month holds occurred_at too: an id goes in there first,
and of two writers that bring one id at the same moment the second waits for the first.

Events go in as one JSON array: measured on 1,000 rows that takes as long as COPY of the same
rows, where arrays of psycopg take three times as long and a temporary table half as long again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypedDict

import orjson
import psycopg
from psycopg.rows import args_row

from storage.catalogue.entities import SOURCE

Connection = psycopg.AsyncConnection[Any]
Also = Callable[[Connection], Awaitable[None]]
SAME_TIME = timedelta(milliseconds=1)
"""Ingest moves events of one time apart, by less than this."""


class Event(TypedDict):
    """One checked event.

    ``event_id``: 36 lowercase characters. ``occurred_at``: RFC 3339, in UTC.
    ``flagged``: the server gave ``occurred_at``, since the client's cannot be used; the claim is
    in ``metadata["clock"]``.
    """

    event_id: str
    user_id: str | None
    item_id: str | None
    type: str
    occurred_at: str
    metadata: dict[str, Any] | None
    flagged: bool


class RefusedEvent(TypedDict):
    """An entry that is no event. ``raw``: its JSON text; ``row_number``: its place, from 1;
    ``user_ids``: whom it names."""

    row_number: int | None
    reason: str
    raw: str
    user_ids: list[str]


@dataclass(frozen=True)
class Refusal:
    """Why an entry is refused: which field, and what is wrong with it."""

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


@dataclass
class Stored:
    """What became of events, by their numbers in the list; the others are new.

    ``known``: were there already. ``refused``: their ids are other events'; they are kept.
    """

    known: set[int] = field(default_factory=set)
    refused: dict[int, Refusal] = field(default_factory=dict)

    def add(self, part: Stored, numbers: Sequence[int]) -> None:
        """Take in what was found of the events of those numbers."""
        self.known.update(numbers[at] for at in part.known)
        self.refused.update({numbers[at]: why for at, why in part.refused.items()})

    def part(self, begin: int, end: int) -> Stored:
        """The same of the events from ``begin`` up to ``end``, numbered from 0."""
        numbers = range(begin, end)
        return Stored(
            {at - begin for at in numbers if at in self.known},
            {at - begin: self.refused[at] for at in numbers if at in self.refused},
        )


class _Row(NamedTuple):
    """A row of ``feed.interactions``; ``flagged`` as in ``Event``."""

    event_id: str
    user_id: str | None
    item_id: str | None
    type: str
    occurred_at: datetime
    flagged: bool


# Entries that an earlier release left in the spool name nobody.
_KEPT = f"""
INSERT INTO feed.interactions_rejected (entity, source, row_number, reason, raw, user_ids)
SELECT 'interactions', '{SOURCE}', row_number, reason, raw, coalesce(user_ids, '{{}}')
FROM json_to_recordset(%(refused)s::json)
    AS r(row_number bigint, reason text, raw text, user_ids text[])
ON CONFLICT (raw_hash, reason) DO NOTHING
"""
# The ids are in order, so that two writers with the same events wait for each other, not in a
# circle.
_INSERT = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(events)s::json) AS g(event_id uuid, user_id text,
        item_id text, type text, occurred_at timestamptz, metadata jsonb)
), kept AS ({_KEPT}), claimed AS (
    INSERT INTO feed.event_ids SELECT event_id, occurred_at FROM given ORDER BY event_id
    ON CONFLICT DO NOTHING RETURNING event_id
)
INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at, metadata)
SELECT event_id, user_id, item_id, type, occurred_at, metadata
FROM given JOIN claimed USING (event_id)
ORDER BY event_id ON CONFLICT DO NOTHING RETURNING event_id::text
"""
# LATERAL: each event is looked for in its own month alone.
_FIND = """
SELECT e.event_id::text, i.user_id, i.item_id, i.type, i.occurred_at,
       coalesce(i.metadata ? 'clock', false)
FROM feed.event_ids AS e CROSS JOIN LATERAL (
    SELECT * FROM feed.interactions AS i
    WHERE i.event_id = e.event_id AND i.occurred_at = e.occurred_at LIMIT 1
) AS i
WHERE e.event_id = ANY(%s::uuid[])
"""


async def store(
    connection: Connection,
    events: Sequence[Event],
    refused: Sequence[RefusedEvent] = (),
    also: Also | None = None,
    *,
    keep: bool = True,
) -> Stored:
    """Store events, and keep the refused entries.

    Args:
        connection: in autocommit; or after ``keep_others_out``.
        also: what else belongs to it, in the transaction that stores them.
        keep: keep the events too that are refused here.

    Raises:
        psycopg.Error: what was stored before is found again by the next try.
    """
    stored = Stored()
    firsts: dict[str, int] = {}
    later: list[int] = []  # an id that comes again, for another event
    same: list[tuple[int, int]] = []  # a repeat, and the number of the event that it repeats
    for number, event in enumerate(events):
        first = firsts.setdefault(event["event_id"], number)
        if first == number:
            continue
        if _differing(event, _as_row(events[first])):
            later.append(number)
        else:
            same.append((number, first))
    distinct = list(firsts.values())
    first_ones = [events[number] for number in distinct]
    stored.add(await _store_distinct(connection, first_ones, refused, also, keep), distinct)
    if later:  # the id is there by now: each is held against its row, or the first of its id
        others = [events[number] for number in later]
        rivals = [events[firsts[event["event_id"]]] for event in others]
        part = await _known_or_refused(connection, others, range(len(others)), rivals)
        await _keep(connection, others, part, keep)
        stored.add(part, later)
    for number, first in same:
        if first in stored.refused:
            stored.refused[number] = stored.refused[first]
        else:
            stored.known.add(number)
    return stored


async def _store_distinct(
    connection: Connection,
    events: Sequence[Event],
    refused: Sequence[RefusedEvent],
    also: Also | None,
    keep: bool,
) -> Stored:
    """As ``store``, of events of different ids."""
    given = {
        "events": orjson.dumps(events).decode(),
        "refused": orjson.dumps(refused).decode(),
    }
    if also is None:
        cursor = await connection.execute(_INSERT, given, prepare=True)
    else:
        async with connection.pipeline():
            cursor = await connection.execute(_INSERT, given, prepare=True)
            await also(connection)
    fresh = {event_id for (event_id,) in await cursor.fetchall()}
    others = [number for number, event in enumerate(events) if event["event_id"] not in fresh]
    if not others:
        return Stored()
    stored = await _known_or_refused(connection, events, others)
    await _keep(connection, events, stored, keep)
    return stored


async def _keep(
    connection: Connection, events: Sequence[Event], stored: Stored, keep: bool
) -> None:
    """Keep the events that are refused, if so asked."""
    if keep and stored.refused:
        kept = [as_refused(events[number], str(why)) for number, why in stored.refused.items()]
        await connection.execute(_KEPT, {"refused": orjson.dumps(kept).decode()})


async def _known_or_refused(
    connection: Connection,
    events: Sequence[Event],
    numbers: Sequence[int],
    rivals: Sequence[Event] | None = None,
) -> Stored:
    """What the events of these numbers are, whose ids were there. One whose row was deleted
    meanwhile was there too.

    Args:
        rivals: of each, the event of the same id to hold it against where there is no row.
    """
    ids = [events[number]["event_id"] for number in numbers]
    cursor = connection.cursor(row_factory=args_row(_Row))
    rows = {row.event_id: row for row in await (await cursor.execute(_FIND, (ids,))).fetchall()}
    stored = Stored()
    for number in numbers:
        row = rows.get(events[number]["event_id"])
        if row is None and rivals is not None:
            row = _as_row(rivals[number])
        if row is not None and (differing := _differing(events[number], row)):
            stored.refused[number] = Refusal("event_id", _another(differing))
        else:
            stored.known.add(number)
    return stored


def _as_row(event: Event) -> _Row:
    time = datetime.fromisoformat(event["occurred_at"])
    return _Row(event["event_id"], event["user_id"], event["item_id"], event["type"], time,
                event["flagged"])  # fmt: skip


def _differing(event: Event, row: _Row) -> list[str]:
    """The fields that make another event of it; none: it is a retry. A time that the server gave
    is not the event's own, so it is not compared."""
    mine = _as_row(event)
    names = [n for n in ("user_id", "item_id", "type") if getattr(mine, n) != getattr(row, n)]
    if not (mine.flagged or row.flagged) and abs(mine.occurred_at - row.occurred_at) >= SAME_TIME:
        names.append("occurred_at")
    return names


def _another(differing: Sequence[str]) -> str:
    return (
        f"this event_id is another event's, with another {' and '.join(differing)}: "
        "give each event an id of its own"
    )


async def keep_others_out(connection: Connection) -> None:
    """Let nobody else write interactions until this transaction ends; readers go on."""
    await connection.execute("LOCK TABLE feed.interactions IN SHARE ROW EXCLUSIVE MODE")


def months(events: Iterable[Event]) -> set[str]:
    """The months (``2026-05``, in UTC) of the events."""
    return {event["occurred_at"][:7] for event in events}


async def ensure_partitions(connection: Connection, wanted: Iterable[str]) -> None:
    """Make the partitions of these months (``2026-05``) that are missing.

    A month of which the default partition holds rows gets none: its rows stay together there.
    """
    firsts = [f"{month}-01T00:00:00Z" for month in wanted]
    await connection.execute(
        "SELECT feed.ensure_interaction_partitions(VARIADIC %s::timestamptz[])", (firsts,)
    )


def as_refused(event: Event, reason: str) -> RefusedEvent:
    """An event that Postgres itself does not take, to be kept as refused, as it was sent."""
    raw: dict[str, Any] = {name: value for name, value in event.items() if name != "flagged"}
    if event["flagged"]:
        metadata = dict(event["metadata"] or {})
        raw["occurred_at"] = metadata.pop("clock", {}).get("claimed")
        raw["metadata"] = metadata or None
    named = [] if event["user_id"] is None else [event["user_id"]]
    raw_text = orjson.dumps(raw).decode()
    return {"row_number": None, "reason": reason, "raw": raw_text, "user_ids": named}
